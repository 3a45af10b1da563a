"""What the Collector masks before Tempo and Prometheus have it, and what it leaves alone."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

import pytest
from tests.stack.conftest import TABLE, eventually, samples
from tests.stack.test_native_stack import metrics, post, span, spans_of, text, write_segment

if TYPE_CHECKING:
    from tests.stack.conftest import Json

    from native import Stack

# Each secret part says so with a run of a's, and some with b's behind what could end it.
SECRETS = [
    "n sk-ant-api03-aaaaaaaaaaaaaaaaaaaaaaaa",
    "KEYsk-ant-api03-aaaaaaaaaaaaaaaaaaaaaaaa",
    f"Esk-proj-{'a' * 48}",
    "sk-aaaaaaaaaaaaaaaaaaaaaaaa",
    f"TOKENghp_{'a' * 36}",
    f"Xgithub_pat_{'a' * 40}",
    f"Xglpat-{'a' * 20}",
    f"Xowf_{'a' * 8}_{'1' * 48}",
    f"Xnpm_{'a' * 36}",
    f"hf_{'a' * 33}1",
    f"rubygems_{'a' * 47}1",
    f"XAIza{'a' * 35}",
    f"ya29.{'a' * 40}",
    "Xxoxb-123456789012-aaaaaaaaaaaa",
    "https://hooks.slack.com/services/T00000000/B00000000/aaaaaaaaaaaa",
    f"https://api.telegram.org/bot123456789:{'a' * 35}/getMe",
    f"123456789:{'a' * 34}-",
    "XeyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.aaaaaaaaaaaa",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\naaaa\n-----END PGP PRIVATE KEY BLOCK-----",
    "-----BEGIN OPENSSH PRIVATE KEY-----\naaaa",
    "https://user:aaaa:bbbb@host/",
    "https://user:aaaa@bbbb@host/",
    "redis://:aaaa@host/0",
    "Authorization: Basic dTphYWFh+aaaa",
    "authorization: token aaaa",
    '{"Authorization": "Bearer aaaa"}',
    "basic aaaaaaaaaaaaaaaaaaaaaa==",
    "password=aaaaaaaa",
    "DB_PASSWD: aaaaaaaa",
    "aws_secret_access_key = aaaaaaaa/bbbb+",
    "X-Api-Key: aaaaaaaa",
    "client_secret=aaaaaaaa&scope=all",
    "AccountName=n;AccountKey=aaaaaaaa==;",
    '{"token":"aaaaaaaa"}',
]
# AWS keys are of capitals only.
CAPITALS = ["XAKIAAAAAAAAAAAAAAAAA", "ASIAAAAAAAAAAAAAAAAAx"]
HARMLESS = [
    *TABLE.operations,
    "4bf92f3577b34da6a3ce929d0e0e4736",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "c0ffee00-1234-4abc-8def-0123456789ab",
    "1763839677:c0ffee00-1234-4abc-8def-0123456789ab",
    "/home/somebody/work/main/src/task-runner-with-a-long-name/secrets.py",
    "tests/unit/test_token.py::test_a_token_is_kept_as_it_is",
    "node_modules/@scope/package/dist/index.js",
    "https://example.org:8443/path/to?query=1#part",
    "write to somebody@example.org",
    "disk_test_withsomethinglongbehindit",
    "high_availability_and_other_long_names",
    "if password == expected_password",
    "token::parse_everything",
    "claude_code.token.usage",
    "input_tokens=123456",
    "2026-11-22T19:30:52.123456789Z",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "",
]


def sent(stack: Stack, texts: list[str]) -> dict[str, list[str]]:
    """What Tempo has of each text, by its place."""
    trace = secrets.token_hex(16)
    message = span(None, 1, service="redaction", trace=trace)
    [scope] = message["resourceSpans"][0]["scopeSpans"]
    [pattern] = scope["spans"]
    scope["spans"] = [
        {
            **pattern,
            "spanId": secrets.token_hex(8),
            "name": one,
            "attributes": [
                {"key": "number", "value": text(str(number))},
                {"key": "note", "value": text(one)},
                {"key": "list", "value": {"arrayValue": {"values": [text("--x"), text(one)]}}},
            ],
            "status": {"code": 2, "message": one},
            "traceState": one,
            "events": [
                {
                    "name": one,
                    "timeUnixNano": pattern["startTimeUnixNano"],
                    "attributes": [{"key": "note", "value": text(one)}],
                }
            ],
        }
        for number, one in enumerate(texts)
    ]
    write_segment(stack, f"operations-redaction-{trace[:8]}", message)
    eventually(lambda: len(spans_of(stack, trace)) == len(texts))
    found: dict[str, list[str]] = {}
    for stored in spans_of(stack, trace):
        values = {item["key"]: item["value"] for item in stored["attributes"]}
        assert set(values) == {"number", "note", "list"}
        # What is masked in a list makes a plain string of it.
        [event] = stored["events"]
        [note] = event["attributes"]
        [*_, listed] = values["list"].get("arrayValue", {"values": [values["list"]]})["values"]
        found[texts[int(values["number"]["stringValue"])]] = [
            stored.get("name", ""),
            values["note"]["stringValue"],
            listed["stringValue"],
            stored["status"].get("message", ""),
            stored.get("traceState", ""),
            event.get("name", ""),
            note["value"]["stringValue"],
        ]
    return found


def test_secrets_are_masked_wherever_a_span_has_text(stack: Stack) -> None:
    found = sent(stack, [*SECRETS, *CAPITALS])
    assert set(found) == {*SECRETS, *CAPITALS}
    leaked = {
        (secret, kept)
        for secret, places in found.items()
        for kept in places
        if "****" not in kept or any(part in kept for part in ("aaaa", "bbbb", "AAAA"))
    }
    assert leaked == set()


def test_ordinary_texts_stay_as_they_are(stack: Stack) -> None:
    found = sent(stack, HARMLESS)
    assert found == {one: [one] * 7 for one in HARMLESS}


def keyed(stack: Stack, keys: list[str]) -> dict[str, tuple[set[str], set[str]]]:
    """The attributes' keys that Tempo has where each text is one: the span's, and its event's."""
    trace = secrets.token_hex(16)
    message = span("state.query", 1, service="redacted-keys", trace=trace)
    [scope] = message["resourceSpans"][0]["scopeSpans"]
    [pattern] = scope["spans"]
    scope["spans"] = [
        {
            **pattern,
            "spanId": secrets.token_hex(8),
            "name": str(number),
            "attributes": [*pattern["attributes"], {"key": key, "value": text("x")}],
            "events": [
                {
                    "name": "event",
                    "timeUnixNano": pattern["startTimeUnixNano"],
                    "attributes": [{"key": key, "value": text("x")}],
                }
            ],
        }
        for number, key in enumerate(keys)
    ]
    write_segment(stack, f"operations-keyed-{trace[:8]}", message)
    eventually(lambda: len(spans_of(stack, trace)) == len(keys))
    return {
        keys[int(stored["name"])]: (
            {item["key"] for item in stored["attributes"]},
            {item["key"] for item in stored["events"][0].get("attributes", [])},
        )
        for stored in spans_of(stack, trace)
    }


def test_a_secret_that_is_an_attributes_key_goes_and_the_operation_stays(stack: Stack) -> None:
    found = keyed(stack, [*SECRETS, *CAPITALS])
    assert found == {
        one: ({"orchestration.operation.name"}, set()) for one in [*SECRETS, *CAPITALS]
    }


def test_ordinary_keys_stay_as_they_are(stack: Stack) -> None:
    keys = [one for one in HARMLESS if one]
    assert keyed(stack, keys) == {
        one: ({"orchestration.operation.name", one}, {one}) for one in keys
    }


@pytest.mark.parametrize("family", ["metrics", "otlp"])
def test_secrets_are_masked_in_metrics_and_their_labels(stack: Stack, family: str) -> None:
    service = f"redacted-{family}"

    def gauge(name: str, **labels: str) -> Json:
        point = {
            "asInt": "1",
            "timeUnixNano": str(time.time_ns()),
            "attributes": [{"key": key, "value": text(value)} for key, value in labels.items()],
        }
        return {"name": name, "gauge": {"dataPoints": [point]}}

    found = [gauge("control", plain="value")]
    for number, one in enumerate([*SECRETS, *CAPITALS]):
        found += [gauge(f"named.{number}.{one}"), gauge(f"labelled.{number}", **{one: "x"})]
        found.append(gauge(f"valued.{number}", value=one))
    if family == "otlp":
        post(f"{stack.otlp_http_url}/v1/metrics", metrics(service, *found))
    else:
        write_segment(stack, f"metrics-{secrets.token_hex(4)}", metrics(service, *found))

    query = f'{{service_name="{service}",__name__!="target_info"}}'

    def valued() -> list[dict[str, str]]:
        return [one for one, _ in samples(stack, query) if one["__name__"].startswith("valued")]

    # The last of them is the last of all.
    eventually(lambda: len(valued()) == len([*SECRETS, *CAPITALS]))
    assert len(valued()) == len([*SECRETS, *CAPITALS])
    kept = [labels for labels, _ in samples(stack, query)]
    assert {"control"} < {labels["__name__"] for labels in kept}
    assert not [labels for labels in kept if "aaaa" in str(labels) or "AAAA" in str(labels)]
    assert not [labels for labels in kept if labels["__name__"].startswith("labelled")]


def test_an_operations_name_is_masked_where_it_is_counted(stack: Stack) -> None:
    name = f"n sk-ant-api03-{'a' * 24}"
    trace = secrets.token_hex(16)
    write_segment(
        stack, f"operations-named-{trace[:8]}", span(name, 1, service="redacted-name", trace=trace)
    )
    query = 'orchestration_operation_duration_seconds_count{service_name="redacted-name"}'
    [(labels, _)] = eventually(lambda: samples(stack, query))
    assert labels["orchestration_operation_name"] == "n ****"
    [found] = eventually(lambda: spans_of(stack, trace))
    assert found["name"] == "n ****"
