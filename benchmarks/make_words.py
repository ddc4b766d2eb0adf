"""Make `src/malmoi/text/words.ko.txt.xz`: the words by which lost bytes of Korean are guessed.

    python benchmarks/make_words.py TEXT[#FIELD]... [--most 40000] [--least 2]

TEXT is what `malmoi train` reads. Every fifth document is left out, for tests. Use only texts whose
licence allows it; those behind the shipped list are named in docs/LOG.md.
"""

import argparse
import lzma
import re
from collections import Counter
from pathlib import Path

from malmoi.text.sources import read

HELD_OUT = 5
OUT = Path(__file__).parents[1] / "src" / "malmoi" / "text" / "words.ko.txt.xz"


def main() -> None:
    """Count and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--most", type=int, default=40_000)
    parser.add_argument("--least", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    counts: Counter[str] = Counter()
    for name in args.texts:
        source, _, field = name.partition("#")
        number = -1
        for piece in read((source,), field=field or None):
            number += piece.first
            if number % HELD_OUT:
                counts.update(re.findall("[가-힣]+", piece.text))
    kept = [(w, n) for w, n in counts.most_common(args.most) if n >= args.least]
    text = "".join(f"{word}\t{count}\n" for word, count in kept)
    args.out.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{len(kept):,} of {len(counts):,} words, {args.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
