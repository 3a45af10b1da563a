from __future__ import annotations

import base64
import http.server
import json
import threading
import urllib.parse
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.diagnosis import audit, tempo
from orchwatch.errors import OrchwatchError

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACE = "00f7651916cd43dd8448eb211c80319c"
SPANS = ["00ad6b7169203331", "b7ad6b7169203332", "b7ad6b7169203333"]


def trace(*span_ids: str) -> dict[str, Any]:
    spans = [{"spanId": span_id} for span_id in span_ids]
    return {"trace": {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}}


@pytest.fixture
def answers() -> Iterator[dict[str, Any]]:
    """What a server answers by path, `url` apart; `asked` holds the paths it was asked for."""
    known: dict[str, Any] = {"asked": []}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urllib.parse.urlsplit(self.path).path
            known["asked"].append(path)
            self.send_response(200 if path in known else 400)
            self.end_headers()
            self.wfile.write(json.dumps(known.get(path)).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    known["url"] = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield known
    server.shutdown()
    server.server_close()


def missing(answers: dict[str, Any]) -> list[tuple[str, str]]:
    return tempo.missing(answers["url"], {TRACE: SPANS}, start_s=0, end_s=1)


def listing(*span_ids: str) -> dict[str, Any]:
    """Tempo leaves out the leading zeros of ids here."""
    spans = [{"spanID": span_id.lstrip("0")} for span_id in span_ids]
    return {"traces": [{"traceID": TRACE.lstrip("0"), "spanSets": [{"spans": spans}]}]}


def test_what_a_search_lists_is_not_asked_for_again(answers: dict[str, Any]) -> None:
    answers["/api/search"] = listing(*SPANS)
    assert missing(answers) == []
    assert answers["asked"] == ["/api/search"]


@pytest.mark.parametrize("as_base64", [True, False])
def test_what_a_search_leaves_out_is_asked_for_by_its_id(
    answers: dict[str, Any], as_base64: bool
) -> None:
    held = [
        base64.b64encode(bytes.fromhex(span_id)).decode() if as_base64 else span_id.upper()
        for span_id in SPANS[:2]
    ]
    answers["/api/search"] = listing(SPANS[0])
    answers[f"/api/v2/traces/{TRACE}"] = trace(*held)
    assert missing(answers) == [(TRACE, SPANS[2])]


def test_a_search_that_is_refused_costs_time_only(answers: dict[str, Any]) -> None:
    answers[f"/api/v2/traces/{TRACE}"] = trace(*SPANS)
    assert missing(answers) == []


@pytest.mark.parametrize("answer", [None, [], {"status": "fine"}])
def test_something_else_that_answers_is_not_taken_for_a_tempo_without_traces(
    answers: dict[str, Any], answer: object
) -> None:
    answers["/api/search"] = answer
    with pytest.raises(OrchwatchError, match=f"the server at {answers['url']} is not Tempo"):
        missing(answers)


def test_a_trace_that_is_not_there_misses_all_its_spans(answers: dict[str, Any]) -> None:
    answers["/api/search"] = {"metrics": {}}
    answers[f"/api/v2/traces/{TRACE}"] = {"trace": {}}
    assert missing(answers) == [(TRACE, span_id) for span_id in SPANS]


def test_ranges_hold_every_second_once_and_no_more_traces_than_a_search_lists() -> None:
    starts = [(second, 300) for second in range(100, 130)] + [(200, 9000), (90_000, 1)]
    ranges = list(audit._ranges(starts))
    assert [second for second, _ in starts] == [
        second for begin_s, end_s in ranges for second, _ in starts if begin_s <= second < end_s
    ]
    assert all(
        sum(number for second, number in starts if begin_s <= second < end_s)
        <= audit._TRACES_PER_BATCH
        for begin_s, end_s in ranges
        if begin_s != 200
    )
    assert list(audit._ranges([])) == []
