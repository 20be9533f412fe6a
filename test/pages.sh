#!/usr/bin/env bash
# test/pages.sh: the pages that `compare` and `simulate` write, in a browser without a screen (Chromium, or what
# BROWSER names). At three widths: nothing is wider than the window, every picture has a size, every row of a table
# has cells, every link has an end, every section opens, and nothing is fetched. TRAIN names the program.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
train=$(realpath "${TRAIN:-./train}") || exit 1
browser=${BROWSER:-$(command -v chromium || command -v chromium-browser || command -v google-chrome)}
[[ $browser ]] || { echo 'pages.sh: expected Chromium, found none'; exit 1; }
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0

# What is said of a page when it has been laid out, in place of the page.
cat >"$tmp/look" <<'JS'
<script>
onload = () => {
    const wrong = [];
    const all = (what) => [...document.querySelectorAll(what)];
    const wide = document.documentElement.scrollWidth;
    for (const d of all('details')) {
        const before = d.getBoundingClientRect().height;
        d.open = !d.open;
        if (d.getBoundingClientRect().height == before) wrong.push('a section that does not open');
        d.open = true;
    }
    if (wide > innerWidth) wrong.push(`${wide} wide in a window of ${innerWidth}`);
    for (const s of all('svg:not([width="0"])')) {    // the other holds definitions alone
        const box = s.getBoundingClientRect();
        if (box.width < 50 || box.height < 5) wrong.push(`a picture of ${box.width} x ${box.height}`);
        if (!s.innerHTML.trim()) wrong.push('an empty picture');
    }
    for (const r of all('tr')) if (!r.cells.length) wrong.push('an empty row');
    for (const a of all('a[href^="#"]'))
        if (!document.getElementById(a.hash.slice(1))) wrong.push(`a link to ${a.hash}, which is nowhere`);
    for (const e of performance.getEntriesByType('resource')) wrong.push(`it fetched ${e.name}`);
    if (!all('h1').length || !all('svg').length || !all('tr').length) wrong.push('no headline, picture or table');
    document.documentElement.innerHTML = `<pre>said: ${wrong.join('; ') || 'right'}</pre>`;
};
</script>
JS

# look NAME: a page, at three widths
look() {
    local width said
    cat "$tmp/$1.html" "$tmp/look" >"$tmp/page.html"
    for width in 500 900 1600; do
        said=$(timeout 120 "$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$tmp/profile" \
            --window-size=$width,900 --dump-dom "file://$tmp/page.html" 2>"$tmp/err" | grep -o 'said: [^<]*')
        if [[ $said == 'said: right' ]]; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
            echo "$1, $width wide: ${said:-the browser says: $(tail -n 1 "$tmp/err")}"
        fi
    done
}

(
    set -e
    cd "$tmp"
    "$train" simulate --layers 2 --width 128 --vocab 500 --context 128 --batch 2 --panel 16 --chip mesh \
        --report step.html
    "$train" simulate --model gpt2 --context 256 --chip sn10 --report large.html
    "$train" compare --model d1 --context 32 --corpus 200000 --vocab 300 --steps 20 --every 4 --batch 4 --items 8 \
        --seeds 2 --val-tokens 500 --arms dense,sparse,wide --out runs --report compare.html
) >"$tmp/out" 2>&1 || { cat "$tmp/out"; exit 1; }
for name in step large compare; do look $name; done
echo "$passed passed, $failed failed"
exit $((failed > 0))
