"""Claude Code's own telemetry, sent as it sends it, beside the operations of the same session."""

from __future__ import annotations

import json
import secrets
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from grafana_foundation_sdk.models.prometheus import Dataquery
from tests.stack.conftest import counted, eventually, get, opened, samples, search, value

from orchwatch.mixin.dashboards.queries import reported

if TYPE_CHECKING:
    from native import Stack

Json = dict[str, Any]

# In its resource nothing tells one process from another, and delta is its default.
RESOURCE = {"service.name": "claude-code", "service.version": "2.1.39", "os.type": "linux"}
SCOPE = {"name": "com.anthropic.claude_code", "version": "2.1.39"}
DELTA, CUMULATIVE = 1, 2
SAID = "said in confidence"
PERSON = {"user.email": "person@example.com", "user.id": "x" * 64, "organization.id": "o"}


def _attributes(values: dict[str, str]) -> list[Json]:
    return [{"key": key, "value": {"stringValue": text}} for key, text in values.items()]


def _send(stack: Stack, signal: str, document: Json) -> None:
    request = urllib.request.Request(
        f"{stack.otlp_http_url}/v1/{signal}",
        json.dumps(document).encode(),
        {"Content-Type": "application/json"},
    )
    with opened(request) as answer:
        assert answer.status == 200


def _sum(
    stack: Stack, name: str, unit: str, number: float, temporality: int, **attributes: str
) -> None:
    now_ns = time.time_ns()
    point = {
        "attributes": _attributes({**PERSON, "terminal.type": "xterm", **attributes}),
        "startTimeUnixNano": str(now_ns - 10**9),
        "timeUnixNano": str(now_ns),
        "asDouble": number,
    }
    total = {"dataPoints": [point], "aggregationTemporality": temporality, "isMonotonic": True}
    metrics = [{"name": name, "unit": unit, "sum": total}]
    _send(
        stack,
        "metrics",
        {
            "resourceMetrics": [
                {
                    "resource": {"attributes": _attributes(RESOURCE)},
                    "scopeMetrics": [{"scope": SCOPE, "metrics": metrics}],
                }
            ]
        },
    )


@pytest.fixture
def session_id() -> str:
    digits = secrets.token_hex(16)
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"


def test_tokens_cost_and_active_time_add_up_by_session(stack: Stack, session_id: str) -> None:
    more = {"session.id": session_id, "model": "claude-test"}
    for _ in range(3):
        _sum(stack, "claude_code.token.usage", "tokens", 100, DELTA, type="input", **more)
        _sum(stack, "claude_code.token.usage", "tokens", 7, DELTA, type="output", **more)
        _sum(stack, "claude_code.cost.usage", "USD", 0.5, DELTA, **more)
    _sum(stack, "claude_code.active_time.total", "s", 12, DELTA, **{"session.id": session_id})
    own = f'{{session_id="{session_id}"'
    tokens = f"claude_code_token_usage_tokens_total{own}"
    assert eventually(lambda: value(stack, tokens + ',type="input"}') == 300)
    assert eventually(lambda: value(stack, tokens + ',type="output"}') == 21)
    assert eventually(lambda: value(stack, f"claude_code_cost_usage_USD_total{own}}}") == 1.5)
    assert eventually(lambda: value(stack, f"claude_code_active_time_seconds_total{own}}}") == 12)
    # A first sample is seen as an increase too.
    assert eventually(lambda: (value(stack, f"increase({tokens},type='input'}}[10m])") or 0) > 0)


def test_cumulative_sums_arrive_as_they_are(stack: Stack, session_id: str) -> None:
    more = {"session.id": session_id, "type": "input"}
    for total in (10, 25):
        _sum(stack, "claude_code.token.usage", "tokens", total, CUMULATIVE, **more)
    query = f'claude_code_token_usage_tokens_total{{session_id="{session_id}"}}'
    assert eventually(lambda: value(stack, query) == 25)


def test_the_cost_of_sessions_of_a_second_is_shown_to_the_cent(stack: Stack) -> None:
    model = f"claude-{secrets.token_hex(4)}"
    resumed = secrets.token_hex(16)
    for session, cents in ((secrets.token_hex(16), 25), (resumed, 50), (resumed, 62)):
        more = {"session.id": session, "model": model}
        _sum(stack, "claude_code.cost.usage", "USD", cents / 100, DELTA, **more)
    series = f'sum(claude_code_cost_usage_USD_total{{model="{model}"}})'
    assert eventually(lambda: value(stack, series) == pytest.approx(1.37))

    shown = reported("A", "claude_code_cost_usage_USD_total", "model", "").build()
    assert isinstance(shown, Dataquery)
    expr = shown.expr.replace("$__interval", "10m").replace(
        "_total[", f'_total{{model="{model}"}}['
    )
    for _ in range(10):
        assert value(stack, expr) == pytest.approx(1.37)


def test_no_metric_names_the_person(stack: Stack, session_id: str) -> None:
    _sum(stack, "claude_code.session.count", "", 1, DELTA, **{"session.id": session_id})
    found = eventually(
        lambda: samples(stack, f'{{__name__=~"claude_code_.*",session_id="{session_id}"}}')
    )
    assert found
    assert not [
        label for labels, _ in found for label in labels if label.startswith(("user", "or"))
    ]


def test_events_are_counted_by_kind_and_what_they_say_goes_nowhere(stack: Stack) -> None:
    kind = f"api_error_{secrets.token_hex(4)}"
    for status in ("529", "529", "401"):
        record = {
            "timeUnixNano": str(time.time_ns()),
            "body": {"stringValue": f"claude_code.{kind}"},
            "attributes": _attributes(
                {"event.name": kind, "status_code": status, "error": "said in confidence"}
            ),
        }
        _send(
            stack,
            "logs",
            {
                "resourceLogs": [
                    {
                        "resource": {"attributes": _attributes(RESOURCE)},
                        "scopeLogs": [{"scope": SCOPE, "logRecords": [record]}],
                    }
                ]
            },
        )
    query = f'claude_code_event_count_total{{event_name="{kind}"'
    assert eventually(lambda: value(stack, query + ',status_code="529"}') == 2)
    assert eventually(lambda: value(stack, query + ',status_code="401"}') == 1)
    assert not [
        one for labels, _ in samples(stack, query + "}") for one in labels if one == "error"
    ]


def test_its_spans_are_found_by_session_and_hold_no_content(stack: Stack, session_id: str) -> None:
    now_ns = time.time_ns()
    trace_id = secrets.token_hex(16)
    root, tool = secrets.token_hex(8), secrets.token_hex(8)
    spans = [
        {
            "traceId": trace_id,
            "spanId": span_id,
            "parentSpanId": parent,
            "name": name,
            "kind": 1,
            "startTimeUnixNano": str(now_ns - 10**9),
            "endTimeUnixNano": str(now_ns),
            "attributes": _attributes({"session.id": session_id, **more}),
            "events": [
                {
                    "timeUnixNano": str(now_ns),
                    "name": "tool.output",
                    "attributes": _attributes({"output": SAID}),
                }
            ],
            "status": {"code": 2, "message": SAID},
        }
        for span_id, parent, name, more in (
            (root, "", "claude_code.interaction", {"user_prompt": SAID, "user.id": SAID}),
            (
                tool,
                root,
                "claude_code.tool",
                {"tool_use_id": "toolu_1", "full_command": SAID, "file_path": SAID, "new": SAID},
            ),
        )
    ]
    _send(
        stack,
        "traces",
        {
            "resourceSpans": [
                {
                    "resource": {"attributes": _attributes(RESOURCE)},
                    "scopeSpans": [{"scope": SCOPE, "spans": spans}],
                }
            ]
        },
    )
    query = f'{{ span.session.id = "{session_id}" && span.tool_use_id = "toolu_1" }}'
    assert eventually(lambda: search(stack, query)) == {trace_id}
    assert SAID not in json.dumps(get(f"{stack.tempo_url}/api/traces/{trace_id}"))
    assert counted(stack, service="claude-code") == 0
