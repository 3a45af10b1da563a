"""What real coding agents have sent, as OTLP requests.

The recordings in `tests/data/otlp` were made with the clients themselves on a scripted model, and
are flattened to a line a span; long texts are cut.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

Json = dict[str, Any]

DATA = Path(__file__).parents[1] / "data" / "otlp"
"""The recordings, by the agent's name."""

_KINDS = {"SPAN_KIND_INTERNAL": 1, "SPAN_KIND_SERVER": 2, "SPAN_KIND_CLIENT": 3}
_STATUSES = {"STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}


class Recording(NamedTuple):
    """What an agent has sent of some runs, and what its model's side saw of them.

    Attributes:
        requests: OTLP requests, one for each resource and scope.
        tools: The calls that the model asked for: `id`, `name`, and when, in ISO 8601; `end` is
            None where no answer came.
        asked: Requests to the model: HTTP `status`, and `usage` by kind of token.
    """

    requests: list[Json]
    tools: list[Json]
    asked: list[Json]

    @property
    def sessions(self) -> set[str]:
        """The ids that its spans carry."""
        keys = {"session.id", "gen_ai.conversation.id", "conversation.id"}
        return {
            item["value"]["stringValue"]
            for span in self.spans
            for item in span["attributes"]
            if item["key"] in keys
        }

    @property
    def spans(self) -> list[Json]:
        """As they were sent."""
        return [
            span
            for request in self.requests
            for resource in request["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]


def recording(path: Path) -> Recording:
    """A recording: the truth in its first line, then resources and spans, one a line."""
    first, *lines = path.read_text().splitlines()
    truth = json.loads(first)["truth"]
    resources: dict[int, Json] = {}
    spans: dict[tuple[int, str], list[Json]] = {}
    for line in lines:
        record = json.loads(line)
        if "kind" in record:
            spans.setdefault((record["resource"], record["scope"]), []).append(_span(record))
        else:
            resources[record["resource"]] = record["attributes"]
    requests = [
        _request(_attributes(resources[resource]), scope, found)
        for (resource, scope), found in spans.items()
    ]
    return Recording(requests, truth["tools"], truth["requests"])


def _request(about: list[Json], scope: str, spans: list[Json]) -> Json:
    scopes = [{"scope": {"name": scope}, "spans": spans}]
    return {"resourceSpans": [{"resource": {"attributes": about}, "scopeSpans": scopes}]}


def _span(record: Json) -> Json:
    status = record["status"].get("code", 0)
    kind = record["spankind"]
    return {
        "traceId": record["trace"],
        "spanId": record["span"],
        "parentSpanId": record["parent"] or "",
        "name": record["name"],
        "kind": _KINDS.get(kind, kind),
        "startTimeUnixNano": record["start"],
        "endTimeUnixNano": record["end"],
        "attributes": _attributes(record["attributes"]),
        "events": [
            {
                "name": event["name"],
                "timeUnixNano": event["t"],
                "attributes": _attributes(event.get("attributes") or {}),
            }
            for event in record.get("events") or ()
        ],
        "status": {
            "code": _STATUSES.get(status, status),
            "message": record["status"].get("message", ""),
        },
    }


def _attributes(values: Json) -> list[Json]:
    return [
        {"key": key, "value": _value(value)} for key, value in values.items() if value is not None
    ]


def _value(value: object) -> Json:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case list():
            return {"arrayValue": {"values": [_value(one) for one in value]}}
        case dict():
            return {"stringValue": json.dumps(value)}
        case _:
            return {"stringValue": str(value)}
