"""Reading one JSON text without the `json` package.

A hook has to read its payload, and importing `json` costs it as much CPU as a bare interpreter's
start: it brings in regular expressions. The C scanner inside it does all the work that is needed.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

try:
    from _json import make_scanner
except ImportError:  # an interpreter without the C accelerator
    make_scanner = None  # type: ignore[assignment,misc]

_WHITESPACE = " \t\n\r"


class _Options:
    """What `json.JSONDecoder` hands to its scanner by default."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def loads(text: str) -> Any:
    """The value of a JSON text, as `json.loads` reads it.

    Raises:
        ValueError: The text is not JSON.
    """
    if make_scanner is None:
        import json  # noqa: PLC0415 - only where there is no other way

        return json.loads(text)
    text = text.strip(_WHITESPACE)
    try:
        value, end = make_scanner(_Options())(text, 0)  # type: ignore[arg-type]  # any such object
    except StopIteration as stop:
        raise ValueError(f"no JSON value at character {stop.value}") from None
    except SystemError:
        # A text that ends too early: the scanner takes its exception from `json.decoder`, and
        # where nobody has imported that it has none to raise.
        import json  # noqa: PLC0415 - a broken text may cost more

        return json.loads(text)
    if end != len(text):
        raise ValueError(f"more than one JSON value, from character {end}")
    return value
