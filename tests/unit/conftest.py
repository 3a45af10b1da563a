"""Operations of known durations, written by the real spool."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
from tests.conventions import Checked

from orchwatch.diagnosis import extras
from orchwatch.recording import in_flight, otlp_json, spool

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW_NS = time.time_ns()


class Record(Protocol):
    def __call__(
        self,
        operation: str | None = ...,
        *,
        duration_ns: int = ...,
        end_ns: int = ...,
        failed: bool = ...,
        family: str = ...,
        trace_id: str | None = ...,
        span_id: str | None = ...,
        parent_span_id: str = ...,
        attributes: dict[str, otlp_json.AttributeValue] | None = ...,
        more: str = ...,
        name: str | None = ...,
    ) -> bytes: ...


@pytest.fixture(autouse=True)
def _as_in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which operations are short is known of none: the first of each name is noted."""
    monkeypatch.setattr(in_flight, "_short", set())


@pytest.fixture(scope="session", autouse=True)
def _libraries_are_imported_once() -> Iterator[None]:
    """`doctor` imports what each extra brings in a process of its own, which takes two seconds.

    Once a worker is enough: what is installed stays the same but where `PYTHONPATH` changes.
    """
    look = extras._import_error
    known: dict[tuple[str, ...], str] = {}

    def once(modules: list[str]) -> str:
        key = (os.environ.get("PYTHONPATH", ""), *modules)
        if key not in known:
            known[key] = look(modules)
        return known[key]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(extras, "_import_error", once)
        yield


@pytest.fixture
def record(home: Path) -> Record:
    assert home

    def write(
        operation: str | None = "state.query",
        *,
        duration_ns: int = 1_000_000,
        end_ns: int = NOW_NS,
        failed: bool = False,
        family: str = spool.OPERATIONS,
        trace_id: str | None = None,
        span_id: str | None = None,
        parent_span_id: str = "",
        attributes: dict[str, otlp_json.AttributeValue] | None = None,
        more: str = "",
        name: str | None = None,
    ) -> bytes:
        own: dict[str, otlp_json.AttributeValue] = {**(attributes or {})}
        if operation is not None:
            own["orchestration.operation.name"] = operation
        if failed:
            own["error.type"] = "TimeoutError"
        span = otlp_json.encode_span(
            trace_id=trace_id or os.urandom(16).hex(),
            span_id=span_id or os.urandom(8).hex(),
            parent_span_id=parent_span_id,
            name=otlp_json.quote(name or operation or "other"),
            start_ns=end_ns - duration_ns,
            end_ns=end_ns,
            attributes=otlp_json.encode_attributes(own),
            status=otlp_json.STATUS_ERROR if failed else otlp_json.STATUS_OK,
            more=more,
        )
        resource = otlp_json.encode_attributes({"service.name": "orchestration", "process.pid": 42})
        line = otlp_json.to_bytes(otlp_json.spans_prefix(resource) + span + otlp_json.LINE_SUFFIX)
        assert spool.append(family, line)
        return line

    return write


# Whose spools hold nothing but what Orchwatch itself writes.
_BY_THE_REGISTRY = ("agents", "demo", "monitor", "runtime")


@pytest.fixture(autouse=True)
def _as_the_registry_has_it(request: pytest.FixtureRequest) -> Iterator[None]:
    """All that a test of these rooms has written is in the registry."""
    room = request.path.relative_to(Path(__file__).parent).parts[0]
    of_its_own = request.node.get_closest_marker("own_names")
    if room not in _BY_THE_REGISTRY or of_its_own or "home" not in request.fixturenames:
        yield
        return
    home: Path = request.getfixturevalue("home")
    yield
    checked = Checked().add_spool(home)
    assert list(checked.problems) == []
