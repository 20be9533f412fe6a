#!/bin/sh
# floors.sh: every file includes only files of lower floors, or of its own but not in a circle; and below gpt.h
# nothing is named that is GPT's or the command line's, but its weights and what a firing of its stages gets. Usage: test/floors.sh, from the top of the tree.
# Not searched: the style of pages (figures.h), whose colours look like options.
# The floors, from the ground. A file that is on none of them is a fault: a new folder gets its place here.
floors='data/base data/text sparse.h dataflow.h data/panel gpt.h data/model data/run data/judge data/verify data/commands
    data/compare train.c'

grep -o '^#include "[^"]*"' *.h train.c data/*/*.[ch] | awk -F '[:"]' -v floors="$floors" '
function fault(text) { print text; bad = 1 }
function floor_of(file,    folder) {
    folder = file; sub("/[^/]*$", "", folder)
    if (!(file in place) && !(folder in place)) fault(file ": is on no floor")
    return file in place ? place[file] : place[folder]
}
BEGIN { n = split(floors, name, /[ \n]+/); for (i = 1; i <= n; i++) place[name[i]] = i }
{
    file = $1; sub("[^/]*$", "", file); file = file $3                  # what is included, from the top
    while (sub("[^/.]+/[.][.]/", "", file)) {}
    if (floor_of(file) > floor_of($1)) fault($1 ": includes " file ", which lives above it")
    if (floor_of(file) == floor_of($1)) print file, $1 | "tsort >/dev/null"
}
END { if (close("tsort >/dev/null")) fault("a circle"); exit bad || !NR }'
up=$?

grep -nE '(^|[^A-Za-z_])(gpt_|Gpt|GPT_|spec_|Spec|Options)|"[^"]*--[a-z]' sparse.h dataflow.h data/panel/[!fhw]*.h data/run/kernel.h data/run/plan.h data/run/clock.h data/run/cuts.h data/base/[!f]*.[ch]
[ $? = 1 ] && [ $up = 0 ] && echo 'every include goes down'
