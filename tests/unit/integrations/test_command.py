from __future__ import annotations

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.recording import losses

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Spans = Callable[[], list[dict[str, Any]]]

pytestmark = pytest.mark.usefixtures("home")

RUN = [sys.executable, "-m", "orchwatch.cli", "run", "--"]

# Says when it is ready, then prints each signal it gets; SIGUSR1 ends it.
WITNESS = r"""
import os, signal, sys

def note(number, frame):
    # A handler must not print: it may interrupt the very print that says "ready".
    os.write(1, signal.Signals(number).name.encode() + b"\n")
    if number == signal.SIGUSR1:
        sys.exit(0)

for name in sys.argv[1].split(","):
    signal.signal(getattr(signal, name), note)
os.write(1, b"ready\n")
while True:
    signal.pause()
"""


def run(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RUN, *words], check=False, capture_output=True, text=True, timeout=240, **options
    )


@pytest.mark.parametrize(
    ("script", "outcome", "status", "error_type"),
    [("exit 0", "ok", 1, None), ("exit 2", "blocked", 1, None), ("exit 1", "failed", 2, "1")],
)
def test_a_hook_that_blocks_has_not_failed(
    spans: Spans, script: str, outcome: str, status: int, error_type: str | None
) -> None:
    command = [*RUN[:-1], "--operation", "hook.process", "--", "sh", "-c", script]
    ended = subprocess.run(command, check=False, timeout=240)
    (span,) = spans()
    assert ended.returncode == int(script[-1])
    assert span["attributes"]["orchestration.hook.outcome"] == outcome
    assert span["status"] == {"code": status}
    assert span["attributes"].get("error.type") == error_type


def test_the_command_keeps_its_exit_code_and_the_span_records_it(spans: Spans) -> None:
    assert run("sh", "-c", "exit 7").returncode == 7
    (span,) = spans()
    assert span["name"] == "command.run"
    assert span["status"] == {"code": 2}
    assert span["attributes"] == {
        "orchestration.operation.name": "command.run",
        "process.executable.name": "sh",
        "process.exit.code": "7",
        "error.type": "7",
    }


def test_a_command_that_succeeds_is_an_operation_that_succeeded(spans: Spans) -> None:
    assert run("true").returncode == 0
    (span,) = spans()
    assert span["status"] == {"code": 1}
    assert "error.type" not in span["attributes"]


def test_the_commands_arguments_are_not_recorded(home: Path) -> None:
    run("sh", "-c", "true", "--password=hunter2")
    recorded = "".join(path.read_text() for path in home.rglob("*.jsonl"))
    assert "command.run" in recorded
    assert "hunter2" not in recorded


def test_standard_streams_and_further_files_are_the_commands_own(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("in", "out", "err", "nine")]
    paths[0].touch()
    redirected = 'exec 0<{} 1>{} 2>{} 9>{}; exec "$@"'.format(
        *(shlex.quote(str(path)) for path in paths)
    )
    looks = "for fd in 0 1 2 9; do readlink /proc/$$/fd/$fd; done"
    subprocess.run(["sh", "-c", redirected, "-", *RUN, "sh", "-c", looks], check=True, timeout=240)
    assert paths[1].read_text().splitlines() == list(map(str, paths))


def test_a_closed_stdin_stays_closed() -> None:
    closed = 'exec "$@" <&-'
    looks = "[ ! -e /proc/$$/fd/0 ]"
    subprocess.run(["sh", "-c", closed, "-", *RUN, "sh", "-c", looks], check=True, timeout=240)


def test_the_command_starts_with_the_signal_settings_it_would_have_had() -> None:
    looks = ["grep", "^Sig[BI]", "/proc/self/status"]
    bare = subprocess.run(looks, check=True, capture_output=True, text=True)
    assert _standard_signals(run(*looks).stdout) == _standard_signals(bare.stdout)


def _standard_signals(status: str) -> list[int]:
    # glibc's posix_spawn ignores its own two internal signals, 32 and 33, in every child.
    return [int(line.split()[1], 16) & 0x7FFFFFFF for line in status.splitlines()]


def test_the_command_and_what_it_wraps_itself_are_one_trace(spans: Spans) -> None:
    printed = run(*RUN, "sh", "-c", "echo $TRACEPARENT").stdout.strip()
    inner, outer = spans()
    assert inner["traceId"] == outer["traceId"]
    assert inner["parentSpanId"] == outer["spanId"]
    assert printed == f"00-{inner['traceId']}-{inner['spanId']}-01"


def test_a_trace_and_baggage_from_outside_go_on(spans: Spans) -> None:
    outside = {
        **os.environ,
        "TRACEPARENT": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "BAGGAGE": "session.id=s1",
    }
    assert run("sh", "-c", "echo $BAGGAGE", env=outside).stdout == "session.id=s1\n"
    (span,) = spans()
    assert span["traceId"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert span["parentSpanId"] == "00f067aa0ba902b7"
    assert span["attributes"]["session.id"] == "s1"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGINT", "SIGSEGV", "SIGPIPE"])
def test_it_ends_by_the_signal_that_ended_the_command(spans: Spans, name: str) -> None:
    ended = run("sh", "-c", f"kill -s {name[3:]} $$")
    assert -ended.returncode == getattr(signal, name)
    assert ended.stderr == ""
    (span,) = spans()
    assert span["attributes"]["error.type"] == name
    assert "process.exit.code" not in span["attributes"]


@pytest.mark.parametrize(
    "name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR2", "SIGWINCH", "SIGALRM", "SIGCONT"]
)
def test_a_signal_sent_to_it_alone_reaches_the_command(name: str) -> None:
    with subprocess.Popen(
        [*RUN, sys.executable, "-c", WITNESS, f"{name},SIGUSR1"], stdout=subprocess.PIPE, text=True
    ) as wrapper:
        assert wrapper.stdout is not None
        assert wrapper.stdout.readline() == "ready\n"
        for number in (getattr(signal, name), signal.SIGUSR1):
            wrapper.send_signal(number)
            assert wrapper.stdout.readline() == f"{signal.Signals(number).name}\n"
    assert wrapper.returncode == 0


class Terminal:
    """A process that leads a session on a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.execvp(words[0], words)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def expect(self, pattern: str) -> str:
        """Reads on until the pattern occurs, and takes everything up to its end."""
        deadline = time.monotonic() + 30
        while not (match := re.search(pattern, self.seen)):
            readable, _, _ = select.select([self._terminal], [], [], deadline - time.monotonic())
            assert readable, f"{pattern!r} is not in {self.seen!r}"
            self.seen += os.read(self._terminal, 4096).decode()
        self.seen = self.seen[match.end() :]
        return match.string[: match.end()]

    def close(self) -> int:
        """Waits for the end and returns the wait status; before, closing would be a hang-up."""
        status = os.waitpid(self.pid, 0)[1]
        os.close(self._terminal)
        return status


def test_ctrl_c_reaches_the_command_once(spans: Spans) -> None:
    terminal = Terminal(*RUN, sys.executable, "-c", WITNESS, "SIGINT,SIGUSR1")
    terminal.expect("ready\r\n")
    terminal.type("\x03")
    terminal.expect("SIGINT\r\n")
    # Pending signals are taken in the order of their numbers, so that a second SIGINT would have
    # been passed on before this one.
    os.kill(terminal.pid, signal.SIGUSR1)
    assert terminal.expect("SIGUSR1\r\n") == "SIGUSR1\r\n"
    assert terminal.close() == 0
    assert len(spans()) == 1


def test_ctrl_c_ends_both_as_it_would_end_the_command_alone(spans: Spans) -> None:
    terminal = Terminal(*RUN, "sh", "-c", "echo ready; exec cat")
    terminal.expect("ready\r\n")
    terminal.type("\x03")
    assert os.WTERMSIG(terminal.close()) == signal.SIGINT
    (span,) = spans()
    assert span["attributes"]["error.type"] == "SIGINT"


def test_a_shell_stops_and_continues_it_like_any_job(spans: Spans) -> None:
    shell = Terminal("env", "TERM=dumb", "PS1=$ ", "bash", "--norc", "--noprofile", "-i")
    shell.expect(r"\$ ")
    shell.type(f"{' '.join(RUN)} sh -c 'echo ready; exec cat'\n")
    shell.expect("\nready\r\n")
    shell.type("one\n")
    shell.expect("one\r\none\r\n")
    shell.type("\x1a")
    shell.expect(r"Stopped.*\s+\$ ")
    shell.type("fg\n")
    shell.expect("exec cat'\r\n")
    shell.type("two\n")
    shell.expect("two\r\ntwo\r\n")
    shell.type("\x04")
    shell.expect(r"\$ ")
    shell.type("echo exit=$?\n")
    shell.expect("exit=0")
    shell.type("exit\n")
    shell.close()
    assert len(spans()) == 1


def test_a_command_without_a_name_does_not_exist() -> None:
    ended = run("")
    assert ended.returncode == 127
    assert ended.stderr == "orchwatch: '': command not found\n"


def test_a_command_that_does_not_exist_is_one_line_and_127(spans: Spans) -> None:
    ended = run("no-such-command")
    assert ended.returncode == 127
    assert ended.stderr == "orchwatch: no-such-command: command not found\n"
    (span,) = spans()
    assert span["attributes"]["error.type"] == "127"


def test_a_file_that_is_not_executable_is_one_line_and_126(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.touch(mode=0o600)
    ended = run(str(file))
    assert ended.returncode == 126
    assert ended.stderr == f"orchwatch: {file}: Permission denied\n"


def test_a_script_without_an_interpreter_line_runs_in_a_shell(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('echo "$1"\n')
    script.chmod(0o700)
    assert run(str(script), "a b").stdout == "a b\n"


def test_a_home_that_cannot_be_written_is_counted_and_the_command_does_not_notice(
    home: Path,
) -> None:
    home.write_text("a file where the directory should be")
    ended = run("sh", "-c", "echo out; echo err >&2; exit 3")
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "out\n", "err\n")
    assert losses.read() == {"spool_unwritable": 1}


def test_a_loss_is_counted_even_when_a_signal_ends_it(home: Path) -> None:
    home.write_text("a file where the directory should be")
    run("sh", "-c", "kill -9 $$")
    assert losses.read() == {"spool_unwritable": 1}


def test_wrapping_loads_nothing_beyond_the_standard_library() -> None:
    code = "from orchwatch.cli.main import main; main(['run', '--', 'true'])"
    wrapped = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        check=True,
        capture_output=True,
        text=True,
        timeout=240,
    )
    bare = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "pass"],
        check=True,
        capture_output=True,
        text=True,
        timeout=240,
    )
    added = _imported(wrapped.stderr) - _imported(bare.stderr)
    assert {name.partition(".")[0] for name in added} <= {"orchwatch", *sys.stdlib_module_names}
    assert not added & {"argparse", "enum", "typing", "pathlib", "json", "subprocess", "logging"}


def _imported(importtime: str) -> set[str]:
    return {line.rpartition("|")[2].strip() for line in importtime.splitlines() if "|" in line}
