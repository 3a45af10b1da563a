"""Session files, one JSON line at a time, to facts.

No one promises this format: every member may be missing or of another type, and kinds come and
go with versions. What is not known is counted with a reason and passed over. Nothing but ids,
names, times, counts and outcomes is taken from a line.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from orchwatch.agents.claude_code.sessions import assistant_lines, notices, system_lines, user_lines
from orchwatch.agents.claude_code.sessions.file_state import FileState, limit
from orchwatch.agents.claude_code.sessions.turns import agent_owner
from orchwatch.agents.sessions import records
from orchwatch.agents.sessions.claims import Claims, Ownership
from orchwatch.agents.sessions.facts import (
    Activity,
    AgentStarted,
    Fact,
    ProjectSeen,
    SessionReady,
    SessionStarted,
)
from orchwatch.agents.sessions.fields import (
    mapping,
    milliseconds,
    moment_ns,
    project_name,
    text,
    time_ns,
    word,
)

if TYPE_CHECKING:
    from collections.abc import Callable


# Kinds that say nothing about operations.
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
        "summary",
        "tag",
        "task-summary",
        "tools-used",
        "worktree-state",
    }
)
# Others, of the journal of a workflow, which names no session.
_OF_JOURNALS = frozenset({"result", "started"})
KINDS = _SILENT | {
    "api-request",
    "assistant",
    "attachment",
    "cost-state",
    "progress",
    "queue-operation",
    "system",
    "user",
}
"""The kinds of lines that session files are known to have."""

_HARMLESS = ("blank", "unknown kind", "half-written")  # reasons that mean no loss


class Transcript:
    """Reads the lines of one file in order.

    Args:
        session_id: The session that the file belongs to; by default what each line says.
        agent_id: The sub-agent whose file it is, None for a session's own file.
        state: What `state` returned when reading stopped before.
        claims: Which session and turn own each message; by default this file alone.
        agent_type: That sub-agent's type, where it is known from outside the file.
        tool_use_id: The call that started it, likewise.
        run: The workflow run that it is part of, likewise.
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
        origin = {"agent_type": agent_type, "tool_use_id": tool_use_id, "run": run}
        self._file = FileState(session_id, agent_id, state, claims or Claims(), origin)
        self._state = self._file.state
        self._turns = self._file.turns
        self.skipped = self._file.skipped
        self.version = ""
        self._readers: dict[str, Callable[[dict[str, Any], dict[str, Any]], list[Fact]]] = {
            "user": partial(user_lines.read, self._file),
            "assistant": partial(assistant_lines.read, self._file),
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
        self.version = word(record.get("version")) or self.version
        try:
            if kind == "cost-state":
                return self._cost(record)
            if kind == "api-request":
                return assistant_lines.request_sent(self._file, record)
            reader = self._readers.get(kind)
            if reader is None:
                if kind not in _SILENT | _OF_JOURNALS:
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
        session_id = self._file.session_id or text(line.get("sessionId"))
        if not session_id:
            self.skipped["no session"] += 1
            return []
        if not line.get("uuid"):
            line["uuid"] = f"{session_id}/{at}"  # some id that reading again gives again
        agent_id = self._file.agent_id or self._side_agent(line)
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
            facts += self._project(line, session_id, at)
            if not self._turns.copying:
                self._state["latest"] = max(self._state["latest"], at)
        return facts

    def _ready(self, line: dict[str, Any], session_id: str, at: int) -> list[Fact]:
        """The session became ready for prompts, which only a file's first line can show."""
        if self._state["begun"]:
            return []
        self._state["begun"] = True
        return [SessionReady(session_id=session_id, time_ns=at)] if _is_before_prompt(line) else []

    def _project(self, line: dict[str, Any], session_id: str, at: int) -> list[Fact]:
        """What it begins in; it may go elsewhere later. States of earlier versions know none."""
        if not text(line.get("cwd")) or "project" in self._state:
            return []
        name = self._state["project"] = project_name(line.get("cwd"))
        return [ProjectSeen(session_id=session_id, time_ns=at, passive=True, project=name)]

    def _cost(self, record: dict[str, Any]) -> list[Fact]:
        """What is written when Claude Code ends, and again when a resumed session does.

        It names the start of the first process; a fork has that of the session that it is one of.
        """
        session_id = self._file.session_id or text(record.get("sessionId"))
        if not session_id or self._file.agent_id:
            return []
        facts = self._file.costs.read(record, session_id, forked=bool(self._state["previous"]))
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
        limit(sides)
        return str(agent_id)

    def _is_copied_agent(self, line: dict[str, Any], common: dict[str, Any]) -> bool:
        """Whether a sub-agent's lines were read before, in another session."""
        agent_id = common["agent_id"]
        copies = self._state["copies"]
        if agent_id not in copies:
            ownership = self._file.claims.ownership(
                f"agent-line:{line['uuid']}", common["session_id"], agent_owner(agent_id)
            )
            copies[agent_id] = ownership is Ownership.SESSION
            limit(copies)
        return bool(copies[agent_id])

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
                self._file.outside(common, alive=not self._turns.ended)
        facts = system_lines.read(line, common, self._state)
        if facts is None:
            self.skipped[f"unknown kind system/{word(line.get('subtype')) or '?'}"] += 1
            return []
        return facts

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


def _is_before_prompt(line: dict[str, Any]) -> bool:
    """Whether Claude Code writes such a line before the first prompt."""
    hook = mapping(line.get("attachment")).get("hookEvent")
    return line.get("type") == "queue-operation" or hook == "SessionStart"
