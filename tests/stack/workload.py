"""Operations that have ended as a test likes, written into the spool as any program writes them."""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING, Any

from orchwatch import semconv

if TYPE_CHECKING:
    from collections.abc import Sequence

    from native import Stack

Json = dict[str, Any]

_ATTRIBUTES = {
    "agent": semconv.GEN_AI_AGENT_NAME,
    "agent_id": semconv.GEN_AI_AGENT_ID,
    "session": semconv.SESSION_ID,
    "named": semconv.SESSION_NAME,
    "conversation": semconv.GEN_AI_CONVERSATION_ID,
    "error": semconv.ERROR_TYPE,
    "hook": semconv.HOOK_NAME,
    "event": semconv.HOOK_EVENT_NAME,
    "plugin": semconv.HOOK_PLUGIN,
    "tool": semconv.GEN_AI_TOOL_NAME,
    "model": semconv.GEN_AI_RESPONSE_MODEL,
    "output_tokens": semconv.GEN_AI_USAGE_OUTPUT_TOKENS,
}


def ended(
    operation: str, took_s: float, *, ago_s: float = 0.0, trace: str = "", **attributes: str | int
) -> Json:
    """A span.

    Args:
        operation: Its operation.
        took_s: How long it took.
        ago_s: How long ago it ended.
        trace: Its trace; one of its own if there is none.
        attributes: By the short names above; what is empty is not there.
    """
    end_ns = time.time_ns() - round(ago_s * 1e9)
    found = [_attribute(semconv.OPERATION_NAME, operation)]
    found += [_attribute(_ATTRIBUTES[key], one) for key, one in attributes.items() if one != ""]
    return {
        "traceId": trace or secrets.token_hex(16),
        "spanId": secrets.token_hex(8),
        "name": operation,
        "kind": 1,
        "startTimeUnixNano": str(end_ns - round(took_s * 1e9)),
        "endTimeUnixNano": str(end_ns),
        "attributes": found,
        "status": {"code": 2 if attributes.get("error") else 1},
    }


def write(stack: Stack, service: str, spans: Sequence[Json], family: str = "operations") -> None:
    """Appends spans of a service to the spool, in a segment of their own."""
    segment = f"9{secrets.randbelow(10**9):09d}"
    header = {"orchwatch": {"segment": segment, "id": secrets.token_hex(16)}, "resourceSpans": []}
    resource = {"attributes": [_attribute(semconv.SERVICE_NAME, service)]}
    scopes = [{"scope": {"name": semconv.SCOPE}, "spans": list(spans)}]
    lines = [header, {"resourceSpans": [{"resource": resource, "scopeSpans": scopes}]}]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    stack.spool.mkdir(parents=True, exist_ok=True)
    (stack.spool / f"{family}-{segment}.jsonl").write_text(text)


def _attribute(key: str, value: str | int) -> Json:
    kind, text = ("intValue", str(value)) if isinstance(value, int) else ("stringValue", value)
    return {"key": key, "value": {kind: text}}
