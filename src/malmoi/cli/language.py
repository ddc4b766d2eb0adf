"""In which language people are spoken to: Korean or English."""

import locale
import os
from typing import Literal

Language = Literal["ko", "en"]
Asked = Literal["auto", "ko", "en"]


def choose_language(asked: Asked = "auto") -> Language:
    """The one that was asked for, or that of the system: Korean where it is, English elsewhere."""
    if asked != "auto":
        return asked
    names = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    name = next((name for name in names if name), None) or locale.getlocale()[0] or ""
    return "ko" if name.lower().startswith("ko") else "en"
