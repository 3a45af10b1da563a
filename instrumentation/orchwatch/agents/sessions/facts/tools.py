"""Tool calls, waits for a person, and the sub-agents that calls start."""

from __future__ import annotations

from orchwatch.agents.sessions.facts.base import Fact, fact


@fact
class ToolStarted(Fact):
    """A tool was asked for.

    Attributes:
        tool_use_id: Joins it with its end.
        tool_name: Which tool.
        agent_type: The type of sub-agent that it starts, empty for all other tools.
        task_digest: Digest of that sub-agent's prompt, to find it by; never recorded.
        input_digest: Digest of the call's whole input, 0 where the source has none.
    """

    tool_use_id: str
    tool_name: str
    agent_type: str = ""
    task_digest: str = ""
    input_digest: int = 0


@fact
class CommandRan(Fact):
    """A command ran inside a tool call, as a script that the model wrote starts several.

    It is no tool call: the model asked for the script. `time_ns` is its start.

    Attributes:
        record_id: Its own id.
        name: The name of its span.
        end_ns: When it ended.
        tool_use_id: The call that it ran in, empty where that is not known.
        exit_code: Its exit code, where the source says so.
        error_type: Why it could not run, where that failed.
    """

    record_id: str
    name: str
    end_ns: int
    tool_use_id: str = ""
    exit_code: int | None = None
    error_type: str = ""


@fact
class ToolEnded(Fact):
    """A tool answered, failed or was denied.

    Attributes:
        tool_use_id: Joins it with its start.
        tool_name: Which tool, where the source says so.
        error_type: Why it failed.
        outcome: Why it was not carried out, or not to its end, where it has not failed.
        by_person: A person was asked before, and has answered.
        duration_ns: Its own time without waiting for a permission, where the source says so.
        began_ns: When it really began to run, where the source says so; 0 where it does not.
        exit_code: Of the command that it ran: no outcome of the call, which may have done its work.
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
    began_ns: int = 0
    exit_code: int | None = None
    agent: str = ""
    background: bool = False
    run: str = ""


@fact
class ToolCut(Fact):
    """A tool call got no answer and will get none: what it was part of has ended.

    Attributes:
        tool_use_id: Which call.
        reason: Why it is unfinished.
    """

    tool_use_id: str
    reason: str


@fact
class PermissionAsked(Fact):
    """A tool call waits for a permission.

    Attributes:
        tool_use_id: Which call, where the source says so.
        tool_name: Which tool.
        input_digest: See `ToolStarted`.
    """

    tool_use_id: str = ""
    tool_name: str = ""
    input_digest: int = 0


@fact
class InputAsked(Fact):
    """A user is asked for input, or has answered.

    Attributes:
        input_id: Joins the two.
        answered: Which of the two.
    """

    input_id: str
    answered: bool


@fact
class AgentStarted(Fact):
    """The first sign of a sub-agent; `agent_id` is its own.

    Attributes:
        agent_type: Its type, where known.
        tool_use_id: The call that started it, where known.
        task_digest: See `ToolStarted`.
        run: The run of several sub-agents that it is one of.
        helper: No call has started it, but the host itself.
    """

    agent_type: str = ""
    tool_use_id: str = ""
    task_digest: str = ""
    run: str = ""
    helper: bool = False


@fact
class AgentWorked(Fact):
    """A sub-agent asked its model, or was answered; `agent_id` is its own."""


@fact
class AgentEnded(Fact):
    """A sub-agent is done; `agent_id` is its own.

    Attributes:
        error_type: Why it failed.
        noticed: A notice to its session said so; the sub-agent may have ended before that.
    """

    error_type: str | None = None
    noticed: bool = False
