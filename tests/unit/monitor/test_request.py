from __future__ import annotations

import pytest

from orchwatch.monitor import request
from orchwatch.monitor.request import Head, RefusedError

HOST = "127.0.0.1:7319"


def _parse(*lines: str, first: str = "POST /a HTTP/1.1", host: str | None = HOST) -> Head:
    told = [first, *([] if host is None else [f"Host: {host}"]), *lines]
    return request.parse("\r\n".join(told).encode("latin-1"), lambda name: name == HOST)


def _status(*lines: str, first: str = "POST /a HTTP/1.1", host: str | None = HOST) -> int:
    with pytest.raises(RefusedError) as refused:
        _parse(*lines, first=first, host=host)
    return int(refused.value.status[:3])


def test_a_head_says_what_is_asked_and_how_long_its_body_is() -> None:
    head = _parse("Content-Length: 12", "X-Y:  two words\t", "x-y: three", "Expect: 100-Continue")
    assert head == Head(
        method="POST",
        path="/a",
        fields={
            "host": HOST,
            "content-length": "12",
            "x-y": "two words, three",
            "expect": "100-Continue",
        },
        length=12,
        closes=False,
        waits=True,
    )


@pytest.mark.parametrize(
    "lines",
    [
        ("Host: other",),
        ("host: 127.0.0.1:7319",),
        ("Content-Length: 2", "Content-Length: 2"),
        ("Content-Length: 2", "content-length: 3"),
        ("Content-Length: 2,2",),
        ("Content-Length: +2",),
        ("Content-Length: 0x2",),
        ("Content-Length: 2 2",),
        ("Content-Length:",),
        ("Content-Length: \u00b2",),
        ("Transfer-Encoding: chunked", "Content-Length: 2"),
        ("Transfer-Encoding: identity", "Content-Length: 2"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("X: a", " folded"),
        ("X: a", "\tfolded"),
        ("Content-Length : 2",),
        (" Content-Length: 2",),
        ("Content Length: 2",),
        ("no colon",),
        (": no name",),
        ("X: a\x00b",),
        ("X: a\nY: b",),
        ("X: a\rY: b",),
        ("X\x7f: a",),
        ("Transfer\u00c4: a",),
    ],
)
def test_what_could_be_read_in_two_ways_is_a_bad_request(lines: tuple[str, ...]) -> None:
    assert _status(*lines) == 400


@pytest.mark.parametrize(
    ("status", "first"),
    [
        (400, ""),
        (400, "POST /a"),
        (400, "POST  /a HTTP/1.1"),
        (400, "POST /a HTTP/1.1 "),
        (400, " POST /a HTTP/1.1"),
        (400, "POST /a b HTTP/1.1"),
        (400, "POST /a http/1.1"),
        (400, "POST\t/a HTTP/1.1"),
        (400, "P(ST /a HTTP/1.1"),
        (400, "POST /\u00e4 HTTP/1.1"),
        (400, "OPTIONS * HTTP/1.1"),
        (400, "CONNECT 127.0.0.1:7319 HTTP/1.1"),
        (400, "POST https://127.0.0.1:7319/a HTTP/1.1"),
        (403, "POST http://evil.example/a HTTP/1.1"),
        (400, "POST http://u@127.0.0.1:7319/a HTTP/1.1"),
        (505, "POST /a HTTP/2.0"),
    ],
)
def test_a_first_line_of_another_form_is_refused(status: int, first: str) -> None:
    assert _status(first=first) == status


def test_an_absolute_target_is_for_the_host_that_it_names() -> None:
    first = "POST http://127.0.0.1:7319/a?b HTTP/1.1"
    assert _parse(first=first).path == "/a"
    assert _status(first=first, host="evil.example") == 403


def test_a_request_without_a_host_is_refused_in_each_version() -> None:
    assert _status(host=None) == 400
    assert _status(host=None, first="POST /a HTTP/1.0") == 400


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        (411, ("Transfer-Encoding: chunked",)),
        (501, ("Transfer-Encoding: gzip, chunked",)),
        (501, ("Transfer-Encoding: xchunked",)),
        (417, ("Expect: 200-ok",)),
        (403, ("Origin: null",)),
        (403, ("Origin:",)),
        (403, ("Sec-Fetch-Site: same-origin",)),
    ],
)
def test_what_is_understood_and_not_wanted_is_refused_by_its_own_status(
    status: int, lines: tuple[str, ...]
) -> None:
    assert _status(*lines) == status


def test_a_person_may_type_the_address() -> None:
    assert _parse("Sec-Fetch-Site: none", first="GET /metrics HTTP/1.1").path == "/metrics"


@pytest.mark.parametrize(
    ("closes", "first", "lines"),
    [
        (False, "GET / HTTP/1.1", ()),
        (True, "GET / HTTP/1.1", ("Connection: TE, Close",)),
        (True, "GET / HTTP/1.0", ()),
        (False, "GET / HTTP/1.0", ("Connection: keep-alive",)),
    ],
)
def test_the_version_and_a_header_say_whether_the_connection_stays(
    closes: bool,
    first: str,
    lines: tuple[str, ...],
) -> None:
    assert _parse(*lines, first=first).closes is closes


def test_one_empty_line_before_a_request_is_ignored() -> None:
    assert _parse(first="\r\nGET / HTTP/1.1").method == "GET"
    assert _status(first="\r\n\r\nGET / HTTP/1.1") == 400


def test_a_length_of_many_digits_is_a_length() -> None:
    assert _parse(f"Content-Length: {'0' * 100}7").length == 7
    length = _parse(f"Content-Length: {'9' * 5000}").length
    assert length is not None
    assert length > 10**15
