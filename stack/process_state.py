"""Which processes of a stack run, and on which ports: `$ORCHWATCH_HOME/stack/state.json`."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from build import StackError
from package import files
from ports import Ports

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Process:
    """One started process; `started` distinguishes it from a later one with the same pid."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this pid now, or None if there is none.

        A zombie is none, unless it has threads that have yet to end: those keep locks and ports.
        """
        try:
            stat = files.read(f"/proc/{pid}/stat", _MAX_BYTES).decode()
        except OSError:
            return None
        # Behind the command's name, which may hold anything: field 3 is the state, 20 how many
        # threads there are, 22 the start.
        fields = stat.rpartition(")")[2].split()
        boot = files.read("/proc/sys/kernel/random/boot_id", _MAX_BYTES).decode().strip()
        if fields[0] == "Z" and int(fields[17]) <= 1:
            return None
        return cls(pid=pid, started=f"{fields[19]}@{boot}")

    def is_alive(self) -> bool:
        """Whether this very process still runs."""
        return Process.of(self.pid) == self


def _state_file(home: Path) -> Path:
    return home / "stack" / "state.json"


def read_state(home: Path) -> tuple[Ports, dict[str, Process]] | None:
    """The ports and processes of the last start, or None if there was none.

    Raises:
        StackError: The file is broken; whether servers run is then for a person to see.
    """
    file = _state_file(home)
    try:
        state = json.loads(files.read(file, _MAX_BYTES))
        processes = {name: Process(**found) for name, found in state["processes"].items()}
        return Ports(**state["ports"]), processes
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise StackError(
            f"{file} is broken: end the servers that it named if they still run, then remove it"
        ) from error


def write_state(home: Path, ports: Ports, processes: Mapping[str, Process]) -> None:
    """Write down the ports and processes of a start, whole or not at all."""
    found = {name: dataclasses.asdict(process) for name, process in processes.items()}
    whole = _state_file(home).with_suffix(".tmp")
    file = files.create(whole)
    try:
        state = json.dumps({"ports": ports.numbers(), "processes": found})
        files.write_all(file, state.encode())
    finally:
        os.close(file)
    whole.replace(_state_file(home))
