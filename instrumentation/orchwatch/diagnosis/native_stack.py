"""The state file of the stack that `make up` started; see stack/native.py."""

from __future__ import annotations

import json
import os
from pathlib import Path

from orchwatch.recording import files
from orchwatch.recording.home import home

_MAX_BYTES = 1024 * 1024
# Of an installed package this is some directory without a stack.
_CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
_PROC_BYTES = 64 * 1024


def find() -> tuple[dict[str, int], dict[str, str]]:
    """The ports that it chose, and the version of each of its servers that still runs."""
    try:
        state = json.loads(files.read(f"{home()}/stack/state.json", _MAX_BYTES))
        versions = {
            component: _built_version(component, process["pid"])
            for component, process in state["processes"].items()
            if _runs(process["pid"], process["started"])
        }
        return (state["ports"] if versions else {}), versions
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}, {}


def start() -> str:
    """What a person does to start the servers: the command that there is where they are."""
    if all(os.path.exists(os.path.join(_CHECKOUT, name)) for name in ("Makefile", "stack")):
        return "make up"
    return "docker compose up (orchwatch generate --output DIR writes its files)"


def log(title: str) -> str:
    """Where a server of it writes what it has to say."""
    return str(Path(home()) / "stack" / f"{title.lower()}.log")


def _runs(pid: int, started: str) -> bool:
    """Whether that very process runs: `started` is its start in clock ticks, `@` and the boot."""
    try:
        stat = files.read(f"/proc/{pid}/stat", _PROC_BYTES).decode()
        boot = files.read("/proc/sys/kernel/random/boot_id", _PROC_BYTES).decode().strip()
    except OSError:
        return False
    # Behind the command's name, which may hold anything: field 3 is the state, 22 the start.
    fields = stat.rpartition(")")[2].split()
    return fields[0] != "Z" and f"{fields[19]}@{boot}" == started


def _built_version(component: str, pid: int) -> str:
    """The version that `make stack` built: `<component>-<version>-<hash>/bin/<name>` runs."""
    directory = Path(f"/proc/{pid}/exe").readlink().parent.parent.name
    return directory.removeprefix(f"{component}-").rpartition("-")[0]
