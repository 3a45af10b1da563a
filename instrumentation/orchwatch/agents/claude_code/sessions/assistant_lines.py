"""Lines of the kind `assistant`, which are the model's messages, and the requests before them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchwatch.agents.claude_code.sessions import api_errors, blocks
from orchwatch.agents.claude_code.sessions.file_state import answered, limit
from orchwatch.agents.claude_code.sessions.turns import agent_owner
from orchwatch.agents.sessions.claims import Ownership
from orchwatch.agents.sessions.facts import Activity, ApiFailed, Fact, TurnEnded
from orchwatch.agents.sessions.fields import mapping, text, time_ns

if TYPE_CHECKING:
    from orchwatch.agents.claude_code.sessions.file_state import FileState

_FINISHED = ("end_turn", "stop_sequence", "refusal")


def read(file: FileState, line: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
    """The facts of an `assistant` line; the arguments are those of `user_lines.read`."""
    message = mapping(line.get("message"))
    if line.get("isApiErrorMessage"):
        return _failure(file, line, common)
    message_id = text(message.get("id")) or text(line.get("requestId")) or text(line["uuid"])
    foreign = text(line.get("requestSessionId"))
    if foreign and foreign != common["session_id"]:
        ownership = Ownership.SESSION
        file.state["previous"] = foreign
    else:
        ownership = _ownership(file, message_id, line, common)
    agent_id = common.get("agent_id")
    facts: list[Fact] = []
    fresh = ownership is Ownership.FRESH
    again = file.state["again"] and not fresh and not agent_id
    if ownership in (Ownership.TURN, Ownership.SESSION) or again:
        return [] if agent_id else file.turns.repeat(common["session_id"], message_id)
    if not agent_id:
        last_id, last_turn = file.state["message"]
        if message_id != last_id:
            facts = file.turns.answer(common, message_id, text(line.get("uuid")))
            file.own_prompt(common["session_id"])
            _, last_turn = file.state["message"]
        if last_turn is None:  # another line of a copied message
            return []
        common["passive"] = last_turn != file.turns.prompt or file.state["over"]
        common["prompt_id"] = last_turn
    if agent_id:
        facts += file.worked(agent_id, common)
    facts += _said(file, message, common)
    usage = mapping(message.get("usage"))
    if usage and message.get("model") != "<synthetic>":
        known = {"message_id": message_id, "fresh": fresh}
        facts.append(blocks.usage(message, usage, {**common, **known}))
        facts += _model_answered(file, line, message, common)
    return facts


def request_sent(file: FileState, record: dict[str, Any]) -> list[Fact]:
    """A request is sent; the lines of its answer name it."""
    at, request = time_ns(record.get("timestamp")), text(record.get("id"))
    if at is None or not request:
        return []
    file.model_requests.ask(record, request, at)
    agent_id = file.agent_id
    if not agent_id or file.state["copies"].get(agent_id, True):
        return []
    session_id = file.session_id or text(record.get("sessionId"))
    return file.worked(agent_id, {"session_id": session_id, "time_ns": at})


def _model_answered(
    file: FileState, line: dict[str, Any], message: dict[str, Any], common: dict[str, Any]
) -> list[Fact]:
    request, request_id = text(line.get("requestRef")), text(line.get("requestId"))
    if not message.get("stop_reason"):
        file.model_requests.begin(request, request_id)
        return []
    sent = file.model_requests.answer(request)
    if sent is None:
        return []
    model = text(message.get("model"))
    return [answered(common, sent._replace(model=model, request_id=request_id))]


def _ownership(
    file: FileState, message_id: str, line: dict[str, Any], common: dict[str, Any]
) -> Ownership:
    """Which session and turn own a message."""
    agent_id = common.get("agent_id")
    if agent_id:
        owner = agent_owner(agent_id)
        return file.claims.ownership(f"message:{message_id}", common["session_id"], owner)
    if message_id == file.state["message"][0]:
        # Another line of it; behind another prompt all of it again, unless a call is new.
        again = file.state["unanswered"] or file.state["pending"]
        return Ownership.TURN if again and not _calls_anew(file, line) else Ownership.SAME
    turn = file.turns.next_turn(text(line.get("uuid")))
    return file.claims.ownership(f"message:{message_id}", common["session_id"], turn)


def _calls_anew(file: FileState, line: dict[str, Any]) -> bool:
    """Whether a message asks for a tool that was not asked for before."""
    content = mapping(line.get("message")).get("content")
    asked = {
        text(mapping(block).get("id"))
        for block in (content if isinstance(content, list) else [])
        if mapping(block).get("type") == "tool_use"
    }
    return not asked <= file.state["calls"].keys()


def _said(file: FileState, message: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
    """What the model's message says: which tools, and whether it is the last one."""
    facts: list[Fact] = []
    content = message.get("content")
    given = content if isinstance(content, list) else []
    agent_id, at = common.get("agent_id"), common["time_ns"]
    kinds = set()
    for block in map(mapping, given):
        kinds.add(block.get("type"))
        tool_use_id = text(block.get("id"))
        if block.get("type") == "tool_use" and tool_use_id:
            file.turns.call(
                tool_use_id, at, agent_owner(agent_id) if agent_id else common["prompt_id"]
            )
            file.state["calls"][tool_use_id] = True
            limit(file.state["calls"])
            facts.append(blocks.call(block, common))
    done = message.get("stop_reason") in _FINISHED
    last = 0 if "tool_use" in kinds or (not done and kinds != {"text"}) else 1 + done
    if not agent_id and not common.get("passive"):
        file.turns.live(at, last)
    facts.append(Activity(**common, last=last))
    return facts


def _failure(file: FileState, line: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
    """The model could not be asked, for good."""
    error, status = api_errors.of_final(line)
    details: dict[str, Any] = {
        "record_id": text(line.get("uuid")),
        "error_type": error,
        "status": status,
        "attempts": file.model_requests.given_up(),
    }
    if common.get("agent_id"):
        return [ApiFailed(**common, **details), TurnEnded(**common, error_type=error)]
    if file.turns.copying:
        return []
    facts: list[Fact] = []
    if file.state["pending"]:
        record = text(line.get("uuid"))
        facts = file.turns.answer(common, record, record)
        common["prompt_id"] = file.turns.prompt
    alive = file.turns.live(common["time_ns"], 2)
    file.outside(common, alive=alive)
    failed = ApiFailed(**common, **details)
    return [*facts, failed, *([TurnEnded(**common, error_type=error)] if alive else [])]
