"""Writes data/text/unicode.h:  python3 unicode.py > ../../data/text/unicode.h

Needs nothing but Python's own unicodedata (Python 3.14 has Unicode 16.0); the package unicodedata2 is taken
instead where it is installed. The version of the table is printed into the header."""
try:
    import unicodedata2 as unicodedata
except ImportError:
    import unicodedata

HEAD = r"""/* unicode.h: which code points are letters, numbers and white space. Unicode
 * %s. Written by test/golden/unicode.py; do not edit.
 *
 * GPT-2's pattern asks for \p{L}, \p{N} and \s and nothing else. Each table is
 * a list of pairs: how many code points to step over, then how many belong to
 * the class, from U+0000 upward. So 65,26,6,26 says that letters begin with 26
 * from U+0041 and, after 6 others, 26 from U+0061:
 *
 *     step over 65 | 26: A .. Z | step over 6 | 26: a .. z | step over ...
 *
 * Code points not listed, among them all that are unassigned, are "other". A
 * newer Unicode moves some of those into a class and so splits texts that use
 * them differently; %s is what tiktoken and Hugging Face tokenizers have. */
#ifndef UNICODE_H
#define UNICODE_H
#include <stdint.h>

enum { UNICODE_END = 0x%x };  /* no listed code point is at or above this */
"""


def code_class(c):
    kind = unicodedata.category(chr(c))[0]
    if kind == "Z" or 9 <= c <= 13 or c == 0x85:    # White_Space = separators and six controls
        return "space"
    return {"L": "letters", "N": "numbers"}.get(kind)


def runs(classes, wanted):
    out, at = [], 0
    for c in range(len(classes)):
        if classes[c] == wanted and (c == 0 or classes[c - 1] != wanted):
            end = c
            while end < len(classes) and classes[end] == wanted:
                end += 1
            out += [c - at, end - c]
            at = end
    return out


def table(name, numbers):
    assert max(numbers) < 65536
    lines = [f"static const uint16_t unicode_{name}[{len(numbers)}] = {{", ""]
    for step, length in zip(numbers[::2], numbers[1::2]):
        pair = f"{step},{length},"
        if len(lines[-1]) + len(pair) > 80:
            lines.append("")
        lines[-1] += pair
    return "\n".join(lines)[:-1] + "};"


every = [code_class(c) for c in range(0x110000)]
last = max(c for c, k in enumerate(every) if k)
version = ".".join(unicodedata.unidata_version.split(".")[:2])
print(HEAD % (version, version, last + 1))
for name in ("space", "numbers", "letters"):
    print(table(name, runs(every, name)))
print("#endif")
