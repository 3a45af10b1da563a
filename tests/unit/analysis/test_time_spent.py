"""The phases of real sessions, and the same from both stores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.conftest import NOW_NS

from orchwatch.analysis import time_spent
from orchwatch.analysis.listing import ENDLESS
from orchwatch.analysis.phases import PHASES
from orchwatch.cli.main import main
from orchwatch.store import small
from orchwatch.store.database import Store
from orchwatch.store.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.conftest import Record

    from orchwatch.recording.otlp_json import AttributeValue

    Told = dict[str, AttributeValue]

pytestmark = pytest.mark.usefixtures("home")
ALL = Selection(history=True)
MS = 1_000_000
S = 1000 * MS
HERE = Path(__file__).parents[2] / "data"
SHARED = Path(__file__).parents[5] / "shared" / "data"
SOURCES = [
    HERE / "claude",
    HERE / "claude-cases",
    *(SHARED / name for name in ("transcripts", "claude-2.1.328")),
    *sorted((SHARED / "agents").glob("*-*")),
]


def recorded(home: Path) -> Iterator[tuple[str, int, int, dict[str, Any]]]:
    """Trace, start, end and attributes of the spans in the history."""
    for path in (home / "spool").glob("history-*"):
        for line in path.read_text().splitlines():
            for resource in json.loads(line).get("resourceSpans", ()):
                for span in resource["scopeSpans"][0]["spans"]:
                    told = {pair["key"]: pair["value"] for pair in span["attributes"]}
                    times = (int(span[f"{edge}TimeUnixNano"]) for edge in ("start", "end"))
                    yield span["traceId"], *times, told


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_the_phases_of_real_sessions_add_up_within_a_millisecond(
    source: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not source.is_dir():
        pytest.skip("the whole homes are not here")
    assert main(["import", str(source)]) == 0
    capsys.readouterr()
    turns = {
        (trace_id, start_ns): end_ns - start_ns
        for trace_id, start_ns, end_ns, told in recorded(home)
        if told.get("orchestration.operation.name") == {"stringValue": "agent.turn"}
        and "gen_ai.agent.id" not in told
    }
    with Store(home) as store:
        found = time_spent.measure(store, ALL, "turn", ENDLESS)
        of_sessions = time_spent.measure(store, ALL, "session", ENDLESS)
        of_agents = time_spent.measure(store, ALL, "agent", ENDLESS)
    assert found.spent
    for one in found.spent:
        if one.agent != "main":
            continue  # of a turn that is not there
        took_ns = turns.pop((one.trace_id, one.start_ns))
        assert abs(sum(one.lengths[phase] for phase in PHASES) - took_ns) <= MS
        assert all(length >= 0 for length in one.lengths.values())
    for one in of_sessions.spent:
        assert abs(one.time_ns - (one.end_ns - one.start_ns)) <= MS
    # What counts later in a part of its own is within its turn, or was not seen to take any time.
    assert not [took_ns for took_ns in turns.values() if took_ns]
    own = next(one for one in of_agents.spent if one.agent == "main")
    whole = sum(one.time_ns for one in found.spent if one.agent == "main")
    assert abs(own.time_ns - whole) <= MS


@pytest.mark.parametrize("by", ["turn", "session", "agent"])
def test_both_stores_give_the_same(
    by: time_spent.By, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(HERE / "claude"), str(HERE / "claude-cases")]) == 0
    capsys.readouterr()
    in_python = small.read(home)
    assert in_python is not None
    with Store(home) as store:
        for selection in (ALL, Selection(history=True, agent="Explore")):
            expected = time_spent.measure(store, selection, by, 5)
            assert time_spent.measure(in_python, selection, by, 5) == expected
        assert time_spent.latest(in_python, ALL) == time_spent.latest(store, ALL)


def test_what_requests_tell_is_read_from_both_stores(home: Path, record: Record) -> None:
    """Retries, and when the first part of an answer came; whatever else stands there is no time."""
    turn: dict[str, Any] = {"trace_id": "a" * 32, "parent_span_id": "b" * 16}
    record("agent.turn", duration_ns=30 * S, trace_id="a" * 32, span_id="b" * 16)
    first: Told = {"gen_ai.response.time_to_first_chunk": 1.5}
    at_ns = NOW_NS - 20 * S
    record(None, name="chat m", duration_ns=5 * S, end_ns=at_ns, attributes=first, **turn)
    odd: Told = {"gen_ai.response.time_to_first_chunk": "soon"}
    record(None, name="chat m", duration_ns=5 * S, end_ns=NOW_NS, attributes=odd, **turn)
    for number, delay_s in ((1, 2.0), (2, 1.0)):
        told: Told = {"orchestration.retry.attempt": number, "orchestration.retry.delay": delay_s}
        end_ns = NOW_NS - 18 * S + number * 4 * S
        record("api.error", duration_ns=0, end_ns=end_ns, attributes=told, failed=True, **turn)
    in_python = small.read(home)
    assert in_python is not None
    with Store(home) as store:
        for one in (store, in_python):
            (spent,) = time_spent.measure(one, ALL, "turn", 5).spent
            assert spent.lengths["model"] == 10 * S
            assert spent.lengths["retries"] == (4 + 1) * S
            assert spent.first_ns == 1.5 * S
            assert spent.lengths["idle"] == 15 * S


def test_a_look_at_everything_takes_the_latest_turns(home: Path, record: Record) -> None:
    for number in range(time_spent.LATEST + 3):
        record("agent.turn", duration_ns=S, end_ns=NOW_NS - number * S)
    with Store(home) as store:
        found = time_spent.latest(store, ALL)
        assert time_spent.latest(store, Selection(session_id="none")) is None
    assert found is not None
    assert (found.turns, found.end_ns) == (time_spent.LATEST, NOW_NS)


def test_such_a_look_takes_fewer_turns_of_many_spans(
    home: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_spent, "MOST_SPANS", 20)
    monkeypatch.setattr(time_spent, "_FEW", 2)
    for number in range(10):
        own: dict[str, Any] = {"trace_id": f"{number:032x}", "end_ns": NOW_NS - number * S}
        record("agent.turn", duration_ns=S, span_id="b" * 16, **own)
        for _ in range(5):
            record("tool.execute", duration_ns=S // 10, parent_span_id="b" * 16, **own)
    in_python = small.read(home)
    assert in_python is not None
    with Store(home) as store:
        found = time_spent.latest(store, ALL)
        assert time_spent.latest(in_python, ALL) == found
    assert found is not None
    assert found.turns == 4
