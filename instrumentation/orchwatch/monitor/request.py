"""The head of an HTTP/1 request, read strictly (RFC 9112) and never guessed at.

Whatever two programs could read in two ways is refused: there is no proxy before this endpoint, but
one may be put there, and what it takes for one request must be one here, too. A body has a length
or the request is refused; nothing that posts here sends chunks.

A library would not be safer for the few forms that are left, and an agent waits for each answer:
to read a hook's request h11 takes six times as long as this, and `http.server` three times and a
thread (135 and 71 us where this takes 21).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_HEAD_BYTES = 16 * 1024

BAD = "400 Bad Request"
END = b"\r\n\r\n"

# RFC 9110, 5.6.2: a token; RFC 9112, 3 and 5. A value has no control character but the tab.
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a grammar's
_REQUEST = re.compile(rf"({_TOKEN}) ([!-~]+) HTTP/(\d)\.(\d)")
_FIELD = re.compile(rf"({_TOKEN}):([^\x00-\x08\x0a-\x1f\x7f]*)")
_ABSOLUTE = re.compile(r"(?i:http)://([^/?#@]+)([/?].*)?")
_BARE_LINE_END = re.compile(rb"(?<!\r)\n|\r(?![\n]|\Z)")
# What would be read in two ways if it stood there twice.
_ONCE = frozenset(("host", "content-length", "transfer-encoding", "expect", "origin"))


class RefusedError(Exception):
    """A request that is refused.

    Attributes:
        status: The response's status code and reason.
        why: The reason for the log.
    """

    def __init__(self, status: str, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A request line and its header fields.

    Attributes:
        method: In capitals, as it came.
        path: Without the query.
        fields: By lower-case name; of those that came twice, the values with a comma between.
        length: Of the body in bytes; None where it is not said.
        closes: Its sender wants the connection closed after the response.
        waits: Its sender waits for `100 Continue` before the body.
    """

    method: str
    path: str
    fields: Mapping[str, str]
    length: int | None
    closes: bool
    waits: bool


def bare_line_end(data: bytes | bytearray) -> bool:
    """Whether a line ends otherwise than by CR and LF: the end of such a head would not be seen."""
    return _BARE_LINE_END.search(data) is not None


def parse(data: bytes, is_host: Callable[[str], bool]) -> Head:
    """Reads a head.

    Args:
        data: Up to `END`, without it.
        is_host: Whether a value of `Host` (or of an absolute target) names this very server.

    Raises:
        RefusedError: It breaks a rule, or is for another host.
    """
    if bare_line_end(data):
        raise RefusedError(BAD, "a line of its head does not end in CR and LF")
    # One empty line before the first is ignored (RFC 9112, 2.2).
    request, *lines = data.decode("latin-1").removeprefix("\r\n").split("\r\n")
    found = _REQUEST.fullmatch(request)
    if found is None:
        raise RefusedError(BAD, "its first line is not HTTP/1")
    method, target, major, minor = found.groups()
    if major != "1":
        raise RefusedError("505 HTTP Version Not Supported", "it is not of HTTP/1")
    fields = _fields(lines)
    path = _path(target, fields, is_host)
    _refuse_pages(fields)
    connection = {option.strip().lower() for option in fields.get("connection", "").split(",")}
    return Head(
        method=method,
        path=path,
        fields=fields,
        length=_length(fields),
        closes="close" in connection or (minor == "0" and "keep-alive" not in connection),
        waits=_waits(fields) and minor != "0",
    )


def _fields(lines: list[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found is None:  # also a folded line, and a space before the colon
            raise RefusedError(BAD, "a line of its head is no header")
        name, value = found[1].lower(), found[2].strip(" \t")
        if name in fields:
            if name in _ONCE:
                raise RefusedError(BAD, f"it has two headers {name}")
            value = f"{fields[name]}, {value}"
        fields[name] = value
    return fields


def _path(target: str, fields: Mapping[str, str], is_host: Callable[[str], bool]) -> str:
    host = fields.get("host")
    if host is None:
        raise RefusedError(BAD, "it does not say what host it is for")
    absolute = _ABSOLUTE.fullmatch(target)
    hosts = [host]
    if absolute is not None:
        hosts.append(absolute[1])
        target = absolute[2] or "/"
    # A page can have a name of its own resolved to loopback, but the request then carries that
    # name.
    if not all(map(is_host, hosts)):
        raise RefusedError("403 Forbidden", "it did not come for this host")
    if not target.startswith("/"):
        raise RefusedError(BAD, "its target is not a path")
    return target.partition("?")[0]


def _refuse_pages(fields: Mapping[str, str]) -> None:
    """A page in a browser can reach loopback, but not without one of these."""
    if "origin" in fields or fields.get("sec-fetch-site", "none") != "none":
        raise RefusedError("403 Forbidden", "a page in a browser has sent it")


def _length(fields: Mapping[str, str]) -> int | None:
    length = fields.get("content-length")
    if "transfer-encoding" in fields:
        if length is not None:
            raise RefusedError(BAD, "it has both a length and a transfer coding")
        if fields["transfer-encoding"].lower() != "chunked":
            raise RefusedError("501 Not Implemented", "its transfer coding is not known")
        raise RefusedError("411 Length Required", "it comes in chunks")
    if length is None:
        return None
    if not (length.isascii() and length.isdecimal()):
        raise RefusedError(BAD, "its length is not a number")
    # More digits than any limit has; `int` would refuse thousands of them.
    return int(length.lstrip("0")[:16] or "0")


def _waits(fields: Mapping[str, str]) -> bool:
    expected = fields.get("expect")
    if expected is not None and expected.lower() != "100-continue":
        raise RefusedError("417 Expectation Failed", "it expects what is not known")
    return expected is not None
