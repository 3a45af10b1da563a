"""What a turn, or a sub-agent, used after its span is out: once, however it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.agents.sessions import finalizer
from orchwatch.agents.sessions.assembler import Assembler
from orchwatch.agents.sessions.claims import Claims, Ownership
from orchwatch.agents.sessions.facts import Activity, AgentStarted, ApiUsage, TurnOver

if TYPE_CHECKING:
    from orchwatch.agents.sessions.spans import Span

_HOUR_NS = 3600 * 1_000_000_000
_START_NS = 1_780_000_000 * 1_000_000_000
_TOKENS = "gen_ai.usage.input_tokens"


class Session:
    """A turn, or the work of a sub-agent, with an answer an hour; read as often as wanted."""

    def __init__(self, agent_id: str | None) -> None:
        self.claims = Claims()
        self.spans: dict[str, Span] = {}
        self._agent_id = agent_id
        self._assembler = Assembler()

    def open(self) -> None:
        """Is about to be read from its start."""
        self._assembler = Assembler(claims=self.claims)

    def read(self, *answers: int) -> None:
        for number in answers:
            whose = self.claims.ownership(f"message:{number}", "s", "")
            assert whose in (Ownership.FRESH, Ownership.SAME)
            common: dict[str, Any] = {
                "session_id": "s",
                "time_ns": _START_NS + number * _HOUR_NS,
                "prompt_id": "p",
                "agent_id": self._agent_id,
            }
            if self._agent_id and number == 0:
                self._assembler.add(AgentStarted(**common))
            self._assembler.add(Activity(**common))
            self._assembler.add(
                ApiUsage(
                    **common,
                    message_id=str(number),
                    model="",
                    input_tokens=10**number,
                    output_tokens=0,
                    cache_read_tokens=0,
                    cache_creation_tokens=0,
                    fresh=whose is Ownership.FRESH,
                )
            )

    def finish(self, answer: int) -> None:
        """Time goes on, so that whatever is of that answer, or of one before, is out."""
        found = self._assembler.finished(_START_NS + answer * _HOUR_NS + 2 * _HOUR_NS)
        self.claims.mark(found)
        for span in found:
            self.spans.setdefault(span.span_id, span)

    @property
    def used(self) -> int:
        """A decimal digit an answer: how often it was counted."""
        counts = [span.attributes.get(_TOKENS, 0) for span in self.spans.values()]
        return sum(count for count in counts if isinstance(count, int))


@pytest.fixture(params=[None, "a"], ids=["turn", "sub-agent"])
def session(request: pytest.FixtureRequest) -> Session:
    made = Session(request.param)
    made.open()
    made.read(0)
    made.finish(0)
    assert made.used == 1
    return made


def test_what_was_read_before_it_could_be_written_counts_when_it_is_read_again(
    session: Session,
) -> None:
    for _ in range(3):
        session.open()
        session.read(0, 1)
    session.finish(1)
    assert session.used == 11


def test_all_answers_of_what_is_read_again_with_each_of_them_count(session: Session) -> None:
    for last in (1, 2, 3):
        session.open()
        session.read(*range(last + 1))
    session.finish(3)
    assert session.used == 1111


@pytest.mark.parametrize("again", [False, True])
def test_what_comes_after_a_part_is_out_counts_too(session: Session, *, again: bool) -> None:
    for last in (1, 2, 3):
        if again:
            session.open()
            session.read(*range(last))
        session.read(last, last)
        session.finish(last)
    assert session.used == 1111
    session.open()
    session.read(0, 1, 2, 3)
    session.finish(3)
    assert session.used == 1111


def test_what_is_open_survives_the_process(session: Session) -> None:
    session.open()
    session.read(0, 1)
    saved = session._assembler.save()
    session.open()
    session._assembler.restore(saved)
    session.read(1, 2)
    session.finish(2)
    assert session.used == 111


def test_the_oldest_parts_are_forgotten(monkeypatch: pytest.MonkeyPatch, session: Session) -> None:
    monkeypatch.setattr(finalizer, "_MAX_REMEMBERED", 1)
    for last in (1, 2, 3):
        session.read(last)
        session.finish(last)
    assert session.used == 1111


def test_of_a_sub_agents_turn_that_only_ended_there_is_no_span() -> None:
    assembler = Assembler()
    common: dict[str, Any] = {"session_id": "s", "time_ns": _START_NS, "agent_id": "a"}
    assembler.add(AgentStarted(**common, prompt_id="p"))
    assembler.add(Activity(**common, prompt_id="p"))
    assembler.add(TurnOver(**common, prompt_id="p", agent_turn="t", passive=True))
    spans = assembler.finished(_START_NS + 2 * _HOUR_NS)
    assert spans
    assert all(span.start_ns == _START_NS for span in spans)


def answered(assembler: Assembler, number: int, model: str, output: int) -> None:
    assembler.add(
        ApiUsage(
            session_id="s",
            time_ns=_START_NS + number,
            prompt_id="p",
            message_id=str(number),
            model=model,
            input_tokens=10,
            output_tokens=output,
            cache_read_tokens=1,
            cache_creation_tokens=2,
            reasoning_tokens=3,
            fresh=True,
        )
    )


def turn(assembler: Assembler) -> Span:
    assembler.add(TurnOver(session_id="s", time_ns=_START_NS + 200, prompt_id="p"))
    found = [
        span
        for span in assembler.finished(_START_NS + 2 * _HOUR_NS)
        if span.operation == "agent.turn"
    ]
    assert len(found) == 1
    return found[0]


def test_a_turn_that_asked_several_models_says_what_each_of_them_used() -> None:
    assembler = Assembler()
    for number, (model, output) in enumerate([("a", 5), ("b", 7), ("", 11), ("b", 13)]):
        answered(assembler, number, model, output)
    answered(assembler, 1, "b", 17)  # the same answer, by now longer
    used = turn(assembler).attributes
    assert used["gen_ai.response.model"] == "b"
    assert used["gen_ai.usage.output_tokens"] == 5 + 17 + 11 + 13
    assert {
        key: value for key, value in used.items() if ".usage." in key and "gen_ai" not in key
    } == {
        "orchestration.usage.models": ["a", "b"],
        "orchestration.usage.requests": [1, 3],
        "orchestration.usage.input_tokens": [13, 39],
        "orchestration.usage.cache_read.input_tokens": [1, 3],
        "orchestration.usage.cache_write.input_tokens": [2, 6],
        "orchestration.usage.output_tokens": [5, 41],
        "orchestration.usage.reasoning.output_tokens": [3, 9],
    }


def test_a_turn_that_asked_one_model_says_so_once() -> None:
    assembler = Assembler()
    answered(assembler, 0, "", 5)
    answered(assembler, 1, "a", 5)
    used = turn(assembler).attributes
    assert used["gen_ai.response.model"] == "a"
    assert not any(key.startswith("orchestration.usage.") for key in used)


def test_the_sum_over_models_is_the_turns_however_many_there_are() -> None:
    """Beyond some the rest is the last one's; saved in between, nothing is lost."""
    assembler = Assembler()
    for number in range(100):
        answered(assembler, number, f"m{number}", number)
        if number == 50:
            saved, assembler = assembler.save(), Assembler()
            assembler.restore(saved)
    used = turn(assembler).attributes
    outputs = used["orchestration.usage.output_tokens"]
    assert isinstance(outputs, list)
    assert sum(outputs) == used["gen_ai.usage.output_tokens"] == sum(range(100))
    assert len(outputs) <= 33
