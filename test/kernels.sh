#!/bin/sh
# kernels.sh: did the compiler keep the arithmetic in whole vectors? Compiles sparse.h and gpt.h, with data/panel, for several processors
# with gcc and clang, and reads the disassembly of every function that the table below names: each innermost loop (a
# backward jump with none inside; the function itself if it has none) that computes does so in vectors of the full width, with no scalar arithmetic, no
# call. A product puts no vector on the stack, be it around its loop. Nothing is run, so any machine can check all of them.
# Usage: test/kernels.sh [COMPILER...], of gcc and clang, from the top of the tree. `clang` is used for ARM as it is.
dir=$(mktemp -d) passed=0 failed=0
trap 'rm -rf "$dir"' EXIT
[ $# -gt 0 ] || set -- gcc clang

# function; whole loops at least with 16, 8 and 4 floats a register; other loops that are known, and why that is right
cat >"$dir/table" <<'TABLE'
sp_forward_narrow   1 3 2 0
sp_forward_wide     3 - - 0
sp_data_narrow      4 4 3 0
sp_data_wide        4 - - 0
sp_data_band        1 - - 0
sp_weight_narrow    4 4 3 0
sp_weight_wide      4 - - 0
panel_norm          3 3 3 0
panel_norm_data     2 2 2 0
panel_norm_weight   1 1 1 0
panel_gelu          1 1 1 0
panel_gelu_data     1 1 1 0
panel_loss          2 2 2 2 a logarithm in double precision a token
panel_loss_data     1 1 1 1 a division a token
att_softmax_sum     1 1 1 0
att_softmax_again   1 1 1 0
att_softmax_data    1 1 1 0
att_max             1 1 1 0
drop_lines          1 1 1 0
gpt_adamw_range     1 1 1 1 the powers of beta, once a call
gpt_squares_piece   2 2 2 2 the 16 lanes of a gain or bias to one number
TABLE

sed -n 's/^\([a-z_]*\) .*/    (void *)\1,/p' "$dir/table" >"$dir/all"
{
    echo '#include "gpt.h"'
    echo '#include "data/run/adamw.h"'
    echo 'void *const named[] = {'
    grep -v sp_ "$dir/all"
    echo '};'
} >"$dir/gpt.c"
# three lines that call the products, which call their kernels
cat >"$dir/sparse.c" <<'C'
#include "sparse.h"
void *const named[] = {(void *)sp_forward, (void *)sp_backward_data, (void *)sp_backward_weight};
C

# One line a function: its name, whole loops, and other loops that compute; then each of those as a comment.
cat >"$dir/loops.awk" <<'AWK'
# Whether x puts a vector on the stack.
function stored(x) {
    return x ~ /^v?mov[a-z0-9]*[ \t]+%[xyz]mm[0-9]+,[^%]*\(%[re][sb]p/ || x ~ /^st[rp][ \t]+q.*\[(sp|x29)/
}
# Lines from .. to of a function: adds to whole or to other.
function judge(from, to,   j, x, full, part, scalar, call, stack) {
    full = part = scalar = call = stack = 0
    for (j = from; j <= to; j++) {
        x = text[j]
        if (x ~ /^v?(add|sub|mul|div|sqrt|max|min|fn?m(add|sub)[0-9]+)p[sd][ \t]/) { if (x ~ REGISTER) full++; else part++ }
        if (x ~ /^f(mla|mls|add|sub|mul|div|sqrt|cmgt)[ \t]+v[0-9]+\.(4s|2d)/) full++
        if (x ~ /^v?(add|sub|mul|div|sqrt|max|min|fn?m(add|sub)[0-9]+)s[sd][ \t]/) scalar++
        if (x ~ /^f(n?madd|n?msub|add|sub|n?mul|div|sqrt|max|min)[ \t]+[sd][0-9]/) scalar++
        if (x ~ /^(call|bl[ \t])/) call++
        if (stored(x)) stack++
    }
    if (full && !part && !scalar && !call && !(stack && name ~ /^sp_/)) whole++
    else if (part || call && full || scalar > 2 || scalar && name ~ /^sp_/ || stack && full) {
        other++
        note[other] = sprintf("#     %s, %s..%s: %d whole, %d narrower, %d scalar, %d calls, %d vectors put on the stack",
            name, address[from], address[to], full, part, scalar, call, stack)
    }
}
function report(   i, j, k, from, inner) {
    if (name == "") return
    whole = other = 0
    for (i = 1; i <= n; i++) {
        if (!(jump[i] in at) || at[jump[i]] > i) continue
        from = at[jump[i]]
        inner = 1
        for (j = from; j < i && inner; j++) if ((jump[j] in at) && at[jump[j]] <= j && at[jump[j]] >= from) inner = 0
        if (inner) judge(from, i)
    }
    if (whole + other == 0) judge(1, n)             # no loop is left: straight lines count as one
    for (i = 1; i <= n && name ~ /^sp_/; i++) if (stored(text[i])) {
        note[++other] = "#     " name ", " address[i] ": a vector is put on the stack, around a loop or in it"
        break
    }
    print name, whole, other
    for (k = 1; k <= other; k++) print note[k]
}
/^[0-9a-f]+ <.*>:$/ { report(); name = $2; gsub(/[<>:]|\.(isra|constprop)\.[0-9]+/, "", name); n = 0; split("", at); split("", jump); next }
/^ *[0-9a-f]+:\t/ {
    sub(/:/, "", $1)
    n++
    address[n] = $1
    at[$1] = n
    $1 = ""
    sub(/^ */, "")
    text[n] = $0
    jump[n] = "none"
    if ($0 ~ /^(j[a-z]+|b\.[a-z]+|b|cbn?z|tbn?z) / && match($0, /[0-9a-f]+ </)) jump[n] = substr($0, RSTART, RLENGTH - 2)
}
END { report() }
AWK

try() {     # compiler's name, the command, its flags for the processor, objdump, whole register, its floats
    for part in sparse gpt; do
        # shellcheck disable=SC2086
        if ! $2 $3 -O3 -std=c11 -D_GNU_SOURCE -fno-math-errno -ffp-contract=off -w -I. -c -o "$dir/o" "$dir/$part.c"; then
            failed=$((failed + 1))
            echo "$1 $3: $part.h does not compile"
            continue
        fi
        $4 -d --no-show-raw-insn "$dir/o" | awk -v REGISTER="$5" -f "$dir/loops.awk" >"$dir/found"
        while read -r name least16 least8 least4 known _; do
            case $6 in
                16) least=$least16 ;;
                8) least=$least8 ;;
                *) least=$least4 ;;
            esac
            case $name in sp_*) home=sparse ;; *) home=gpt ;; esac
            [ $home = $part ] || continue
            [ "$least" = - ] && continue
            # shellcheck disable=SC2046
            set -- "$1" "$2" "$3" "$4" "$5" "$6" $(awk -v name="$name" '$1 == name { print $2, $3 }' "$dir/found")
            if [ -n "${7:-}" ] && [ "$7" -ge "$least" ] && [ "$8" -le "$known" ]; then
                passed=$((passed + 1))
            else
                failed=$((failed + 1))
                echo "$1 $3: $name: ${7:-no such function or} whole loops (expected $least or more), ${8:-0} others (at most $known)"
                grep "^# *$name," "$dir/found"
            fi
            set -- "$1" "$2" "$3" "$4" "$5" "$6"
        done <"$dir/table"
    done
}

for cc; do
    try "$cc" "$cc" -march=x86-64-v3 objdump ymm 8
    try "$cc" "$cc" -march=znver3 objdump ymm 8
    try "$cc" "$cc" -march=skylake-avx512 objdump zmm 16
    try "$cc" "$cc" -march=icelake-server objdump zmm 16
    case $cc in
        *clang*) arm="$cc --target=aarch64-linux-gnu" ;;
        *) arm=aarch64-linux-gnu-$cc ;;
    esac
    try "$cc" "$arm" -march=armv8-a aarch64-linux-gnu-objdump v 4
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
