"""Any command as one operation: `orchwatch run -- COMMAND`.

The command inherits stdin, stdout, stderr, the process group and with it the terminal. A signal
that the terminal sends (Ctrl-C, Ctrl-Z, a resize) reaches the command by itself; one that was
sent to this process alone is passed on. `siginfo_t.si_code` distinguishes them, see sigaction(2).
"""

from __future__ import annotations

import errno
import os
import sys

from orchwatch import semconv
from orchwatch.errors import OrchwatchError
from orchwatch.integrations import activation
from orchwatch.recording import in_flight, losses
from orchwatch.recording.operation import operation
from orchwatch.recording.propagation import child_environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence
else:
    # The same without enumerations, whose import is a third of what wrapping a command costs.
    import _signal as signal

# What a shell reports for a command that it found but could not execute, and did not find.
EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127

# The exit code by which a hook blocks. It has then done its work and not failed.
EXIT_HOOK_BLOCKS = 2

_PASSED_ON = frozenset(
    (
        signal.SIGALRM,
        signal.SIGCONT,
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGTSTP,
        signal.SIGTTIN,
        signal.SIGTTOU,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGWINCH,
    )
)
_WATCHED = _PASSED_ON | {signal.SIGCHLD}
# Python ignores these for itself, and a child would inherit that.
_RESET_IN_CHILD = (signal.SIGPIPE, signal.SIGXFSZ)


class CommandNotStartedError(OrchwatchError):
    """The command could not be started; `exit_code` is what a shell would report."""

    def __init__(self, command: str, cause: OSError) -> None:
        missing = cause.errno in (errno.ENOENT, errno.ENOTDIR)
        reason = "command not found" if missing else cause.strerror
        super().__init__(f"{command or repr(command)}: {reason}")
        self.exit_code = EXIT_NOT_FOUND if missing else EXIT_NOT_EXECUTABLE


def run(
    command: Sequence[str],
    *,
    operation_name: str = semconv.COMMAND_RUN,
    attributes: Mapping[str, str] | None = None,
) -> int:
    """Runs the command to its end as one operation.

    The span says how it ended: `process.exit.code`, and for a failure `error.type`, the exit code
    or the signal's name. A hook that blocks has not failed: its `orchestration.hook.outcome` says
    so. The command's arguments are content and stay out of it.

    Args:
        command: The command and its arguments.
        operation_name: The operation to record it as.
        attributes: Further attributes of its span.

    Returns:
        Its exit code, or the negative number of the signal that ended it.

    Raises:
        CommandNotStartedError: It does not exist or is not executable.
    """
    executable_name = os.path.basename(command[0])
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    # Were SIGCHLD ignored, the kernel would reap the command, and its exit status would be lost.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        with operation(
            operation_name, {**(attributes or {}), semconv.PROCESS_EXECUTABLE_NAME: executable_name}
        ) as span:
            try:
                environ = child_environment()
                watching = activation.environment(environ)
                pid = _start(command, watching, mask)
            except CommandNotStartedError as error:
                span.set_attribute(semconv.PROCESS_EXIT_CODE, error.exit_code)
                span.fail(str(error.exit_code))
                raise
            outcome = _wait(pid)
            if outcome >= 0:
                span.set_attribute(semconv.PROCESS_EXIT_CODE, outcome)
            if outcome < 0:
                in_flight.note_of(pid, _signal_name(-outcome))
            if operation_name == semconv.HOOK_PROCESS:
                span.set_attribute(semconv.HOOK_OUTCOME, _hook_outcome(outcome))
            if outcome and not _has_blocked(operation_name, outcome):
                span.fail(str(outcome) if outcome > 0 else _signal_name(-outcome))
        if watching is not environ and activation.SINCE_VARIABLE not in environ:
            _say_what_was_never_called(watching)
    finally:
        # What still waits was meant for the command, which is gone.
        while signal.sigtimedwait(_WATCHED, 0):
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return outcome


def _say_what_was_never_called(watching: Mapping[str, str]) -> None:
    from orchwatch.integrations import record  # noqa: PLC0415 - only where something is watched

    for line in record.never_called(int(watching[activation.SINCE_VARIABLE])):
        sys.stderr.write(f"orchwatch: {line}\n")


def _has_blocked(operation_name: str, outcome: int) -> bool:
    # Source: Claude Code, hooks reference: exit code 2 objects to what is about to happen.
    return operation_name == semconv.HOOK_PROCESS and outcome == EXIT_HOOK_BLOCKS


def _hook_outcome(outcome: int) -> str:
    if outcome == EXIT_HOOK_BLOCKS:
        return semconv.HOOK_BLOCKED
    return "failed" if outcome else "ok"


def end_like(outcome: int) -> int:
    """Ends this process by the signal that ended the command, so that a shell sees the same.

    Args:
        outcome: As `run` returns it.

    Returns:
        The exit code to end with, where the command ended without a signal.
    """
    if outcome >= 0:
        return outcome
    import resource  # noqa: PLC0415 - only here

    number = -outcome
    losses.flush()  # a signal runs no exit handlers
    # The command has dumped its core already, this process' own would only replace it.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (number,))
    os.kill(os.getpid(), number)
    # Only reached as process 1 of a container, which no signal ends.
    return 128 + number


def _start(command: Sequence[str], environ: Mapping[str, str], mask: set[int]) -> int:
    try:
        try:
            if not command[0]:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            return _spawn(command, environ, mask)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            # A script without a #! line: a shell runs it itself, and so does execvp(3).
            import shutil  # noqa: PLC0415 - slow, and rarely needed

            script = shutil.which(command[0]) or command[0]
            return _spawn(("/bin/sh", script, *command[1:]), environ, mask)
    except OSError as error:
        raise CommandNotStartedError(command[0], error) from None


def _spawn(words: Sequence[str], environ: Mapping[str, str], mask: set[int]) -> int:
    return os.posix_spawnp(
        words[0], tuple(words), environ, setsigmask=mask, setsigdef=_RESET_IN_CHILD
    )


def _wait(pid: int) -> int:
    while True:
        info = signal.sigwaitinfo(_WATCHED)
        if info.si_signo == signal.SIGCHLD:
            outcome = _follow(pid)
            if outcome is not None:
                return outcome
        elif info.si_code <= 0:
            os.kill(pid, info.si_signo)


def _follow(pid: int) -> int | None:
    """Returns how the command ended, None while it has not; stops when job control stopped it.

    A SIGSTOP is not job control: its sender will continue the command only.
    """
    while state := os.waitid(os.P_PID, pid, os.WEXITED | os.WSTOPPED | os.WNOHANG):
        if state.si_code == os.CLD_EXITED:
            return state.si_status
        if state.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
            return -state.si_status
        if state.si_status != signal.SIGSTOP:
            _stop_like(state.si_status)
    return None


def _stop_like(number: int) -> None:
    # Raised while blocked, so that it becomes one with the terminal's own where both are pending:
    # two would need two `fg`.
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (number,))
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)


def _signal_name(number: int) -> str:
    from signal import Signals  # noqa: PLC0415 - slow, and needed only where a signal ended it

    try:
        return Signals(number).name
    except ValueError:
        return f"SIG{number}"
