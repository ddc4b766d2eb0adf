"""In which language people are spoken to: Korean or English."""

import locale
import os
from collections.abc import Mapping
from typing import Literal

Language = Literal["ko", "en"]
Asked = Literal["auto", "ko", "en"]


def choose_language(asked: Asked = "auto", environment: Mapping[str, str] = os.environ) -> Language:
    """The one that was asked for, or that of the system: Korean where it is, English elsewhere.

    The environment's variables are looked at in POSIX's order, an empty one counts as none.
    """
    if asked != "auto":
        return asked
    names = (environment.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    name = next((name for name in names if name), None) or locale.getlocale()[0] or ""
    return "ko" if name.lower().startswith("ko") else "en"
