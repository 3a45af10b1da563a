"""stdout and stderr of a command: nothing reaches a terminal that it would obey, but colours.

Reporters make each name safe where they lay it out (`orchwatch.recording.safe_text`). This is what
stands behind all of them, behind `argparse`, `logging` and every error message, so that no caller
can forget it.
"""

from __future__ import annotations

import os

from orchwatch.recording.safe_text import escaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TextIO

# Each as wide as what it stands for, but for the arrow, which ends sentences only.
_IN_ASCII = str.maketrans(
    {"µ": "u", "├": "|", "└": "`", "│": "|", "─": "-", "…": "~", "·": "-", "\u00d7": "x", "→": "->"}
    | {"≤": "<", "≥": ">", "█": "#", "░": "."}
)
_COLOUR_START = "\x1b["
_COLOUR_DIGITS = "0123456789;"
_COLOUR_END = "m"
_MAX_COLOUR = 20


class Output:
    """A text stream that shows control characters instead of passing them on.

    Args:
        stream: Where to.
        charset: What it can take, if that is less than Unicode: what this package writes itself
            comes in ASCII then, `us` for µs, and trees of `|` and `-`. JSON asks for `encoding`,
            and escapes instead.
    """

    def __init__(self, stream: TextIO, *, charset: str | None = None) -> None:
        self._stream = stream
        self._charset = charset
        if charset is not None:
            self.encoding = charset

    def write(self, text: str) -> int:
        """Writes lines; colours stay."""
        shown = text if text.isprintable() else _shown(text)
        if self._charset is not None and not shown.isascii():
            shown = shown.translate(_IN_ASCII)
            shown = shown.encode(self._charset, "replace").decode(self._charset)
        self._stream.write(shown)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Writes several."""
        for line in lines:
            self.write(line)

    def control(self, text: str) -> None:
        """Writes what the terminal is to obey: a progress bar's own codes, and no name."""
        self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _shown(text: str) -> str:
    # Most lines are fine: looking at each character of a long JSON document takes seconds.
    return "\n".join(
        [line if line.isprintable() else _shown_line(line) for line in text.split("\n")]
    )


def _shown_line(text: str) -> str:
    kept = []
    at = 0
    while at < len(text):
        letter = text[at]
        length = _colour_length(text, at) if letter == "\x1b" else 0
        if length:
            kept.append(text[at : at + length])
        elif letter.isprintable():
            kept.append(letter)
        else:
            kept.append(escaped(letter))
        at += length or 1
    return "".join(kept)


def _colour_length(text: str, start: int) -> int:
    """How long the colour code is that begins there; 0 where none does."""
    if not text.startswith(_COLOUR_START, start):
        return 0
    first = start + len(_COLOUR_START)
    end = text.find(_COLOUR_END, first, start + _MAX_COLOUR)
    if end < 0 or text[first:end].strip(_COLOUR_DIGITS):
        return 0
    return end + 1 - start


def charset(stream: TextIO) -> str | None:
    """What a stream, or the person's locale, is restricted to; None where it takes Unicode.

    Python takes the locale C for UTF-8 (PEP 540); who sets LC_ALL to it means it.
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    if encoding.lower().replace("-", "") != "utf8":
        return encoding
    return "ascii" if os.environ.get("LC_ALL") in ("C", "POSIX") else None
