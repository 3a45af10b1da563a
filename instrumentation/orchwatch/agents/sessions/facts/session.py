"""The session itself, its turns, hooks and tasks."""

from __future__ import annotations

from orchwatch.agents.sessions.facts.base import Fact, fact


@fact
class SessionStarted(Fact):
    """Claude Code was started for this session: a hook knows the process, a file says so itself."""


@fact
class SessionReady(Fact):
    """Claude Code could be asked for something."""


@fact
class ProjectSeen(Fact):
    """The session works on a project, and has done so since its source began.

    Attributes:
        project: Its name, which is the last part of the session's directory; empty where that says
            nothing.
    """

    project: str


@fact
class ProviderSeen(Fact):
    """The session asks the models of someone.

    Attributes:
        provider: Who, as `gen_ai.provider.name`.
    """

    provider: str


@fact
class SessionEnded(Fact):
    """The session is over.

    Attributes:
        reason: Why.
    """

    reason: str = ""


@fact
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


@fact
class PromptCopied(Fact):
    """A prompt turned out to be a copy: what follows it was answered elsewhere before.

    Attributes:
        record_id: The prompt's own id.
    """

    record_id: str


@fact
class TurnEnded(Fact):
    """The model stopped, or was stopped.

    Attributes:
        error_type: Why the turn failed.
        reason: Why it was left unfinished.
        first_ns: After how long the first part of an answer came, where the source says so.
    """

    error_type: str | None = None
    reason: str | None = None
    first_ns: int | None = None


@fact
class TurnOver(Fact):
    """Nothing that comes later in the file belongs to the turn any more.

    Attributes:
        reason: Why it was left unfinished, if its end was not recorded.
        paused_ns: How long of it the host waited for a person, where the source says so.
    """

    reason: str = ""
    paused_ns: int = 0


@fact
class ProcessEnded(Fact):
    """Claude Code itself ended; the session may be resumed later."""


@fact
class ClientLost(Fact):
    """Claude Code's process is gone, and all that it wrote was read; the fact has no time."""


@fact
class Activity(Fact):
    """A sign of life.

    Attributes:
        last: 2 when the model said that it is done, 1 when its message asks for no tool, else 0.
    """

    last: int = 0


@fact
class HookRan(Fact):
    """A hook ran; `time_ns` is its start.

    Attributes:
        record_id: The record's own id.
        event: The event that it hangs on.
        name: Claude Code's name of it: event and what it matched.
        plugin: The plugin that it is of, where that is known.
        end_ns: When it was done, where that is recorded.
        error_type: Why it failed.
        blocked: Whether it objected, which is no failure.
        tool_use_id: The tool call that it hangs on.
        of_call: Whether the file holds that call.
    """

    record_id: str
    event: str
    name: str
    plugin: str = ""
    end_ns: int | None = None
    error_type: str | None = None
    blocked: bool = False
    tool_use_id: str = ""
    of_call: bool = True


@fact
class TaskChanged(Fact):
    """A task of the session's list was created or completed.

    Attributes:
        task_id: Its number in that list.
        completed: Which of the two.
    """

    task_id: str
    completed: bool
