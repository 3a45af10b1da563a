"""Lines of the kind `user`: prompts, interruptions, and the results of tool calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchwatch.agents.claude_code.sessions import blocks, notices
from orchwatch.agents.claude_code.sessions.prompts import (
    INTERRUPTION,
    PROMPT,
    REQUEST,
    UNKNOWN,
    classify,
)
from orchwatch.agents.sessions.claims import Ownership
from orchwatch.agents.sessions.facts import (
    INTERRUPTED,
    Activity,
    AgentStarted,
    CompactStarted,
    Fact,
    PromptSubmitted,
    TurnEnded,
)
from orchwatch.agents.sessions.fields import digest, mapping, text

if TYPE_CHECKING:
    from orchwatch.agents.claude_code.sessions.file_state import FileState

_COMPACT_AGENT = "acompact-"


def read(file: FileState, line: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
    """The facts of a `user` line.

    Args:
        file: The file that it is a line of.
        line: The record.
        common: The members that its facts share.
    """
    content = mapping(line.get("message")).get("content")
    given = content if isinstance(content, list) else []
    results = [block for block in given if mapping(block).get("type") == "tool_result"]
    if results:
        return _results(file, line, results, common)
    if common.get("agent_id"):
        return _agent_prompt(file, line, content, common)
    return _prompt(file, line, content, common)


def _results(
    file: FileState, line: dict[str, Any], results: list[dict[str, Any]], common: dict[str, Any]
) -> list[Fact]:
    single = line if len(results) == 1 else {}
    if not common.get("agent_id"):
        if file.turns.copying:
            return []
        named = text(line.get("promptId"))
        at, record = common["time_ns"], text(line.get("uuid"))
        if common["prompt_id"] is None:  # the file begins in the middle of a turn
            file.turns.ask(named or record, at, record, derived=not named, meta=False)
        others = bool(named) and named != common["prompt_id"]
        common["passive"] = others or not file.turns.live(at)
    return [
        blocks.answer(block, single, common)
        for block in results
        if file.turns.returned(text(block.get("tool_use_id")))
    ]


def _agent_prompt(
    file: FileState, line: dict[str, Any], content: object, common: dict[str, Any]
) -> list[Fact]:
    if line.get("isMeta"):  # context that was copied into the sub-agent, with its old times
        return []
    agent_id = common["agent_id"]
    task = ""
    first = agent_id not in file.state["turns"]
    if first:
        task = digest(content)
    kind, _ = classify(line, content)
    facts: list[Fact] = [AgentStarted(**common, task_digest=task, **file.origin)]
    if kind == INTERRUPTION and not first:
        facts.append(TurnEnded(**common, reason=INTERRUPTED))
        return [*facts, *file.cut_off(common), *file.turns.cut_agent(common, INTERRUPTED)]
    if kind in (PROMPT, REQUEST) or first:
        record = text(line.get("uuid"))
        file.state["turns"][agent_id] = common["agent_turn"] = record
        facts.append(PromptSubmitted(**common, derived=True, record_id=record))
    if agent_id.startswith(_COMPACT_AGENT):
        started = {"session_id": common["session_id"], "time_ns": common["time_ns"]}
        facts.append(CompactStarted(**started, prompt_id=common["prompt_id"]))
    return facts


def _prompt(
    file: FileState, line: dict[str, Any], content: object, common: dict[str, Any]
) -> list[Fact]:
    kind, prompt_id = classify(line, content)
    turns, at, record = file.turns, common["time_ns"], text(line.get("uuid"))
    named = bool(line.get("promptId"))
    facts: list[Fact] = notices.read(content, common)
    if kind == UNKNOWN:
        file.skipped["user line of unknown shape"] += 1
    if kind == PROMPT:
        return facts + _ask(file, line, prompt_id, common)
    if kind == INTERRUPTION:
        others = named and prompt_id != common["prompt_id"]
        file.own_prompt(common["session_id"])
        if others:
            return facts
        return [*facts, *file.cut_off(common), *turns.end(common, INTERRUPTED)]
    new = prompt_id != common["prompt_id"]
    if kind == REQUEST and new:
        turns.ask(prompt_id, at, record, derived=not named, meta=False)
        return facts
    meta = bool(line.get("isMeta") or line.get("isCompactSummary"))
    if new and (turns.ended or common["prompt_id"] is None) and (named or not meta):
        turns.ask(prompt_id, at, record, derived=not named, meta=meta)
    elif not turns.ended and not turns.copying and not (named and new) and turns.live(at):
        facts.append(Activity(**common))
    return facts


def _ask(
    file: FileState, line: dict[str, Any], prompt_id: str, common: dict[str, Any]
) -> list[Fact]:
    """A prompt of the user."""
    turns, session_id = file.turns, common["session_id"]
    at, record = common["time_ns"], text(line.get("uuid"))
    ownership = file.claims.ownership(f"prompt:{record}", session_id, "", claim=False)
    if ownership is Ownership.SESSION:
        return turns.begin_copy(session_id)
    if turns.is_again(record):
        return []
    derived = not line.get("promptId")
    if prompt_id == common["prompt_id"] and not turns.copying:
        if record == file.state["record"]:
            return []
        if not turns.ended:
            return [Activity(**common)] if turns.live(at) else []
        prompt_id, derived = record, True  # as a fork gives all its prompts one id
    return turns.begin(session_id, prompt_id, at, record, derived=derived)
