"""What the files of a corpus hold, in a few digits: whether they are still those of the start."""

import hashlib
from collections.abc import Mapping, Sequence

from malmoi.text.sources import local_files

Fingerprints = dict[str, str]
"""file -> "BYTES bytes, DIGITS": its size and the first digits of its BLAKE2b checksum"""


def fingerprints(sources: Sequence[str]) -> Fingerprints:
    """Of each local file that `sources` name, in their order; addresses have none.

    Raises:
        ValueError: a file is missing.

    """
    found = {}
    for name in (name for source in sources for name in local_files(source)):
        try:
            with open(name, "rb") as file:
                digest = hashlib.file_digest(file, "blake2b").hexdigest()[:16]
                found[name] = f"{file.tell():,} bytes, {digest}"
        except OSError as error:
            raise ValueError(f"{name}: {error.strerror}") from None
    return found


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """The first difference, in words; None: there is none."""
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            was, here = before.get(name, "not there"), now.get(name, "not there")
            return f"{name}: was {was}; is {here}"
    return None
