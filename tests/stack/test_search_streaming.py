"""Grafana streams what it searches: by gRPC, at the port at which Tempo speaks HTTP.

Source: Tempo's `tempopb.StreamingQuerier`, of which a data source of Grafana calls `Search`.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

import grpc  # type: ignore[import-untyped]
import pytest
from tests.stack import workload
from tests.stack.conftest import eventually

from native import HOST
from orchwatch import semconv

if TYPE_CHECKING:
    from native import Stack

pytestmark = pytest.mark.xdist_group("shared stack")

METHOD = "/tempopb.StreamingQuerier/Search"
SERVICE = "true-stream"
LIMIT = 20
ANSWERED_WITHIN_S = 10
# Fields of a request: their numbers and wire types.
_LIMIT, _START, _END, _QUERY = 4 << 3, 5 << 3, 6 << 3, (8 << 3) | 2


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _request(query: str) -> bytes:
    now_s, text = int(time.time()), query.encode()
    numbers = ((_LIMIT, LIMIT), (_START, now_s - 3600), (_END, now_s + 1))
    fields = [_varint(key) + _varint(number) for key, number in numbers]
    return b"".join([*fields, _varint(_QUERY), _varint(len(text)), text])


def _found(stack: Stack, query: str) -> bytes:
    with grpc.insecure_channel(f"{HOST}:{stack.ports.tempo_http}") as channel:
        search = channel.unary_stream(METHOD)
        return b"".join(search(_request(query), timeout=ANSWERED_WITHIN_S))


def test_a_search_streams_over_tempos_http_port(stack: Stack) -> None:
    trace = secrets.token_hex(16)
    workload.write(stack, SERVICE, [workload.ended(semconv.STATE_QUERY, 0.01, trace=trace)])
    query = f'{{ resource.service.name = "{SERVICE}" }} with (most_recent=true)'
    # Tempo writes an id without the zeros that it begins with.
    wanted = trace.lstrip("0").encode()
    assert eventually(lambda: wanted in _found(stack, query))
    assert wanted not in _found(stack, '{ resource.service.name = "nobody" }')
