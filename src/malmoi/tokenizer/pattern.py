"""Where a text may be cut: the pre-tokenizer pattern of the kinds trained here, and safe cuts.

The pattern decides what a token may hold at most: a word with one space before it, up to three
digits, a run of signs, a run of white space. Nothing falls out between the pieces, so that joining
them gives back the text; the tokens hold real spaces, no stand-in such as `▁` that a text could
hold itself.
"""

import re
from collections.abc import Iterator

PATTERN = (
    r" ?[\p{L}\p{M}]+(?:['’][\p{L}\p{M}]+)*"  # a word: Hangul, NFD jamo, don't
    r"|\p{N}{1,3}"  # digits in threes, as in Llama 3: numbers share their parts
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"  # signs, with the newline after them
    r"|\s*[\r\n]+"  # newlines and the white space before
    r"|\s+(?!\S)"  # white space but for its last character, ...
    r"|\s+"  # ... which goes with the word behind it where it is a space
)

# Between these neighbours PATTERN and GPT-2's pattern both always cut, and neither looks across.
# (Not after "\n\n": GPT-2's `\s+(?!\S)` would then see the end of the text instead of a word.)
_SAFE_CUT = re.compile(r"(?<=\S\n)(?=\S)|(?<=\w)(?= \w)")


def cut_safely(text: str, size: int = 1 << 16) -> Iterator[str]:
    """Yield parts of about `size` characters whose tokens, joined, are those of the whole text.

    A text without a safe place (one endless word) comes out whole.
    """
    start = 0
    while len(text) - start > size:
        match = _SAFE_CUT.search(text, start + size)
        if match is None:
            break
        yield text[start : match.start()]
        start = match.start()
    if start < len(text):
        yield text[start:] if start else text
