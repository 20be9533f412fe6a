#!/bin/sh
# mutate.sh: can the tests of the model fail? Breaks each backward stage, and the optimizer, once, and expects a
# failure every time. A line of the table: what is broken, then a sed expression that must change one of $files.
# Usage: test/mutate.sh [C compiler], from the top of the tree. Not part of make test: it compiles once a line.
cc=${1:-cc} dir=$(mktemp -d) passed=0 failed=0
files='gpt.h sparse.h data/panel/*.h data/run/schedule.h data/run/adamw.h'
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/test" && cp -r ./*.h data test/golden test/*.h "$dir" && mv "$dir/golden" "$dir"/test*.h "$dir"/check.h "$dir/test"
printf '#include "check.h"\n#include "test_drop.h"\nint main(void) { test_gpt(); test_drop(); return check_failed > 0; }\n' >"$dir/test/gpt.c"
flags='-std=c11 -Og -D_GNU_SOURCE -ffp-contract=off -fno-math-errno -w'
echo 'int x;' | $cc -march=native -c -x c -o /dev/null - 2>/dev/null && flags="$flags -march=native"

try() {     # name, expression
    changed=0
    for file in $files; do
        sed "$2" "$file" >"$dir/$file"
        cmp -s "$file" "$dir/$file" || changed=1
    done
    if [ $changed = 0 ] && [ "$1" != none ]; then
        failed=$((failed + 1)); echo "$1: the expression changes nothing"; return
    fi
    # shellcheck disable=SC2086
    if ! $cc $flags -o "$dir/gpt" "$dir/test/gpt.c" -lm -pthread 2>"$dir/log"; then
        failed=$((failed + 1)); echo "$1: does not compile"; head -3 "$dir/log"; return
    fi
    # the first failure is enough: at the next the tests write into a pipe that nobody reads, and end
    { (cd "$dir" && QUICK=1 ./gpt 2>&1 >/dev/null); echo $? >"$dir/status"; } | grep -m 1 FAILED >"$dir/log"
    case $1:$(cat "$dir/status") in
        none:0) passed=$((passed + 1));;
        none:*) failed=$((failed + 1)); echo "unbroken, yet the tests fail"; cat "$dir/log";;
        *:0) failed=$((failed + 1)); echo "$1: broken, yet the tests pass";;
        *) passed=$((passed + 1)); echo "$1: noticed, $(sed "s/: FAILED.*//" "$dir/log")";;
    esac
}

while IFS='|' read -r name expression; do [ -n "$name" ] && try "$name" "$expression"; done <<'TABLE'
none|s/^$//
embedding, wte|s/word\[i \* LINE\] += panel_line/word[i * LINE] = panel_line/
embedding, wpe|s/pos\[i \* LINE + j\] += panel_line/pos[i * LINE + j] += 0 * panel_line/
norm, dx: mean of dn gain|s/^            a\[c\] += d;$//
norm, dx: mean of dn gain hat|s/^        ah\[c\] \*= vf_all(1 \/ (float)C);$/        ah[c] = vf_all(0);/
norm, gain|s/dg = vf_fma(d, panel_hat(n->x, g, i, v, mean, rstd), dg);/dg += d;/
norm, bias|s/^                db += d;$//
linear, bias|s/vf total = vf_load(sum + k \* LINE + v);/vf total = vf_all(0);/
linear, dx: a row block lost|s/for (size_t r = rows.first, n; r < rows.end; r += n) {$/for (size_t r = rows.first, n; r < rows.end - (rows.end - rows.first > 1); r += n) {/
head, dx: columns of another slice|s/^    f.w += left \* LINE;$//
head, dx: a slice too wide|s/size_min(m->end\[r\] - m->first\[r\], m->IC)/m->end[r] - m->first[r]/
linear, dw: transposed|s/vf_zip_low(row\[1\], row\[3\])/vf_zip_low(row[3], row[1])/
linear, dw: a group lost|s/    } while (g > 0);/    } while (g > (groups > 1));/
gelu slope|s/6 \* 0.044715f/2 * 0.044715f/
gelu, sigmoid part|s/vf_fma(x \* s \* (vf_all(1) - s), slope_2u, s)/x * s * (vf_all(1) - s) * slope_2u/
attention, scores begin where they were|s/\.begins = true/.begins = false/
attention, dq|s/m, ATT_KEY, f->panel.first + 1/m, ATT_VALUE, f->panel.first + 1/
attention, dk|s/q->query, ds, LINE \* LINE, q->hs/q->query, first, next, q->hs/
attention, dv|s/q->dout, first, next, q->hs/q->dout, ds, LINE * LINE, q->hs/
attention, softmax term D|s/ \* (dprob - D) \* / * dprob * /
attention, scale|s/(dprob - D) \* vf_all(q->scale)/(dprob - D)/
attention, mask|s/vf_below((int)(k - own) - (int)v, vf_all(0), e)/vf_below((int)(k - own) - 1 - (int)v, vf_all(0), e)/
kernels, what one reads is not awaited|s/    return gpt_share_array(gpt_arrays(r, s, false), written) ||/    return/
kernels, what is read is written over|s/^           gpt_share_array(writes, gpt_arrays(r, before, false));/           0;/
dropout, backward of a branch|s/const int dy = drop_data(g, l, PROJW, dmid);/const int dy = dmid;/
dropout, dv|s/if (q->drop.below) memcpy(prob, kept, sizeof kept);//
dropout, dprob|s/vf_store(ds + at, vf_load(ds + at) \* factor)/vf_store(ds + at, vf_load(ds + at))/
dropout, embedding|s/embed_drop_data(g, dx))/dx)/
dropout, sequence|s/d->sequence + b/b/
head, dwte|s/^        if (whole) sp_backward_weight(blocks/        if (whole \&\& f->stage->param == WTE) ; else if (whole) sp_backward_weight(blocks/
head, dn|s/(SpBlocks){&m, f->block, /(SpBlocks){\&m, f->block + (f->stage->param == WTE), /
cross-entropy, target|s/\[t\] -= share/[t] -= 0.99f * share/
cross-entropy, averaged|s/r->dscale = 1 \/ (float)count/r->dscale = 1/
residual around the MLP|s/saved->mid, dout, saved->norm2)/saved->mid, DF_NONE, saved->norm2)/
residual around attention|s/saved->x, dmid, saved->norm1)/saved->x, DF_NONE, saved->norm1)/
AdamW, decay on everything|s/const float keep = p->decay ?/const float keep = 1 ?/
AdamW, eps inside the root|s/vf_sqrt(moment2) \* vf_all(root2) + vf_all(eps)/vf_sqrt(moment2 * vf_all(root2 * root2) + vf_all(eps))/
AdamW, bias correction|s/adam->lr \/ c1)/adam->lr)/
AdamW, clipping|s/(float)spec_clip(norm, adam->clip)/1/
recomputed GELU, from another sum|s/", fc", saved->mid/", fc", saved->x/
tied gradients|s/vf_load(g + n) + vf_load(lookup_g + n)/vf_load(g + n)/
TABLE
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
