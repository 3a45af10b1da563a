"""Where an operation takes place, and how W3C headers spell it.

Source: W3C Trace Context (level 2) and W3C Baggage.
"""

from __future__ import annotations

from orchwatch.recording import losses
from orchwatch.recording.otlp_json import encode_attributes
from orchwatch.semconv import INHERITED_ATTRIBUTES

TYPE_CHECKING = False  # typing costs more to import than all of this
if TYPE_CHECKING:
    from collections.abc import Mapping

TRACEPARENT = "traceparent"
BAGGAGE = "baggage"

_HEX = frozenset("0123456789abcdef")
_NO_TRACE = "0" * 32
_NO_SPAN = "0" * 16
_MAX_BAGGAGE_LENGTH = 8192
# RFC 7230 token: what a baggage key is made of.
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
# What a baggage value may hold unescaped: any baggage-octet but the percent sign.
_OCTETS = (_TOKEN | frozenset("()/:<=>?@[]{}")) - {"%"}


class Context:
    """The current span and the baggage that goes with it; immutable.

    Attributes:
        trace_id: 32 hexadecimal digits; empty where there is baggage only.
        span_id: 16 hexadecimal digits; empty likewise.
        baggage: Propagated to everything that is called from here.
        inherited: The baggage entries that become attributes of each span.
        inherited_json: `inherited` as OTLP/JSON, encoded once.
    """

    __slots__ = ("baggage", "inherited", "inherited_json", "span_id", "trace_id")

    def __init__(self, trace_id: str, span_id: str, baggage: dict[str, str]) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.baggage = baggage
        self.inherited = {key: baggage[key] for key in INHERITED_ATTRIBUTES if key in baggage}
        self.inherited_json = encode_attributes(self.inherited)

    def child(self, trace_id: str, span_id: str) -> Context:
        """The context inside a span that was started here."""
        context = Context.__new__(Context)
        context.trace_id = trace_id
        context.span_id = span_id
        context.baggage = self.baggage
        context.inherited = self.inherited
        context.inherited_json = self.inherited_json
        return context

    def with_baggage(self, entries: Mapping[str, str]) -> Context:
        """A context of the same span with more baggage."""
        return Context(self.trace_id, self.span_id, {**self.baggage, **clean_baggage(entries)})


ROOT = Context("", "", {})


def parse(traceparent: str | None, baggage: str | None, current: Context = ROOT) -> Context:
    """The context that two header values describe; malformed ones are counted and ignored.

    What the headers leave out is taken from the current context, as in OpenTelemetry.
    """
    trace_id, span_id = parse_traceparent(traceparent) if traceparent else ("", "")
    entries = parse_baggage(baggage) if baggage else {}
    if not trace_id:
        if not entries:
            return current
        trace_id, span_id = current.trace_id, current.span_id
    return Context(trace_id, span_id, {**current.baggage, **entries})


def parse_traceparent(value: str) -> tuple[str, str]:
    """Trace id and span id, or two empty strings for a malformed value, which is counted."""
    parts = value.strip().split("-") if isinstance(value, str) else []
    if len(parts) >= 4:  # noqa: PLR2004 - version, trace id, span id, flags
        version, trace_id, span_id, flags = parts[:4]
        # A later version may append fields; 00 has exactly four, and ff is forbidden.
        if (
            _is_hex(version, 2)
            and version != "ff"
            and (version != "00" or len(parts) == 4)  # noqa: PLR2004
            and _is_hex(trace_id, 32)
            and trace_id != _NO_TRACE
            and _is_hex(span_id, 16)
            and span_id != _NO_SPAN
            and _is_hex(flags, 2)
        ):
            return trace_id, span_id
    losses.count("bad_traceparent")
    return "", ""


def parse_baggage(value: str) -> dict[str, str]:
    """The entries, percent-decoded and without properties; malformed ones are counted."""
    if not isinstance(value, str) or len(value) > _MAX_BAGGAGE_LENGTH:
        losses.count("bad_baggage")
        return {}
    entries = {}
    for member in value.split(","):
        if not member.strip():
            continue
        key, separator, content = member.partition(";")[0].partition("=")
        key = key.strip()
        if not separator or not key or not _TOKEN.issuperset(key):
            losses.count("bad_baggage")
            continue
        entries[key] = unescape(content.strip())
    return entries


def unescape(content: str) -> str:
    """Percent-decoded UTF-8; a percent sign that starts no valid escape is kept."""
    if "%" not in content:
        return content
    first, *others = content.encode("utf-8", "replace").split(b"%")
    decoded = [first]
    for other in others:
        digits = other[:2].decode("ascii", "replace").lower()
        if _is_hex(digits, 2):
            decoded += bytes((int(digits, 16),)), other[2:]
        else:
            decoded += b"%", other
    return b"".join(decoded).decode("utf-8", "replace")


def format_traceparent(context: Context) -> str:
    """The header value; every operation is recorded, so every trace is marked as sampled."""
    return f"00-{context.trace_id}-{context.span_id}-01"


def format_baggage(entries: Mapping[str, str]) -> str:
    """The header value, as many whole entries as the limit of W3C Baggage allows."""
    value = ""
    for key, content in entries.items():
        longer = f"{value},{key}={_escape(content)}" if value else f"{key}={_escape(content)}"
        if len(longer) > _MAX_BAGGAGE_LENGTH:
            losses.count("bad_baggage")
            break
        value = longer
    return value


def clean_baggage(entries: Mapping[str, str]) -> dict[str, str]:
    """The entries that a header can carry; the others are counted and left out."""
    cleaned = {}
    for key, content in entries.items():
        if isinstance(key, str) and key and _TOKEN.issuperset(key) and isinstance(content, str):
            cleaned[key] = content
        else:
            losses.count("bad_baggage")
    return cleaned


def _is_hex(text: str, length: int) -> bool:
    return len(text) == length and _HEX.issuperset(text)


def _escape(content: str) -> str:
    # `urllib.parse` does both, but takes as long to import as a whole hook may take.
    if _OCTETS.issuperset(content):
        return content
    return "".join(
        [
            character
            if character in _OCTETS
            else "".join([f"%{byte:02X}" for byte in character.encode("utf-8", "replace")])
            for character in content
        ]
    )
