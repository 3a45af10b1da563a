r"""Names and text from anywhere, as a terminal may show them.

An operation's name, a path or an exception's message may hold anything:
escape codes that move the cursor or set the clipboard, line breaks, marks that turn the writing
direction. Whatever is not printable is shown as an escape (`\x1b`, `\u202e`), so that it can be
seen and does nothing.
"""

from __future__ import annotations

MAX_COLUMNS = 200
"""How wide a name is shown at most; the middle of a longer one is left out."""

ELLIPSIS = "…"

# Vietnamese puts two on a letter; floods of them write over the lines around.
_MAX_MARKS = 3


def safe(text: str, max_columns: int = MAX_COLUMNS) -> str:
    """A text on one line, with nothing that a terminal would obey.

    Args:
        text: From anywhere; may hold lone surrogates.
        max_columns: How wide it may become.
    """
    if len(text) > 4 * max_columns:
        # Zero-width marks aside, more than could be shown; what is left out costs nothing.
        text = f"{text[: 2 * max_columns]}{ELLIPSIS}{text[-2 * max_columns :]}"
    if not text.isascii() or not text.isprintable():
        text = _without_floods("".join([escaped(letter) for letter in text]))
    return text if width(text) <= max_columns else _shortened(text, max_columns)


def escaped(letter: str) -> str:
    """One character as it may be shown."""
    if letter.isprintable():
        return letter
    if letter.isspace() and letter > "\x9f" and letter not in "\u2028\u2029":
        return " "  # a space of another width
    return letter.encode("unicode_escape").decode("ascii")


def width(text: str) -> int:
    """How many columns of a terminal it takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def ljust(text: str, columns: int) -> str:
    """Padded on the right, by what it takes on a terminal."""
    return text + " " * (columns - width(text))


def rjust(text: str, columns: int) -> str:
    """Padded on the left, by what it takes on a terminal."""
    return " " * (columns - width(text)) + text


def quoted(text: str) -> str:
    """A text as one word of a shell command that a person may copy."""
    import shlex  # noqa: PLC0415 - slow, and not for what must start fast

    return shlex.quote(safe(text))


def _columns(letter: str) -> int:
    if letter.isascii():
        return 1
    import unicodedata  # noqa: PLC0415 - a name in ASCII does without

    if unicodedata.category(letter) in ("Mn", "Me") or "\u1160" <= letter <= "\u11ff":
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _without_floods(text: str) -> str:
    kept = []
    marks = 0
    for letter in text:
        marks = 0 if _columns(letter) else marks + 1
        if marks <= _MAX_MARKS:
            kept.append(letter)
        elif marks == _MAX_MARKS + 1:
            kept.append(ELLIPSIS)
    return "".join(kept).replace(ELLIPSIS * 2, ELLIPSIS)


def _shortened(text: str, max_columns: int) -> str:
    """Its two ends: the start says what it is, and the end of a path or a dotted name says most."""
    room = max_columns - 1
    start, end = _fitting(text, room // 2), _fitting(text[::-1], room - room // 2)[::-1]
    return f"{start}{ELLIPSIS}{end}"


def _fitting(text: str, columns: int) -> str:
    taken = 0
    for number, letter in enumerate(text):
        taken += _columns(letter)
        if taken > columns:
            return text[:number]
    return text
