"""Run the stack's servers on loopback, with the configs that docker compose mounts.

`python3 stack/native.py up|down|status`. Data and logs lie under `$ORCHWATCH_HOME/stack/`, the
spool that the Collector follows is `$ORCHWATCH_HOME/spool/`; `ports.py` has the ports.

`up` starts the monitor process too, from the environment in `.venv`, unless one runs already.

Linux only: processes are identified by `/proc`.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import socket
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import launch
from build import EXIT_INTERRUPTED, SERVERS, StackError, binaries
from launch import COMPONENTS, MONITOR
from layout import USER, Layout, default_home
from package import files, say
from ports import HOST, Ports, variable_of
from process_state import Process, read_state, write_state

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ("COMPONENTS", "HOST", "MONITOR", "Ports", "Stack")

_READY_TIMEOUT_S: Final = 60.0
# So long may one that runs keep a question waiting before it is taken to hang.
_HUNG_AFTER_S: Final = 10.0
# Tempo may wait for its own queue forever after SIGTERM; its memory is on disk long before this.
_STOP_GRACE_S: Final = 3.0
_KILL_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.05


class Stack(Layout):
    """The servers over one home directory; the arguments are `Layout`'s."""

    def __init__(self, home: Path, ports: Ports) -> None:
        super().__init__(home, ports)
        # Only this object's own children: they are waited for, or they would stay zombies.
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._interruptible = True
        self._interrupted = False

    @classmethod
    def at(cls, home: Path) -> Stack:
        """The stack of a home: on the ports it runs on, else on those of the environment."""
        state = read_state(home)
        running = state is not None and any(found.is_alive() for found in state[1].values())
        return cls(home, state[0] if state and running else Ports.from_environment())

    def running(self) -> dict[str, int]:
        """The pids of the components that run, by name."""
        return {name: found.pid for name, found in self._processes().items() if found.is_alive()}

    def start(self, *, monitored: bool = False) -> list[str]:
        """Start every component that does not run or has stopped answering; wait for all of them.

        Args:
            monitored: The monitor process too, unless one follows this home already.

        Returns:
            What ran and did not answer: it was started again.

        Raises:
            StackError: A port is taken, a binary is missing, or a component did not get ready.
                Nothing that this call started is left running.
        """
        hung = self._hung()
        for name in hung:
            self.stop_component(name)
        wanted = [*COMPONENTS, MONITOR] if monitored and not self.is_monitored() else COMPONENTS
        self._start([name for name in wanted if name not in self.running()])
        return hung

    def is_monitored(self) -> bool:
        """Whether a monitor process follows this home, however it was started."""
        try:
            with files.reader(self.home / "monitor" / "lock") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def start_component(self, component: str) -> None:
        """Start one component and wait until it is ready.

        Raises:
            StackError: As for `start`.
        """
        self._start([component])

    def interrupt(self, *_: object) -> None:
        """For Ctrl-C: raise KeyboardInterrupt, but not between a start and its note."""
        self._interrupted = True
        if self._interruptible:
            raise KeyboardInterrupt

    def stop(self) -> None:
        """Stop every component: SIGTERM, a short grace, SIGKILL."""
        for name in (MONITOR, *COMPONENTS):
            self.stop_component(name)

    def stop_component(self, component: str) -> None:
        """Stop one component: SIGTERM, a short grace, SIGKILL. One that does not run is fine."""
        try:
            self.kill_component(component, signal.SIGTERM, timeout_s=_STOP_GRACE_S)
        except StackError:
            self.kill_component(component, signal.SIGKILL)

    def kill_component(
        self, component: str, number: signal.Signals, *, timeout_s: float = _KILL_TIMEOUT_S
    ) -> None:
        """Send a signal that ends a component, and wait for the end.

        Raises:
            StackError: It still runs after `timeout_s`.
        """
        process = self._processes().get(component)
        if process is None or not process.is_alive():
            return
        os.kill(process.pid, number)
        deadline = time.monotonic() + timeout_s
        while process.is_alive():
            if time.monotonic() > deadline:
                raise StackError(f"{component} still runs {timeout_s:.0f} s after {number.name}")
            time.sleep(_POLL_S)
        child = self._children.pop(component, None)
        if child is not None:
            child.wait()

    def _start(self, components: list[str]) -> None:
        paths = binaries(SERVERS)
        for component in components:
            launch.check(component, paths)
        self._refuse_taken_ports(components)
        for directory in (self.home, self.spool, *map(self.data, components)):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        launch.make_access(self)
        try:
            for component in components:
                with self._undivided():
                    child = launch.spawn(component, self, paths)
                    self._children[component] = child
                    self._remember(component, child.pid)
            for component in components:
                self._wait_until_ready(component)
        except BaseException:
            # A second Ctrl-C wants what this does.
            self._interruptible = False
            for component in components:
                self.stop_component(component)
            self._end_unremembered()
            raise

    @contextmanager
    def _undivided(self) -> Iterator[None]:
        """Lets Ctrl-C wait until this is done."""
        self._interruptible = False
        yield
        self._interruptible = True
        if self._interrupted:
            raise KeyboardInterrupt

    def _end_unremembered(self) -> None:
        """Ends what could not be recorded, on a full disk say: no one would find it again."""
        for name in set(self._children) - self._processes().keys():
            child = self._children.pop(name)
            child.kill()
            child.wait()

    def _remember(self, component: str, pid: int) -> None:
        started = Process.of(pid)
        if started is not None:
            write_state(self.home, self.ports, {**self._processes(), component: started})

    def _refuse_taken_ports(self, components: list[str]) -> None:
        for name, port in self.ports.numbers().items():
            if name.split("_")[0] not in components:
                continue
            try:
                socket.create_server((HOST, port)).close()
            except OSError as error:
                raise StackError(
                    f"port {port} cannot be used ({os.strerror(error.errno or 0)}): "
                    f"free it or set {variable_of(name)} to another"
                ) from error

    def _hung(self) -> list[str]:
        """What runs, and does not get ready while one would wait for it."""
        if not self.access.is_dir():
            # Of a version that required no password.
            return list(self.running())
        deadline = time.monotonic() + _HUNG_AFTER_S
        while True:
            silent = [name for name in self.running() if not launch.is_ready(name, self)]
            if not silent or time.monotonic() > deadline:
                return silent
            time.sleep(_POLL_S)

    def _wait_until_ready(self, component: str) -> None:
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while not launch.is_ready(component, self):
            if component not in self.running():
                raise StackError(f"{component} ended at once: see {self.log(component)}")
            if time.monotonic() > deadline:
                raise StackError(
                    f"{component} is not ready after {_READY_TIMEOUT_S:.0f} s: "
                    f"see {self.log(component)}"
                )
            time.sleep(_POLL_S)

    def _processes(self) -> dict[str, Process]:
        state = read_state(self.home)
        return {} if state is None else state[1]


def _print_addresses(stack: Stack) -> None:
    say(f"  OTLP          {stack.otlp_grpc_url} (gRPC)")
    say(f"                {stack.otlp_http_url} (HTTP, with OTEL_EXPORTER_OTLP_HEADERS as in")
    say(f"                {stack.access / 'otlp-headers'})")
    say(f"  Prometheus    {stack.prometheus_url}")
    say(f"  Alertmanager  {stack.alertmanager_url}")
    say(f"                user {USER}, password {stack.password}")
    say(f"  Tempo         {stack.tempo_url}")
    say(f"  spool         {stack.spool}")
    say(f"  monitor       {'follows' if stack.is_monitored() else 'does not run'}")
    if launch.links_elsewhere(stack):
        say("  alerts link to another Prometheus: docs/stack.md says at its ports what to set")


def _up(stack: Stack) -> int:
    complete = stack.is_monitored() and set(COMPONENTS) <= stack.running().keys()
    started = time.monotonic()
    try:
        hung = stack.start(monitored=True)
    except KeyboardInterrupt:
        say("interrupted: what had been started is stopped again", file=sys.stderr)
        return EXIT_INTERRUPTED
    if hung:
        say(f"Did not answer, and so started again: {', '.join(hung)}")
    if complete and not hung:
        say("The stack is running already:")
    else:
        say(f"The stack is up ({time.monotonic() - started:.1f} s):")
    _print_addresses(stack)
    return 0


def _down(stack: Stack) -> int:
    running = stack.running()
    stack.stop()
    say(f"Stopped: {', '.join(running)}" if running else "The stack is not running.")
    return 0


def _status(stack: Stack) -> int:
    running = stack.running()
    for component in (*COMPONENTS, MONITOR):
        pid = running.get(component)
        say(f"{component:<14}{'stopped' if pid is None else f'running (pid {pid})'}")
    if running:
        _print_addresses(stack)
    return 0 if set(COMPONENTS) <= running.keys() else 3


def _obey(home: Path) -> int:
    commands = {"up": _up, "down": _down, "status": _status}
    parser = argparse.ArgumentParser(description="Run the local stack natively on loopback.")
    parser.add_argument("command", choices=commands)
    command = commands[parser.parse_args().command]
    for directory in (home, home / "stack"):  # parents=True alone would make them 0755
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = files.descriptor(home / "stack" / "lock", os.O_RDWR | os.O_CREAT, links=False)
    try:
        # Two at once would start everything twice.
        fcntl.flock(lock, fcntl.LOCK_EX)
        stack = Stack.at(home)
        signal.signal(signal.SIGINT, stack.interrupt)
        return command(stack)
    finally:
        os.close(lock)


def main() -> int:
    """Obey the command line; errors are one line on stderr; 1, or 130 for Ctrl-C."""
    home = default_home()
    try:
        return _obey(home)
    except StackError as error:
        say(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        # A full disk names no file.
        say(f"error: {error.filename or home}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
