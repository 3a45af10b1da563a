"""How wide a text is where Grafana draws it: what does not fit is cut off.

Grafana 12.3 writes titles and cells in Inter at 14 pixels. By kinds of letters, which is up to one
pixel less and a few more than that font's own widths.
"""

from __future__ import annotations

from typing import Final

_ROOM_PX: Final = 16
_WIDTHS_PX: Final = {
    **dict.fromkeys("ijlI.,:;'|! ", 4.0),
    **dict.fromkeys("frt()/", 5.4),
    **dict.fromkeys("mwM%@", 12.8),
    "W": 14.1,
    **dict.fromkeys("0123456789", 8.8),
    "-": 6.6,
}
_CAPITAL_PX: Final = 9.8
_OTHER_PX: Final = 8.25


def of_text(text: str) -> int:
    """In pixels."""
    found = sum(_WIDTHS_PX.get(one, _CAPITAL_PX if one.isupper() else _OTHER_PX) for one in text)
    return round(found)


# The longest that Grafana writes for how long something is ago, in letters as wide as any.
_AGO: Final = ("a few seconds ago", "59 minutes ago", "11 months ago")


def of_ago() -> int:
    """Of the column of a table that says how long ago things were, in pixels."""
    return of_column(*_AGO)


def of_column(*texts: str) -> int:
    """Of the column of a table that holds these, in pixels."""
    return max(map(of_text, texts)) + _ROOM_PX
