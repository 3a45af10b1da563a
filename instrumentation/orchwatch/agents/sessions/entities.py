"""What is known so far of a session that is not finished; every value can be saved as JSON.

Merging takes the earliest start, the latest sign of life, and so on: never the order of arrival.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.agents.sessions import facts
from orchwatch.agents.sessions.lifecycle import Lifecycle, Usage

if TYPE_CHECKING:
    from orchwatch.agents.sessions.facts import Fact

REMEMBER_NS = 600_000_000_000  # how long ids of written spans are kept

_NS_PER_S = 1_000_000_000
_PROJECT_CHARACTERS = 64

HOOK = "hook"  # stands for the record's id where a hook reports a prompt


@dataclass(slots=True, kw_only=True)
class Turn(Lifecycle):
    """A turn of the session, or of a sub-agent.

    Attributes:
        prompted: Its prompt was seen.
        over: Its file says that nothing more can come.
        over_reason: Why it was left unfinished then.
        part_of: The turn that it continues, whose span was written already.
        asked: When each of its prompts was asked, by the record's id.
        copied: Prompts among them that are copies, and do not count.
        began_ns: The first sign of life besides the prompts.
        previous: The session that this one was forked from.
        first_ns: After how long the first part of an answer came; None where nothing says so.
    """

    prompt_id: str
    agent_id: str | None = None
    prompted: bool = False
    derived: bool = False
    over: bool = False
    over_reason: str = ""
    part_of: str = ""
    asked: dict[str, int] = field(default_factory=dict)
    copied: list[str] = field(default_factory=list)
    began_ns: int = 0
    previous: str = ""
    first_ns: int | None = None

    def see(self, time_ns: int, *, filed: bool) -> None:
        """A sign of life."""
        if filed and not self.filed:
            self.began_ns = 0
        if not self._counts(filed=filed):
            return
        if not self.began_ns or time_ns < self.began_ns:
            self.began_ns = time_ns
            self._settle()
        self.last_ns = max(self.last_ns, time_ns)

    def ask(self, record_id: str, time_ns: int) -> None:
        """It was asked for."""
        self.asked[record_id] = min(self.asked.get(record_id, time_ns), time_ns)
        self._settle()

    def copy(self, record_id: str) -> None:
        """One that asked for it was only a copy."""
        if record_id not in self.copied:
            self.copied.append(record_id)
        self._settle()

    def _settle(self) -> None:
        own = self._own_prompts()
        begun = [*own, *([self.began_ns] if self.began_ns else [])]
        self.prompted = bool(own)
        self.start_ns = min(begun, default=0)
        self.last_ns = max([self.last_ns if self.began_ns else 0, *own])

    def _own_prompts(self) -> list[int]:
        """When they were asked, by a file where one says so."""
        own = {key: at for key, at in self.asked.items() if key not in self.copied}
        return [at for key, at in own.items() if key != HOOK or own.keys() == {HOOK}]


@dataclass(slots=True, kw_only=True)
class Agent(Lifecycle):
    """A sub-agent.

    Attributes:
        call: The tool call that started it.
        prompt_id: The user's prompt, where its file says so.
        hinted: The user's prompt by a hook, which names the one that runs then.
        run: The run of several sub-agents that it is one of.
        part: Its own key where it continues an agent whose span was written already.
        glimpsed_ns: When its session's file showed it first; its own file knows better.
        helper: No call has started it.
        worked_ns: When it first asked its model, or was answered.
        spawned: Its `agent.spawn` was written.
        done: Its `agent.run` was written.
    """

    agent_id: str
    agent_type: str = ""
    call: str = ""
    prompt_id: str | None = None
    hinted: str | None = None
    run: str = ""
    part: str = ""
    helper: bool = False
    task_digest: str = ""
    stopped_ns: int = 0
    glimpsed_ns: int = 0
    worked_ns: int = 0
    spawned: bool = False
    done: bool = False


@dataclass(slots=True, kw_only=True)
class Call:
    """A tool call that may start a sub-agent; kept to hang that one under it."""

    tool_use_id: str
    agent_type: str
    task_digest: str
    start_ns: int
    prompt_id: str | None
    agent_id: str | None
    agent: str = ""  # the sub-agent it started, once known
    background: bool = False  # which goes on when the call is answered
    cut_ns: int = 0  # when it was left without an answer
    cut_reason: str = ""


@dataclass(slots=True, kw_only=True)
class Tool:
    """A tool call that has no span yet.

    Attributes:
        began_ns: When it really began to run, where its end says so.
        asked_ns: When a hook said that a person is asked for permission.
        by_person: Its file says that a person has answered.
        waited: From when to when that person was waited for, once known.
    """

    tool_use_id: str
    name: str = ""
    start_ns: int = 0
    end_ns: int = 0
    seen_ns: int = 0
    prompt_id: str | None = None
    agent_id: str | None = None
    agent_turn: str | None = None
    error_type: str = ""
    outcome: str = ""
    duration_ns: int | None = None
    began_ns: int = 0
    exit_code: int | None = None
    input_digest: int = 0
    by_person: bool = False
    asked_ns: int = 0
    waited: list[int] = field(default_factory=list)
    cut_ns: int = 0
    cut_reason: str = ""


@dataclass(slots=True, kw_only=True)
class Task:
    """An entry of the session's task list."""

    created_ns: int = 0
    completed_ns: int = 0
    prompt_id: str | None = None


@dataclass(slots=True, kw_only=True)
class Session:
    """All that is open of one session, and what is needed to recognise what is not.

    Attributes:
        turns: Open turns, by `turn_key`.
        closed: Start and end of turns whose span was written; the oldest are forgotten.
        calls: By tool call.
        events: Facts that each make a span of their own, and wait for its trace to be known.
        held: Facts from hooks that wait for the file to name their turn.
        aliases: A hook's prompt id to the turn that the file derived.
        asked_ns: When a hook said that a prompt was submitted, by its prompt id.
        asks: Requests for a permission whose call is not known yet: time, sub-agent, tool, digest.
        inputs: Requests for input: when asked, when answered, turn, sub-agent.
        pauses: How long each turn that is over has waited for a person, 0 if that is not known.
        waited: How much of that was written as spans.
        compact_starts: When the last compactions began.
        emitted: Ids of written spans and when that was; the oldest are forgotten.
        runs: The call that started a run of several sub-agents.
        notices: Ends of sub-agents announced to the session: time and error type.
        parts: The continuation of a turn, or sub-agent, whose span was written.
        arrived_ns: When its files were last written to, or a hook came.
        arrivals: Likewise by sub-agent, with an empty id for its own conversation.
        exited_ns: When Claude Code ended.
        lost_ns: The last sign of life when its process was no more.
        project: The name of the project that it works on.
        began_ns: When its source begins; what it is named by does not change as more is read.
        provider: Whose models it asks.
        start_ns: When it was started, as its file says.
        process_ns: When that process was started, which a hook knows at once.
        ready_ns: When it could be asked for something, as its file says.
        handled_ns: When its hook of this event came.
        writes_ends: Its file has recorded the end of a turn.
    """

    session_id: str
    project: str = ""
    began_ns: int = 0
    provider: str = ""
    start_ns: int = 0
    process_ns: int = 0
    ready_ns: int = 0
    handled_ns: int = 0
    last_ns: int = 0
    ended_ns: int = 0
    started: bool = False
    turns: dict[str, Turn] = field(default_factory=dict)
    closed: dict[str, list[int]] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)
    calls: dict[str, Call] = field(default_factory=dict)
    tools: dict[str, Tool] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    events: list[Fact] = field(default_factory=list)
    held: list[Fact] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    asked_ns: dict[str, int] = field(default_factory=dict)
    asks: list[list[Any]] = field(default_factory=list)
    inputs: dict[str, list[Any]] = field(default_factory=dict)
    pauses: dict[str, int] = field(default_factory=dict)
    waited: dict[str, int] = field(default_factory=dict)
    compact_starts: list[int] = field(default_factory=list)
    emitted: dict[str, int] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    notices: dict[str, list[list[Any]]] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    arrived_ns: int = 0
    arrivals: dict[str, int] = field(default_factory=dict)
    exited_ns: int = 0
    lost_ns: int = 0
    writes_ends: bool = False

    @property
    def name(self) -> str:
        """What a person knows it by: its project and its start; empty before that is known."""
        if not self.began_ns:
            return ""
        began = datetime.fromtimestamp(self.began_ns // _NS_PER_S, UTC)
        project = " ".join(self.project.split())[:_PROJECT_CHARACTERS]
        return f"{project}{semconv.NAMED if project else ''}{began:%Y-%m-%d %H:%M:%S}Z"

    @property
    def init_ns(self) -> tuple[int, int] | None:
        """From when to when it was started; None where that is not known."""
        start_ns, ready_ns = self.start_ns or self.process_ns, self.ready_ns or self.handled_ns
        return (start_ns, ready_ns) if 0 < start_ns <= ready_ns else None

    def arrive(self, agent_id: str | None, time_ns: int) -> None:
        """Something came about its own conversation, or about that of a sub-agent."""
        self.arrived_ns = max(self.arrived_ns, time_ns)
        whose = agent_id or ""
        self.arrivals[whose] = max(self.arrivals.get(whose, 0), time_ns)

    def save(self) -> dict[str, Any]:
        """As JSON."""
        saved = asdict(self)
        for name in ("events", "held"):
            saved[name] = [
                {"fact": type(fact).__name__, **asdict(fact)} for fact in getattr(self, name)
            ]
        return saved

    @classmethod
    def restore(cls, saved: dict[str, Any]) -> Session:
        """From what `save` returned."""
        values = dict(saved)
        for name, kind in _ENTITIES.items():
            values[name] = {key: kind(**entity) for key, entity in values[name].items()}
        for name in ("turns", "agents"):
            for entity in values[name].values():
                entity.usage = Usage(**entity.usage)
        for name in ("events", "held"):
            values[name] = [_fact(dict(fact)) for fact in values[name]]
        return cls(**values)


_ENTITIES: dict[str, type] = {
    "turns": Turn,
    "agents": Agent,
    "calls": Call,
    "tools": Tool,
    "tasks": Task,
}


def turn_key(prompt_id: str, agent_id: str | None) -> str:
    """The key of a turn within its session."""
    return f"{agent_id}/{prompt_id}" if agent_id else prompt_id


def _fact(saved: dict[str, Any]) -> Fact:
    kind = getattr(facts, saved.pop("fact"))
    fact: Fact = kind(**saved)
    return fact
