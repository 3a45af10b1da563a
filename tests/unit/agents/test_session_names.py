"""What a person knows a session by stays what it is, however it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.agents.claude_code.conftest import Recording, ns

from orchwatch import semconv
from orchwatch.agents.claude_code.sessions.transcript import Transcript
from orchwatch.agents.sessions.assembler import Assembler
from orchwatch.agents.sessions.claims import Claims
from orchwatch.agents.sessions.facts import Activity, ProjectSeen, PromptSubmitted, TurnEnded
from orchwatch.monitor.tail import Tail
from orchwatch.monitor.transcripts import Transcripts

if TYPE_CHECKING:
    from pathlib import Path

    from orchwatch.agents.sessions.facts import Fact

BEGAN_NS = 1_796_068_327_250_000_000
DAY_S = 86_400
NAME = "shop · 2026-11-30 19:52:07Z"


def turn(number: int, began_s: float) -> list[Fact]:
    """A turn of a session, which takes a second."""
    start_ns = BEGAN_NS + round(began_s * 1e9)
    common: dict[str, Any] = {"session_id": "s-1", "prompt_id": f"p-{number}"}
    return [
        PromptSubmitted(**common, time_ns=start_ns, record_id=f"r-{number}"),
        Activity(**common, time_ns=start_ns + 10**9, last=2),
        TurnEnded(**common, time_ns=start_ns + 10**9),
    ]


def names(assembler: Assembler) -> set[object]:
    """What the finished spans call their session."""
    found = assembler.finished(BEGAN_NS + 30 * DAY_S * 10**9)
    assert found
    return {span.attributes.get(semconv.SESSION_NAME) for span in found}


def begun(project: str) -> Assembler:
    """A session in which a turn has ended."""
    assembler = Assembler()
    seen = ProjectSeen(session_id="s-1", time_ns=BEGAN_NS, passive=True, project=project)
    for fact in (seen, *turn(1, 1)):
        assembler.add(fact)
    return assembler


@pytest.mark.parametrize(
    ("project", "name"),
    [
        ("shop", NAME),
        ("", NAME.removeprefix("shop · ")),
        ("a  shop\nof\tmine", NAME.replace("shop", "a shop of mine")),
        ("n" * 200, NAME.replace("shop", "n" * 64)),
        ("店", NAME.replace("shop", "店")),
    ],
)
def test_it_is_the_project_and_the_start(project: str, name: str) -> None:
    assert names(begun(project)) == {name}


def test_a_session_whose_beginning_is_not_known_has_none() -> None:
    assembler = Assembler()
    for fact in turn(1, 1):
        assembler.add(fact)
    assert names(assembler) == {None}


def test_a_session_that_goes_on_days_later_is_still_called_so() -> None:
    assembler = begun("shop")
    assert names(assembler) == {NAME}
    assembler.forget("s-1")
    for fact in turn(2, 2 * DAY_S):
        assembler.add(fact)
    assert names(assembler) == {NAME}


def test_so_is_one_that_goes_on_in_another_process() -> None:
    before = begun("shop")
    before.forget("s-1")
    after = Assembler()
    after.restore(before.save())
    for fact in turn(2, 2 * DAY_S):
        after.add(fact)
    assert names(after) == {NAME}


def test_one_whose_past_was_left_to_the_importer_is_called_as_there(tmp_path: Path) -> None:
    session = "258c7280-ae70-4798-800f-63464d01a85d"
    file = Recording(tmp_path / f"{session}.jsonl", session, common={"cwd": "/work/shop"})
    file.prompt(0)
    file.say(1)
    tail = Tail(path=str(file.path))
    tail.skip_to_end()
    file.prompt(10)
    file.say(11)
    claims = Claims()
    whole = Transcript(session, None, None, claims)
    read = [fact for line in file.path.read_bytes().splitlines() for fact in whole.read(line)]
    rest = list(Transcripts({}, Claims()).read(tail))
    seen, seen_later = (
        [fact for fact in facts if type(fact) is ProjectSeen] for facts in (read, rest)
    )
    assert seen == seen_later
    assert [(fact.project, fact.time_ns) for fact in seen] == [("shop", ns(0))]
    assert [fact.time_ns for fact in rest if type(fact) is PromptSubmitted] == [ns(10)]
