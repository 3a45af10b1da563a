"""What the Collector masks before Tempo and Prometheus have it, and what it leaves alone."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from tests.stack.conftest import TABLE, eventually, samples
from tests.stack.test_native_stack import span, spans_of, text, write_segment

if TYPE_CHECKING:
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
    f"Xnpm_{'a' * 36}",
    f"hf_{'a' * 34}",
    f"rubygems_{'a' * 48}",
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
    """What Tempo has of each text: as name, attribute, in a list, and as status message."""
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
        [*_, listed] = values["list"].get("arrayValue", {"values": [values["list"]]})["values"]
        found[texts[int(values["number"]["stringValue"])]] = [
            stored.get("name", ""),
            values["note"]["stringValue"],
            listed["stringValue"],
            stored["status"].get("message", ""),
        ]
    return found


def test_secrets_are_masked_in_names_attributes_lists_and_messages(stack: Stack) -> None:
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
    assert found == {one: [one] * 4 for one in HARMLESS}


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
