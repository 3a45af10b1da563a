"""One JSON document, read and written without the `json` package.

A hook has to read its payload, and importing `json` costs it as much CPU as a bare interpreter's
start: it brings in regular expressions. The C code inside it does all the work that is needed.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

try:
    from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner
except ImportError:  # an interpreter without the C accelerator
    make_scanner = make_encoder = None  # type: ignore[assignment,misc]

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
    """The value of a JSON document, as `json.loads` reads it.

    Raises:
        ValueError: It is not valid JSON.
    """
    if make_scanner is None:
        import json  # noqa: PLC0415 - only without the C scanner

        return json.loads(text)
    text = text.strip(_WHITESPACE)
    try:
        value, end = make_scanner(_Options())(text, 0)  # type: ignore[arg-type]  # any such object
    except StopIteration as stop:
        raise ValueError(f"no JSON value at character {stop.value}") from None
    except SystemError:
        # A truncated document: the scanner takes its exception from `json.decoder`, and has none to
        # raise if that was never imported.
        import json  # noqa: PLC0415 - invalid JSON may cost more

        return json.loads(text)
    if end != len(text):
        raise ValueError(f"more than one JSON value, from character {end}")
    return value


def dumps(value: Any, *, ascii_only: bool) -> str:
    """The text of a value on one line, as `json.dumps` writes it.

    Args:
        value: Of `dict`, `list`, `str`, `int`, `float`, `bool` and None alone.
        ascii_only: Whether all but ASCII is escaped.

    Raises:
        ValueError: It holds a number that is not finite, or itself.
        TypeError: It holds something else.
    """
    if make_encoder is None:
        import json  # noqa: PLC0415 - as above

        return json.dumps(value, ensure_ascii=ascii_only, allow_nan=False)
    quote = encode_basestring_ascii if ascii_only else encode_basestring
    encode = make_encoder({}, _refused, quote, None, ": ", ", ", False, False, False)  # noqa: FBT003 - it takes no keywords
    return "".join(encode(value, 0))


def _refused(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} is not JSON")
