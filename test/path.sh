#!/bin/sh
# path.sh: the reader's path, from the README to a training step, in the order in which to read it. Prints every piece
# with its place, so `test/path.sh | less` is the hour's reading; fails if a name is gone, or if the path has grown
# over 1,600 lines. Usage: test/path.sh, from the top of the tree.
# A line of the table: a file, then what to read in it: essay, its opening comment; /title, the comment of a section; a
# function, type or constant, with the comment above it. Of the README, all before a heading.
most=1600
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

cat >"$dir/table" <<'TABLE'
README.md Use
gpt.h essay
data/panel/weights.h GptConfig WTE LN1W GptParam
gpt.h /The_specification spec_gelu spec_gelu_slope SpecRules spec_linear spec_linear_backward
gpt.h spec_layernorm spec_layernorm_backward
gpt.h /attention spec_seen spec_attention spec_attention_backward
gpt.h spec_cross_entropy spec_cross_entropy_backward
gpt.h SpecLayer Spec spec_embed spec_embed_backward spec_residual spec_layer spec_layer_backward spec_head
gpt.h spec_head_backward spec_forward spec_backward
data/run/adamw.h GptAdam spec_clip spec_adamw
sparse.h essay SpMat SpPanel SpBlocks SpLines sp_step sp_tile_forward sp_forward sp_backward_data sp_backward_weight
data/panel/panel.h panel_norm panel_gelu
data/panel/attention.h AttQueries att_forward att_backward
data/panel/program.h ProgStage
data/panel/firing.h Firing
gpt.h gpt_norm gpt_linear
gpt.h /the_layer GptSaved gpt_forward_stage linear layer_forward layer_backward gpt_program
dataflow.h essay DfStage df_waits df_fire df_try df_section_run
data/run/plan.h essay
data/run/schedule.h gpt_fire gpt_machine_run gpt_train train_batch
train.c essay run_step
TABLE

# The pieces of a file by name. A piece ends with a line that closes it in the first column.
cat >"$dir/pieces.awk" <<'AWK'
function out(name, from, to,    k) {
    if (!(name in wanted) || done[name]++) return
    printf "\n---- %s:%d %s\n", FILENAME, from, name
    for (k = from; k <= to; k++) { print line[k]; lines++ }
}
function ends(   k, n, word) {          # the definition begin .. FNR
    out(name_of(line[FNR]), above ? above : begin, FNR)
    above = begin = 0
}
function name_of(last,    head, k, word) {
    if (last ~ /^} *[A-Za-z_]+.*;/) { sub(/^} */, "", last); sub(/[^A-Za-z_0-9].*/, "", last); return last }
    head = line[begin]
    for (k = begin + 1; k <= FNR && head !~ /[({;=]/; k++) head = head " " line[k]
    if (head ~ /^(enum|typedef enum)/) {
        sub(/^[^{]*{ */, "", head)
        for (k = begin + 1; k <= FNR && head !~ /[A-Za-z_]/; k++) head = line[k]
        sub(/^ */, "", head); sub(/[^A-Za-z_0-9].*/, "", head); return head
    }
    if (head ~ /^typedef.*;$/) { sub(/(\[.*|;)$/, "", head); sub(/\[.*/, "", head); sub(/.*[ *]/, "", head); return head }
    if (head ~ /^struct/) { sub(/^struct */, "", head); sub(/[^A-Za-z_0-9].*/, "", head); return head }
    sub(/ *[(=\[;{].*/, "", head); sub(/.*[ *]/, "", head)
    return head
}
BEGIN { n = split(names, list, " "); for (k = 1; k <= n; k++) wanted[list[k]] = 1 }
{ line[FNR] = $0 }
FILENAME ~ /[.]md$/ {
    if ($0 == "## " names) done[names] = 1
    if (!done[names]) { print; lines++ }
    next
}
comment || /^\/\*/ {
    if (!comment) {
        above = FNR
        title = ""
        if (match($0, /^\/\* ---- /)) { title = substr($0, 9); sub(/ --.*/, "", title) }
    }
    if (line[FNR - 1] ~ /^\/\* =====/) { title = $0; sub(/^ [*] */, "", title); sub(/  .*/, "", title) }
    comment = $0 !~ /\*\//
    if (!comment && FNR > above) {
        gsub(/ /, "_", title)
        if (!first++) out("essay", above, FNR)
        else if (title != "") { out("/" title, above, FNR); above = 0 }
    }
    if (!comment && line[above] ~ /^\/\* ----/) above = 0
    next
}
/^$/ && !begin { above = 0; next }
/^#/ { next }
!begin && /^[A-Za-z]/ { begin = FNR }
begin && (/^}/ || (begin == FNR && /[;}]( *\/\*.*)?$/) || (!open_brace() && /;$/)) { ends() }
function open_brace(    k) { for (k = begin; k <= FNR; k++) if (line[k] ~ /{/) return 1; return 0 }
END {
    for (k = 1; k <= n; k++) if (!done[list[k]]) { printf "%s: nothing is called %s\n", FILENAME, list[k] >"/dev/stderr"; bad = 1 }
    print lines + 0 >counts
    exit bad
}
AWK

status=0
while read -r file names; do
    set -f
    awk -v names="$names" -v counts="$dir/count" -f "$dir/pieces.awk" "$file" || status=1
    set +f
    cat "$dir/count" >>"$dir/counts"
done <"$dir/table"
total=$(awk '{ n += $1 } END { print n + 0 }' "$dir/counts")
printf '\n%d lines to read, of at most %d\n' "$total" $most
[ "$total" -le $most ] && [ $status = 0 ]
