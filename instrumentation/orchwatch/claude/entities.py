"""What is known so far of a session that is not finished; every value can be saved as JSON.

Merging takes the earliest start, the latest sign of life, and so on: never the order of arrival.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from orchwatch.claude import facts

if TYPE_CHECKING:
    from orchwatch.claude.facts import Fact

REMEMBER_NS = 600_000_000_000  # how long it is kept which spans went out

_MESSAGES = 64


@dataclass(slots=True)
class Usage:
    """Tokens of several answers; one answer is told several times, and the highest counts hold.

    Attributes:
        totals: Input, output, read from the cache, written to the cache: of settled answers.
        recent: The same by message, of the last ones.
        requests: How many answers.
        model: Which model gave the last one.
    """

    totals: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    recent: dict[str, list[int]] = field(default_factory=dict)
    requests: int = 0
    model: str = ""
    model_ns: int = 0

    def add(self, fact: facts.ApiUsage) -> None:
        told = [
            fact.input_tokens,
            fact.output_tokens,
            fact.cache_read_tokens,
            fact.cache_creation_tokens,
        ]
        known = self.recent.get(fact.message_id)
        self.requests += known is None
        self.recent[fact.message_id] = list(map(max, told, known)) if known else told
        if fact.time_ns >= self.model_ns:
            self.model, self.model_ns = fact.model, fact.time_ns
        if len(self.recent) > _MESSAGES:
            oldest = next(iter(self.recent))
            self.totals = _sum(self.totals, self.recent.pop(oldest))

    def sums(self) -> list[int]:
        """Over all answers, in the order of `totals`."""
        sums = self.totals
        for counts in self.recent.values():
            sums = _sum(sums, counts)
        return sums


@dataclass(slots=True)
class Life:
    """When something began, was last heard of, and said that it is done."""

    start_ns: int = 0
    last_ns: int = 0
    final_ns: int = 0  # of the last message that asks for no tool
    said_done: bool = False  # that message says so
    ended_ns: int = 0
    hooked_ns: int = 0  # when a hook said that it ended
    error_type: str = ""
    reason: str = ""
    usage: Usage = field(default_factory=Usage)

    def see(self, time_ns: int) -> None:
        """A sign of life."""
        self.start_ns = min(self.start_ns or time_ns, time_ns)
        self.last_ns = max(self.last_ns, time_ns)

    def finish(self, time_ns: int, level: int) -> None:
        """A message that asks for no tool (1), or that says it is the last (2)."""
        if level and time_ns >= self.final_ns:
            self.said_done = level > 1 or (self.said_done and time_ns == self.final_ns)
            self.final_ns = time_ns

    def end(self, time_ns: int, error_type: str | None, reason: str | None) -> None:
        """The end is told; the latest word holds."""
        if time_ns >= self.ended_ns:
            self.ended_ns = time_ns
            self.error_type, self.reason = error_type or "", reason or ""


@dataclass(slots=True, kw_only=True)
class Turn(Life):
    """A turn of the session, or of a sub-agent.

    Attributes:
        prompted: Its prompt was seen.
        over: Its file says that nothing more can come.
        over_reason: Why it was left unfinished then.
        part_of: The turn that it goes on with, whose span was out already.
        asked: When each of its prompts was asked, by the record's id.
        copied: Those of them that are copies, and count for nothing.
        began_ns: The first sign of life besides the prompts.
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

    def see(self, time_ns: int) -> None:
        """A sign of life."""
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
        own = [at for record_id, at in self.asked.items() if record_id not in self.copied]
        begun = [*own, *([self.began_ns] if self.began_ns else [])]
        self.prompted = bool(own)
        self.start_ns = min(begun, default=0)
        self.last_ns = max([self.last_ns if self.began_ns else 0, *own])


@dataclass(slots=True, kw_only=True)
class Agent(Life):
    """A sub-agent.

    Attributes:
        call: The tool call that started it.
        prompt_id: The user's prompt, where its file says so.
        hinted: The same from a hook, which names the one that runs at the moment.
        run: The run of several sub-agents that it is one of.
        part: What tells it from its earlier part, whose span was out already.
        glimpsed_ns: When its session's file showed it first; its own file knows better.
        spawned: Its `agent.spawn` is out.
        done: Its `agent.run` is out.
    """

    agent_id: str
    agent_type: str = ""
    call: str = ""
    prompt_id: str | None = None
    hinted: str | None = None
    run: str = ""
    part: str = ""
    task_digest: str = ""
    stopped_ns: int = 0
    glimpsed_ns: int = 0
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
    """A tool call that has no span yet."""

    tool_use_id: str
    name: str = ""
    start_ns: int = 0
    end_ns: int = 0
    seen_ns: int = 0
    prompt_id: str | None = None
    agent_id: str | None = None
    agent_turn: str | None = None
    error_type: str = ""
    duration_ns: int | None = None
    asked: bool = False
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
        closed: Turns whose span is out, their start and end; the oldest are forgotten.
        calls: By tool call.
        moments: Facts that are spans by themselves and wait for their trace.
        held: Facts from hooks that wait for the file to name their turn.
        aliases: A hook's prompt id to the turn that the file derived.
        asked_ns: When a hook said that a prompt was submitted, by its prompt id.
        compact_starts: When the last compactions began.
        emitted: Span ids and when they went out; the oldest are forgotten.
        runs: The call that started a run of several sub-agents.
        notices: Ends of sub-agents that the session was told: time and error type.
        parts: The part of a turn, or sub-agent, that goes on after its span was out.
        arrived_ns: When its files were last written to, or a hook came.
        exited_ns: When Claude Code ended.
    """

    session_id: str
    start_ns: int = 0
    ready_ns: int = 0
    last_ns: int = 0
    ended_ns: int = 0
    end_reason: str = ""
    started: bool = False
    turns: dict[str, Turn] = field(default_factory=dict)
    closed: dict[str, list[int]] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)
    calls: dict[str, Call] = field(default_factory=dict)
    tools: dict[str, Tool] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    moments: list[Fact] = field(default_factory=list)
    held: list[Fact] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    asked_ns: dict[str, int] = field(default_factory=dict)
    compact_starts: list[int] = field(default_factory=list)
    emitted: dict[str, int] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    notices: dict[str, list[list[Any]]] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    arrived_ns: int = 0
    exited_ns: int = 0

    def save(self) -> dict[str, Any]:
        """As JSON."""
        saved = asdict(self)
        for name in ("moments", "held"):
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
        for name in ("moments", "held"):
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


def _sum(left: list[int], right: list[int]) -> list[int]:
    return [a + b for a, b in zip(left, right, strict=True)]
