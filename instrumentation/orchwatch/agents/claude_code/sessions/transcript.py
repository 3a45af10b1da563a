"""Session files, one JSON line at a time, to facts.

The format is nobody's promise: every member may be missing or of another type, and kinds come and
go with versions. What is not known is counted with a reason and passed over. Nothing but ids,
names, times, counts and outcomes is taken from a line.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from orchwatch.agents.claude_code.sessions import api_errors, blocks, notices, records, system_lines
from orchwatch.agents.claude_code.sessions.claims import Claims, Standing
from orchwatch.agents.claude_code.sessions.costs import Costs
from orchwatch.agents.claude_code.sessions.facts import (
    INTERRUPTED,
    Activity,
    AgentStarted,
    AgentWorked,
    ApiFailed,
    CompactStarted,
    Fact,
    ModelAnswered,
    PromptSubmitted,
    SessionReady,
    SessionStarted,
    TurnEnded,
)
from orchwatch.agents.claude_code.sessions.fields import (
    digest,
    mapping,
    milliseconds,
    moment_ns,
    text,
    time_ns,
    word,
)
from orchwatch.agents.claude_code.sessions.prompts import (
    INTERRUPTION,
    PROMPT,
    REQUEST,
    UNKNOWN,
    classify,
)
from orchwatch.agents.claude_code.sessions.queries import Queries, Query
from orchwatch.agents.claude_code.sessions.turns import Turns, agent_owner, new_state

if TYPE_CHECKING:
    from collections.abc import Callable

COMPACT_AGENT = "acompact-"

# Kinds that tell nothing about operations.
_SILENT = frozenset(
    {
        "agent-color",
        "agent-name",
        "agent-setting",
        "ai-title",
        "api-request-blob",
        "api-request-shape",
        "atis-latch",
        "attribution-snapshot",
        "bridge-session",
        "content-replacement",
        "custom-title",
        "file-history-delta",
        "file-history-snapshot",
        "last-prompt",
        "mode",
        "permission-mode",
        "pr-link",
        "result",
        "started",
        "summary",
        "tag",
        "task-summary",
        "tools-used",
        "worktree-state",
    }
)
_FINISHED = ("end_turn", "stop_sequence", "refusal")

_HARMLESS = ("blank", "unknown kind", "half-written")  # reasons that mean no loss
_MAX_LINKS = 1000


class Transcript:
    """Reads the lines of one file in order.

    Args:
        session_id: The session that the file belongs to; by default what each line says.
        agent_id: The sub-agent whose file it is, None for a session's own file.
        state: What `state` returned when reading stopped before.
        claims: Whose the messages are; by default this file's own.
        agent_type: That sub-agent's type, where something besides the file tells it.
        tool_use_id: Likewise the call that started it.
        run: Likewise the run of several sub-agents that it is one of.
    """

    def __init__(
        self,
        session_id: str = "",
        agent_id: str | None = None,
        state: dict[str, Any] | None = None,
        claims: Claims | None = None,
        *,
        agent_type: str = "",
        tool_use_id: str = "",
        run: str = "",
    ) -> None:
        self._origin: dict[str, Any] = {
            "agent_type": agent_type,
            "tool_use_id": tool_use_id,
            "run": run,
        }
        self._session_id = session_id
        self._agent_id = agent_id
        self._claims = claims or Claims()
        self._state: dict[str, Any] = state or {
            **new_state(),
            "session": session_id,
            "unnamed": bool(agent_id) and not (agent_type or tool_use_id) and agent_id,
            "turns": {},  # by sub-agent: its current prompt
            "copies": {},  # sub-agents that are copies of another session's
            "sides": {},  # record id to the sub-agent inside this very file (older versions)
            "calls": {},  # tool calls that the file holds, the last ones
            "stops": [],  # Stop hooks that wait for their summary
            "stopped": [],  # durations of those that were told before their summary
            "worked": {},  # sub-agents that have asked their model, or were answered
            "begun": False,  # a line with a time was read
        }
        self._turns = Turns(self._state)
        self._queries = Queries(self._state)
        self._costs = Costs(self._state)
        self.skipped: Counter[str] = Counter()
        self._readers: dict[str, Callable[[dict[str, Any], dict[str, Any]], list[Fact]]] = {
            "user": self._user,
            "assistant": self._assistant,
            "system": self._system,
            "progress": self._progress,
            "attachment": self._attachment,
            "queue-operation": self._queued,
        }

    def state(self) -> dict[str, Any]:
        """What has to be kept to go on reading later; JSON."""
        return self._state

    def unreadable(self) -> int:
        """How many of the lines that were passed over may have held something."""
        return sum(
            number for reason, number in self.skipped.items() if not reason.startswith(_HARMLESS)
        )

    def read(self, line: bytes) -> list[Fact]:
        """The facts of one line; never raises."""
        return [
            fact
            for record in records.parse(line, self.skipped)
            for fact in self.read_record(record)
        ]

    def read_record(self, record: dict[str, Any]) -> list[Fact]:
        """The facts of one record; never raises."""
        kind = text(record.get("type"))
        try:
            if kind == "cost-state":
                return self._cost(record)
            if kind == "api-request":
                return self._asked(record)
            reader = self._readers.get(kind)
            if reader is None:
                if kind not in _SILENT:
                    self.skipped[f"unknown kind {word(kind) or '?'}"] += 1
                return []
            return self._facts(record, reader)
        except (TypeError, ValueError, AttributeError, KeyError, IndexError, OverflowError):
            self.skipped[f"unreadable {kind}"] += 1
            return []

    def _facts(
        self,
        line: dict[str, Any],
        reader: Callable[[dict[str, Any], dict[str, Any]], list[Fact]],
    ) -> list[Fact]:
        at = time_ns(line.get("timestamp"))
        if at is None:
            self.skipped["no time"] += 1
            return []
        session_id = self._session_id or text(line.get("sessionId"))
        if not session_id:
            self.skipped["no session"] += 1
            return []
        if not line.get("uuid"):
            line["uuid"] = f"{session_id}/{at}"  # some id that reading again gives again
        agent_id = self._agent_id or self._side_agent(line)
        common: dict[str, Any] = {"session_id": session_id, "time_ns": at}
        if agent_id:
            common["agent_id"] = agent_id
            common["agent_turn"] = self._state["turns"].get(agent_id)
            common["prompt_id"] = text(line.get("promptId")) or None
            if self._is_copied_agent(line, common):
                return []
        else:
            common["prompt_id"] = self._turns.prompt
        facts: list[Fact] = []
        if self._state["stops"]:
            facts += system_lines.overdue_stops(self._state, line)
        facts += reader(line, common)
        if not agent_id:
            facts += self._ready(line, session_id, at)
            if not self._turns.copying:
                self._state["latest"] = max(self._state["latest"], at)
        return facts

    def _ready(self, line: dict[str, Any], session_id: str, at: int) -> list[Fact]:
        """That something could be asked for, which only a file's first line can show."""
        if self._state["begun"]:
            return []
        self._state["begun"] = True
        return [SessionReady(session_id=session_id, time_ns=at)] if _is_before_prompt(line) else []

    def _cost(self, record: dict[str, Any]) -> list[Fact]:
        """What is written when Claude Code ends, and again when a resumed session does.

        It names the start of the first process; a fork has that of the session that it is one of.
        """
        session_id = self._session_id or text(record.get("sessionId"))
        if not session_id or self._agent_id:
            return []
        facts = self._costs.read(record, session_id, forked=bool(self._state["previous"]))
        began_ns = moment_ns(record.get("startTime"))
        if began_ns and not self._state["previous"]:
            facts.append(SessionStarted(session_id=session_id, time_ns=began_ns))
        return facts + self._turns.exit(session_id)

    def _side_agent(self, line: dict[str, Any]) -> str | None:
        """The sub-agent of a line inside a session's own file, as older versions wrote them."""
        if not line.get("isSidechain"):
            return None
        named = text(line.get("agentId"))
        if named:
            return named
        sides = self._state["sides"]
        own = text(line.get("uuid"))
        agent_id = sides.get(text(line.get("parentUuid"))) or f"side-{own}"
        sides[own] = agent_id
        _limit(sides)
        return str(agent_id)

    def _is_copied_agent(self, line: dict[str, Any], common: dict[str, Any]) -> bool:
        """Whether a sub-agent's lines were read before, in another session."""
        agent_id = common["agent_id"]
        copies = self._state["copies"]
        if agent_id not in copies:
            standing = self._claims.stand(
                f"agent-line:{line['uuid']}", common["session_id"], agent_owner(agent_id)
            )
            copies[agent_id] = standing is Standing.SESSION
            _limit(copies)
        return bool(copies[agent_id])

    def _user(self, line: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        content = mapping(line.get("message")).get("content")
        given = content if isinstance(content, list) else []
        results = [block for block in given if mapping(block).get("type") == "tool_result"]
        if results:
            return self._results(line, results, common)
        if common.get("agent_id"):
            return self._agent_prompt(line, content, common)
        return self._prompt(line, content, common)

    def _results(
        self, line: dict[str, Any], results: list[dict[str, Any]], common: dict[str, Any]
    ) -> list[Fact]:
        told = line if len(results) == 1 else {}
        if not common.get("agent_id"):
            if self._turns.copying:
                return []
            named = text(line.get("promptId"))
            at, record = common["time_ns"], text(line.get("uuid"))
            if common["prompt_id"] is None:  # the file begins in the middle of a turn
                self._turns.ask(named or record, at, record, derived=not named, meta=False)
            others = bool(named) and named != common["prompt_id"]
            common["passive"] = others or not self._turns.live(at)
        return [
            blocks.answer(block, told, common)
            for block in results
            if self._turns.returned(text(block.get("tool_use_id")))
        ]

    def _agent_prompt(
        self, line: dict[str, Any], content: object, common: dict[str, Any]
    ) -> list[Fact]:
        if line.get("isMeta"):  # context that was copied into the sub-agent, with its old times
            return []
        agent_id = common["agent_id"]
        told = ""
        first = agent_id not in self._state["turns"]
        if first:
            told = digest(content)
        kind, _ = classify(line, content)
        facts: list[Fact] = [AgentStarted(**common, task_digest=told, **self._origin)]
        if kind == INTERRUPTION and not first:
            facts.append(TurnEnded(**common, reason=INTERRUPTED))
            return [*facts, *self._cut_off(common), *self._turns.cut_agent(common, INTERRUPTED)]
        if kind in (PROMPT, REQUEST) or first:
            record = text(line.get("uuid"))
            self._state["turns"][agent_id] = common["agent_turn"] = record
            facts.append(PromptSubmitted(**common, derived=True, record_id=record))
        if agent_id.startswith(COMPACT_AGENT):
            started = {"session_id": common["session_id"], "time_ns": common["time_ns"]}
            facts.append(CompactStarted(**started, prompt_id=common["prompt_id"]))
        return facts

    def _prompt(self, line: dict[str, Any], content: object, common: dict[str, Any]) -> list[Fact]:
        kind, prompt_id = classify(line, content)
        turns, at, record = self._turns, common["time_ns"], text(line.get("uuid"))
        named = bool(line.get("promptId"))
        facts: list[Fact] = notices.read(content, common)
        if kind == UNKNOWN:
            self.skipped["user line of unknown shape"] += 1
        if kind == PROMPT:
            return facts + self._ask(line, prompt_id, common)
        if kind == INTERRUPTION:
            others = named and prompt_id != common["prompt_id"]
            self._own_prompt(common["session_id"])
            if others:
                return facts
            return [*facts, *self._cut_off(common), *turns.end(common, INTERRUPTED)]
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

    def _ask(self, line: dict[str, Any], prompt_id: str, common: dict[str, Any]) -> list[Fact]:
        """Somebody's prompt."""
        turns, session_id = self._turns, common["session_id"]
        at, record = common["time_ns"], text(line.get("uuid"))
        standing = self._claims.stand(f"prompt:{record}", session_id, "", claim=False)
        if standing is Standing.SESSION:
            return turns.begin_copy(session_id)
        if turns.is_again(record):
            return []
        derived = not line.get("promptId")
        if prompt_id == common["prompt_id"] and not turns.copying:
            if record == self._state["record"]:
                return []
            if not turns.ended:
                return [Activity(**common)] if turns.live(at) else []
            prompt_id, derived = record, True  # as a fork gives all its prompts one id
        return turns.begin(session_id, prompt_id, at, record, derived=derived)

    def _own_prompt(self, session_id: str) -> None:
        """Something came of the current prompt, so it is this session's: elsewhere it is a copy."""
        if self._state["record"]:
            self._claims.stand(f"prompt:{self._state['record']}", session_id, "")

    def _assistant(self, line: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        message = mapping(line.get("message"))
        if line.get("isApiErrorMessage"):
            return self._failure(line, common)
        message_id = text(message.get("id")) or text(line.get("requestId")) or text(line["uuid"])
        foreign = text(line.get("requestSessionId"))
        if foreign and foreign != common["session_id"]:
            standing = Standing.SESSION
            self._state["previous"] = foreign
        else:
            standing = self._stand(message_id, line, common)
        agent_id = common.get("agent_id")
        facts: list[Fact] = []
        fresh = standing is Standing.FRESH
        again = self._state["again"] and not fresh and not agent_id
        if standing in (Standing.TURN, Standing.SESSION) or again:
            return [] if agent_id else self._turns.repeat(common["session_id"], message_id)
        if not agent_id:
            last_id, last_turn = self._state["message"]
            if message_id != last_id:
                facts = self._turns.answer(common, message_id, text(line.get("uuid")))
                self._own_prompt(common["session_id"])
                _, last_turn = self._state["message"]
            if last_turn is None:  # another line of a copied message
                return []
            common["passive"] = last_turn != self._turns.prompt or self._state["over"]
            common["prompt_id"] = last_turn
        if agent_id:
            facts += self._worked(agent_id, common)
        facts += self._said(message, common)
        usage = mapping(message.get("usage"))
        if usage and message.get("model") != "<synthetic>":
            known = {"message_id": message_id, "fresh": fresh}
            facts.append(blocks.usage(message, usage, {**common, **known}))
            facts += self._answered(line, message, common)
        return facts

    def _asked(self, record: dict[str, Any]) -> list[Fact]:
        """A request is sent; the lines of its answer name it."""
        at, request = time_ns(record.get("timestamp")), text(record.get("id"))
        if at is None or not request:
            return []
        self._queries.ask(record, request, at)
        agent_id = self._agent_id
        if not agent_id or self._state["copies"].get(agent_id, True):
            return []
        session_id = self._session_id or text(record.get("sessionId"))
        return self._worked(agent_id, {"session_id": session_id, "time_ns": at})

    def _worked(self, agent_id: str, common: dict[str, Any]) -> list[Fact]:
        """A sub-agent's first sign of work."""
        if agent_id in self._state["worked"]:
            return []
        self._state["worked"][agent_id] = True
        _limit(self._state["worked"])
        return [AgentWorked(**{**common, "agent_id": agent_id})]

    def _answered(
        self, line: dict[str, Any], message: dict[str, Any], common: dict[str, Any]
    ) -> list[Fact]:
        request, request_id = text(line.get("requestRef")), text(line.get("requestId"))
        if not message.get("stop_reason"):
            self._queries.begin(request, request_id)
            return []
        query = self._queries.answer(request)
        if query is None:
            return []
        model = text(message.get("model"))
        return [_answered(common, query._replace(model=model, request_id=request_id))]

    def _cut_off(self, common: dict[str, Any]) -> list[Fact]:
        """Somebody stopped the model: the request that it was answering, if it was."""
        query = self._queries.cut_off()
        return [_answered(common, query, INTERRUPTED)] if query else []

    def _stand(self, message_id: str, line: dict[str, Any], common: dict[str, Any]) -> Standing:
        """Whose a message is."""
        agent_id = common.get("agent_id")
        if agent_id:
            owner = agent_owner(agent_id)
            return self._claims.stand(f"message:{message_id}", common["session_id"], owner)
        if message_id == self._state["message"][0]:
            # Another line of it; behind another prompt all of it again, unless a call is new.
            again = self._state["unanswered"] or self._state["pending"]
            return Standing.TURN if again and not self._calls_anew(line) else Standing.SAME
        turn = self._turns.next_turn(text(line.get("uuid")))
        return self._claims.stand(f"message:{message_id}", common["session_id"], turn)

    def _calls_anew(self, line: dict[str, Any]) -> bool:
        """Whether a message asks for a tool that was not asked for before."""
        content = mapping(line.get("message")).get("content")
        asked = {
            text(mapping(block).get("id"))
            for block in (content if isinstance(content, list) else [])
            if mapping(block).get("type") == "tool_use"
        }
        return not asked <= self._state["calls"].keys()

    def _said(self, message: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
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
                self._turns.call(
                    tool_use_id, at, agent_owner(agent_id) if agent_id else common["prompt_id"]
                )
                self._state["calls"][tool_use_id] = True
                _limit(self._state["calls"])
                facts.append(blocks.call(block, common))
        done = message.get("stop_reason") in _FINISHED
        last = 0 if "tool_use" in kinds or (not done and kinds != {"text"}) else 1 + done
        if not agent_id and not common.get("passive"):
            self._turns.live(at, last)
        facts.append(Activity(**common, last=last))
        return facts

    def _failure(self, line: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        """The model could not be asked, for good."""
        error, status = api_errors.of_final(line)
        told: dict[str, Any] = {
            "record_id": text(line.get("uuid")),
            "error_type": error,
            "status": status,
            "attempts": self._queries.given_up(),
        }
        if common.get("agent_id"):
            return [ApiFailed(**common, **told), TurnEnded(**common, error_type=error)]
        if self._turns.copying:
            return []
        facts: list[Fact] = []
        if self._state["pending"]:
            record = text(line.get("uuid"))
            facts = self._turns.answer(common, record, record)
            common["prompt_id"] = self._turns.prompt
        alive = self._turns.live(common["time_ns"], 2)
        self._outside(common, alive=alive)
        failed = ApiFailed(**common, **told)
        return [*facts, failed, *([TurnEnded(**common, error_type=error)] if alive else [])]

    def _system(self, line: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        kind = line.get("subtype")
        if common.get("agent_id") is None:
            if self._turns.copying:
                return []
            if kind == "turn_duration":
                own_ns = milliseconds(line.get("durationMs"))
                return self._turns.end(common, own_ns=own_ns)
            if kind == "stop_hook_summary":
                common["passive"] = not self._turns.live(
                    common["time_ns"], 0 if system_lines.objected(line) else 2
                )
            else:
                self._outside(common, alive=not self._turns.ended)
        facts = system_lines.read(line, common, self._state)
        if facts is None:
            self.skipped[f"unknown kind system/{word(line.get('subtype')) or '?'}"] += 1
            return []
        return facts

    def _outside(self, common: dict[str, Any], *, alive: bool) -> None:
        """What comes after the end stands by itself; what comes before is a sign of life."""
        if alive and not self._state["final"]:
            alive = self._turns.live(common["time_ns"])
        if not alive:
            common["prompt_id"], common["passive"] = None, True

    def _progress(self, line: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        data = mapping(line.get("data"))
        kind = data.get("type")
        if common.get("agent_id") is None:
            if self._turns.copying:
                return []
            common["passive"] = self._turns.ended or not self._turns.live(common["time_ns"])
        if kind == "hook_progress":
            return system_lines.hook_progress(line, data, common, self._state)
        agent_id = text(data.get("agentId"))
        if kind == "agent_progress" and agent_id:
            link = {**common, "agent_id": agent_id, "agent_turn": None, "passive": True}
            return [AgentStarted(**link, tool_use_id=text(line.get("parentToolUseID")))]
        return [Activity(**common)]

    def _attachment(self, line: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        if common.get("agent_id") is None:
            if self._turns.copying:
                return []
            common["passive"] = self._turns.ended
        attached = mapping(line.get("attachment"))
        facts = notices.read(attached.get("prompt"), common)
        return facts + system_lines.attachment(line, attached, common, self._state)

    def _queued(self, line: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        return notices.read(line.get("content"), common)


def _answered(common: dict[str, Any], query: Query, outcome: str = "") -> ModelAnswered:
    return ModelAnswered(
        **common,
        record_id=query.record_id,
        start_ns=query.start_ns,
        model=query.model,
        request_id=query.request_id,
        outcome=outcome,
    )


def _is_before_prompt(line: dict[str, Any]) -> bool:
    """Whether Claude Code writes such a line before anybody has asked for anything."""
    hook = mapping(line.get("attachment")).get("hookEvent")
    return line.get("type") == "queue-operation" or hook == "SessionStart"


def _limit(links: dict[str, Any]) -> None:
    while len(links) > _MAX_LINKS:
        del links[next(iter(links))]
