/* help.h: the options of a command as a page of text, and what to type next.
 *
 * Everything comes from the table of options. A command with a list of first
 * options shows these; all of them, under headings, on demand. */
#ifndef HELP_H
#define HELP_H
#include "options.h"

static const char *const headings[HEADINGS] = {
    [DATA] = "data",         [MODEL] = "model",     [TRAINING] = "training",
    [SPARSITY] = "sparsity", [MACHINE] = "machine", [FILES] = "files",
};

/* Words of a text in lines of at most 79 characters, all but the first of them
 * indented by `indent`; `at` characters of the first line are there already. */
static inline void help_wrap(const char *text, size_t at, size_t indent) {
    enum { WIDTH = 79 };
    while (*text) {
        const size_t n = strcspn(text, " ");
        if (at + 1 + n > WIDTH) {
            printf("\n%*s", (int)indent, "");
            at = indent;
        }
        at += (size_t)printf("%s%.*s", at > 0 ? " " : "", (int)n, text);
        text += n + (text[n] == ' ');
    }
    printf("\n");
}
/* One option: its name, what it is for, its default. */
static inline void help_option(const Option *opt) {
    char text[512];
    const bool fixed = opt->preset[0] && strcmp(opt->preset, "auto");
    snprintf(text, sizeof text, fixed ? "%s [%s]" : "%s", opt->help, opt->preset);
    help_wrap(text, (size_t)printf("    --%-13s", opt->name), 19);
}

/* Whether a command takes an option that not every command takes. */
static inline bool help_shows(int k, int command) {
    return options[k].commands & command && options[k].commands != ANY;
}
static inline void help_all(int command) {
    for (int h = 0; h < HEADINGS; h++) {
        bool none = true;
        for (int k = 0; k < OPTIONS; k++) {
            if (!help_shows(k, command) || options[k].heading != h) continue;
            if (none) printf("\n  %s\n", headings[h]);
            help_option(&options[k]);
            none = false;
        }
    }
}
/* Of a command of that name: the options to learn first and how to see the rest,
 * or all of them if there are no first ones or all are asked for. */
static inline void help_options(int command, const char *name, bool all) {
    int list = 0;
    size_t n = 0;
    while (list < FIRST_LISTS && first_options[list].command != command) list++;
    for (int k = 0; k < OPTIONS; k++) n += help_shows(k, command);
    if (all && list < FIRST_LISTS) {
        help_all(command);
        return;
    }
    if (list == FIRST_LISTS) {
        for (int k = 0; k < OPTIONS; k++)
            if (help_shows(k, command)) help_option(&options[k]);
        return;
    }
    for (int k = 0; k < FIRST; k++)
        help_option(&options[option_find(first_options[list].option[k], command)]);
    printf("    and %zu more: ./train help %s --all\n", n - FIRST, name);
}

/* "./train" and n words after it as a shell takes them: in '' where one has a
 * letter that it minds. On the heap. */
static inline char *words_join(int n, const char *const *words) {
    Out line = out_memory();
    out_text(&line, "./train");
    for (int k = 0; k < n; k++) {
        const char *w = words[k];
        const bool plain = *w && !strpbrk(w, " \t\n'\"\\$`&|;<>()*?[]{}~#!");
        out_text(&line, plain ? " " : " '");
        for (; *w; w++)
            if (*w == '\'') out_text(&line, "'\\''");
            else out_char(&line, *w);
        if (!plain) out_char(&line, '\'');
    }
    return out_string(&line);
}
#endif
