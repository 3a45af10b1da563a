"""What session files and hooks tell, in one vocabulary without any text of the conversation.

Times are Unix nanoseconds. A fact may come twice, late, or from both sources.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Source = Literal["file", "hook"]

AGENT_TOOLS = ("Task", "Agent")  # the calls that start a sub-agent: older and newer name
DEFAULT_AGENT = "general-purpose"  # the type when such a call names none
# Reasons for which something is closed unfinished.
INTERRUPTED = "interrupted"
SILENCE = "silence"
SESSION_ENDED = "session_ended"
KILLED = "killed"
NEXT_PROMPT = "next_prompt"
NO_START = "no_start_seen"
NO_END = "no_end_seen"

MICRO = "micro"  # the trigger of a compaction that takes no time

# Outcomes of such a call whose sub-agent goes on.
BACKGROUND = ("async_launched", "remote_launched", "teammate_spawned")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What all facts have.

    Attributes:
        session_id: Claude Code's id of the session.
        time_ns: When it happened.
        source: Who told it.
        prompt_id: The user's prompt that it belongs to, where that is known.
        agent_id: The sub-agent in which it happened, None for the main conversation.
        agent_turn: The prompt inside that sub-agent, where that is known.
        passive: It keeps nothing alive: it comes after an end that was told, or is another
            turn's.
    """

    session_id: str
    time_ns: int
    source: Source = "file"
    prompt_id: str | None = None
    agent_id: str | None = None
    agent_turn: str | None = None
    passive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStarted(Fact):
    """Claude Code was started for this session: a hook knows the process, a file says so itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReady(Fact):
    """Claude Code could be asked for something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnded(Fact):
    """The session is over.

    Attributes:
        reason: Why.
    """

    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSubmitted(Fact):
    """A turn begins: of the session, or with `agent_id` of a sub-agent.

    Attributes:
        derived: The source has no prompt id; the record's own id stands for it.
        record_id: The record's own id.
        previous: The session that this one was forked from.
    """

    derived: bool = False
    record_id: str = ""
    previous: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCopied(Fact):
    """A prompt turned out to be a copy: what follows it was answered elsewhere before.

    Attributes:
        record_id: The prompt's own id.
    """

    record_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEnded(Fact):
    """The model stopped, or was stopped.

    Attributes:
        error_type: Why the turn failed.
        reason: Why it was left unfinished.
    """

    error_type: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnOver(Fact):
    """Nothing that comes later in the file belongs to the turn any more.

    Attributes:
        reason: Why it was left unfinished, if its end was not told.
        paused_ns: How long of it the host waited for a person, where the source says so.
    """

    reason: str = ""
    paused_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessEnded(Fact):
    """Claude Code itself ended; the session may be resumed later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLost(Fact):
    """Claude Code's process is no more, and what it has written was read; it has no time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity(Fact):
    """A sign of life.

    Attributes:
        last: 2 when the model said that it is done, 1 when its message asks for no tool, else 0.
    """

    last: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolStarted(Fact):
    """A tool was asked for.

    Attributes:
        tool_use_id: Joins it with its end.
        tool_name: Which tool.
        agent_type: The type of sub-agent that it starts, empty for all other tools.
        task_digest: Digest of what that sub-agent is told, to find it by; never recorded.
        input_digest: Likewise of its whole input, 0 where the source has none.
    """

    tool_use_id: str
    tool_name: str
    agent_type: str = ""
    task_digest: str = ""
    input_digest: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolEnded(Fact):
    """A tool answered, failed or was denied.

    Attributes:
        tool_use_id: Joins it with its start.
        tool_name: Which tool, where the source says so.
        error_type: Why it failed.
        outcome: Why it was not carried out, or not to its end, where it has not failed.
        by_person: A person was asked before, and has answered.
        duration_ns: Its own time without waiting for a permission, where the source says so.
        agent: The sub-agent that it started.
        background: That sub-agent goes on.
        run: The run of several sub-agents that it started (a workflow).
    """

    tool_use_id: str
    tool_name: str = ""
    error_type: str | None = None
    outcome: str = ""
    by_person: bool = False
    duration_ns: int | None = None
    agent: str = ""
    background: bool = False
    run: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCut(Fact):
    """A tool call got no answer and will get none: what it was part of has ended.

    Attributes:
        tool_use_id: Which call.
        reason: Why it is unfinished.
    """

    tool_use_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PermissionAsked(Fact):
    """A tool waits for somebody's permission.

    Attributes:
        tool_use_id: Which call, where the source says so.
        tool_name: Which tool.
        input_digest: See `ToolStarted`.
    """

    tool_use_id: str = ""
    tool_name: str = ""
    input_digest: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InputAsked(Fact):
    """Somebody is asked for input, or has answered.

    Attributes:
        input_id: Joins the two.
        answered: Which of the two.
    """

    input_id: str
    answered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStarted(Fact):
    """A sub-agent shows, in which `agent_id` names itself.

    Attributes:
        agent_type: Its type, where known.
        tool_use_id: The call that started it, where known.
        task_digest: See `ToolStarted`.
        run: The run of several sub-agents that it is one of.
    """

    agent_type: str = ""
    tool_use_id: str = ""
    task_digest: str = ""
    run: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentWorked(Fact):
    """A sub-agent asked its model, or was answered; `agent_id` names itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEnded(Fact):
    """A sub-agent is done; `agent_id` names itself.

    Attributes:
        error_type: Why it failed.
        noticed: Its session was told so; the sub-agent may have said its last word before.
    """

    error_type: str | None = None
    noticed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HookRan(Fact):
    """A hook ran; `time_ns` is its start.

    Attributes:
        record_id: The record's own id.
        event: The event that it hangs on.
        name: Claude Code's name of it: event and what it matched.
        end_ns: When it was done, where that is recorded.
        error_type: Why it failed.
        blocked: Whether it objected, which is no failure.
        tool_use_id: The tool call that it hangs on.
        of_call: Whether the file holds that call.
    """

    record_id: str
    event: str
    name: str
    end_ns: int | None = None
    error_type: str | None = None
    blocked: bool = False
    tool_use_id: str = ""
    of_call: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiUsage(Fact):
    """What a request to the model used; told with each part of its answer, the last one holds.

    Attributes:
        message_id: The answer's id.
        model: Which model answered.
        input_tokens: Without the cached ones, as the API counts.
        output_tokens: All output.
        cache_read_tokens: Input that came from the cache.
        cache_creation_tokens: Input that went to the cache.
        fresh: Nothing of it was read before. Should the span of its turn be out by now, it makes
            one of its own.
    """

    message_id: str
    model: str
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_creation_tokens: int
    fresh: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAnswered(Fact):
    """A request to the model was answered, or its answer was cut off.

    Attributes:
        record_id: The request's own id.
        start_ns: When it was sent, Unix time in nanoseconds.
        model: Which model answered.
        request_id: By which name the API knows it.
        outcome: Why the answer is not whole.
    """

    record_id: str
    start_ns: int
    model: str
    request_id: str = ""
    outcome: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiFailed(Fact):
    """A request to the model failed.

    Attributes:
        record_id: The record's own id.
        error_type: Why.
        attempt: Which retry follows, 0 when none does.
        delay_s: How long that one waits.
        status: The answer's HTTP status, 0 where there was none.
        attempts: How often it was asked in all before it was given up, where that is known.
    """

    record_id: str
    error_type: str
    status: int = 0
    attempts: int = 0
    attempt: int = 0
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCost(Fact):
    """What a process of Claude Code has cost by its end, in which `time_ns` is about that.

    Attributes:
        record_id: The record's own id.
        cost_usd: In US dollars.
        api_ns: How long requests to models took, added up.
        tools_ns: Likewise tools.
        models: The cost of each model.
    """

    record_id: str
    cost_usd: float
    api_ns: int
    tools_ns: int
    models: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactStarted(Fact):
    """The conversation is being summarised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted(Fact):
    """The conversation was summarised.

    Attributes:
        record_id: The record's own id.
        trigger: Who wanted it.
        tokens: How many there were before.
        duration_ns: How long it took, where the source says so.
    """

    record_id: str
    trigger: str = ""
    tokens: int = 0
    duration_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChanged(Fact):
    """A task of the session's list was created or completed.

    Attributes:
        task_id: Its number in that list.
        completed: Which of the two.
    """

    task_id: str
    completed: bool
