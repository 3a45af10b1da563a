"""Whether to colour what is written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from typing import TextIO

Choice = Literal["auto", "always", "never"]


def wanted(file: TextIO, choice: Choice = "auto") -> bool:
    """By default on a terminal that has colours, unless NO_COLOR is set (https://no-color.org)."""
    if choice == "auto":
        has_colours = file.isatty() and os.environ.get("TERM") != "dumb"
        return has_colours and not os.environ.get("NO_COLOR")
    return choice == "always"
