"""The outcome for each watched callable of this process: reported at once, at exit, and recorded.

A problem is one warning, by the first process of a run that meets it. What was never called at all
is known when the program ends: `orchwatch run` reports it then, or the process itself where it was
not started by `orchwatch run`.
"""

from __future__ import annotations

import atexit
import os
import sys
import time

from orchwatch.integrations import record, shim
from orchwatch.integrations.activation import SINCE_VARIABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchwatch.integrations.shim import Watch

_SCRIPT_SUFFIXES = ("", ".py")
_MAX_DIRECTORIES = 2_000
_SKIPPED = frozenset(("node_modules", "__pycache__", ".git", ".venv", "venv", "site-packages"))

_watches: Mapping[str, Watch] = {}
_waiting: Mapping[str, Watch] = {}
_reporter_pid = 0


def warn(message: str) -> None:
    """One line on standard error, or wherever the program has its log."""
    import logging  # noqa: PLC0415 - slow, and most programs never need it

    logging.getLogger("orchwatch").warning("orchwatch: %s", message)


def first_call(watch: Watch) -> None:
    """Remembers that a callable is called; at once, as the process may be killed."""
    record.note({watch.target: (record.CALLED, "")})


def problem(watch: Watch, reason: str) -> None:
    """Says why a callable is not watched, unless another process of the same run has."""
    watch.state = shim.PROBLEM
    text = f"cannot be watched as {watch.operation_name}: {reason}"
    known = record.note({watch.target: (record.PROBLEM, text)}) or {}
    entry = record.find(known, watch.target)
    if entry is None or entry.text != text or entry.seen_ns < _since_ns():
        warn(f"{watch.target} {text}")


def report_at_exit(watches: Mapping[str, Watch], waiting: Mapping[str, Watch]) -> None:
    """Registers an exit handler that records what was not called.

    Args:
        watches: All that this process watches, by target; read at exit.
        waiting: Those of them whose module was not imported; read at exit, too.
    """
    global _reporter_pid, _waiting, _watches  # noqa: PLW0603 - a process ends once
    _watches, _waiting = watches, waiting
    if SINCE_VARIABLE not in os.environ:
        os.environ[SINCE_VARIABLE] = str(time.time_ns())
        _reporter_pid = os.getpid()
    atexit.unregister(_note_at_exit)
    atexit.register(_note_at_exit)


def _since_ns() -> int:
    since = os.environ.get(SINCE_VARIABLE, "")
    return int(since) if since.isdecimal() else 0


def _note_at_exit() -> None:
    known = record.read()
    found = {}
    for target, watch in _watches.items():
        entry = record.find(known, target)
        if watch.called:
            if entry is None or not entry.called_ns:  # it could not be noted then
                found[target] = (record.CALLED, "")
        elif watch.state != shim.PROBLEM and (entry is None or not entry.called_ns):
            found[target] = _uncalled(watch, entry)
    if found:
        record.note(found)
    if _reporter_pid == os.getpid():
        for line in record.never_called(_since_ns()):
            if line.partition(" ")[0] in _watches:
                warn(line)


def _uncalled(watch: Watch, entry: record.Entry | None) -> tuple[str, str]:
    name = watch.module_name
    if watch.state == shim.DEFINED:
        return record.UNCALLED, f"is watched as {watch.operation_name}, and was never called"
    if (entry is not None and entry.state != record.ABSENT) or _exists(name):
        return record.UNIMPORTED, f"was never called: no program needed {name}"
    return record.ABSENT, (
        f"cannot be watched as {watch.operation_name}: there is no module or script {name!r}"
    )


def _exists(name: str) -> bool:
    """Whether there may be a module or a script of that name, importing nothing to find out."""
    if name in sys.modules:
        return True
    from importlib.machinery import PathFinder  # noqa: PLC0415 - slow, and only once

    path = None
    whole = ""
    for part in name.split("."):
        whole = f"{whole}.{part}" if whole else part
        loaded = sys.modules.get(whole)
        if loaded is None:
            try:
                spec = PathFinder.find_spec(whole, path)
            except (ImportError, ValueError):
                spec = None
            if spec is None:
                break
            path = spec.submodule_search_locations
        else:
            path = getattr(loaded, "__path__", None)
    else:
        return True
    return _is_script(name)


def _is_script(name: str) -> bool:
    """Whether a script of that name lies in the project: below its configuration file."""
    from orchwatch.recording.home import user_file  # noqa: PLC0415 - as above

    top = os.path.dirname(os.path.abspath(user_file() or "orchwatch.toml"))
    ends = {
        f"/{way}{suffix}" for way in (name, name.replace(".", "/")) for suffix in _SCRIPT_SUFFIXES
    }
    directories = [top]
    for number, directory in enumerate(directories):
        if number >= _MAX_DIRECTORIES:
            return True  # not known
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name not in _SKIPPED:
                            directories.append(entry.path)
                    elif any(entry.path.endswith(end) for end in ends):
                        return True
        except OSError:
            continue
    return False
