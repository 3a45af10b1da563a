"""What works and what does not, each with its remedy."""

from __future__ import annotations

import difflib
import fcntl
import os
import platform
import shutil
import stat
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from orchwatch.agents.claude_code.settings import locations
from orchwatch.analysis import project
from orchwatch.diagnosis import native_stack, spool_backlog
from orchwatch.diagnosis.agent_checks import check_agents
from orchwatch.diagnosis.check import Check
from orchwatch.diagnosis.extras import check_extras
from orchwatch.diagnosis.sdk_file import check_sdk_file
from orchwatch.diagnosis.secret_checks import check_secrets
from orchwatch.diagnosis.server_checks import check_servers
from orchwatch.diagnosis.servers import VISIBLE_AFTER_S
from orchwatch.diagnosis.spool_health import (
    check_retention,
    check_spool,
    check_store,
    newest_operation,
)
from orchwatch.diagnosis.watched import check_watched
from orchwatch.errors import OrchwatchError
from orchwatch.integrations.callables import configured
from orchwatch.recording import files, losses, spool
from orchwatch.recording.home import DIRECTORY_MODE, FILE_MODE, home, spool_directory
from orchwatch.targets import config, target_table
from orchwatch.units import counted, size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchwatch.diagnosis.spool_health import NewestOperation

# How similar two names are that differ by a typo: 1 is equal.
_SIMILAR_NAMES = 0.85


def examine() -> list[Check]:
    """Runs all checks; a server that does not answer takes a second at most."""
    return [
        *_check_environment(),
        *_check_configuration(),
        *check_sdk_file(),
        *check_watched(),
        *_check_home(),
        *check_secrets(),
        *_check_claude_directory(),
        *check_spool(),
        *check_store(),
        *check_retention(),
        *spool_backlog.check_backlog(),
        *check_agents(),
        *_check_losses(),
        *_check_project(),
        *check_servers(_judged_by()),
        *_check_monitor(),
    ]


def _judged_by() -> NewestOperation | None:
    """The operation that the servers should hold by now; the newest where all are too young."""
    # On a busy system the newest is always on its way.
    return newest_operation(time.time() - VISIBLE_AFTER_S) or newest_operation()


def _check_monitor() -> Iterator[Check]:
    """Nothing where neither the monitor nor a stack that sends it alerts runs."""
    _, stack = native_stack.find()
    if _is_held(Path(home()) / "monitor" / "lock"):
        yield Check(name="monitor", state="ok", found="follows this home")
    elif stack:
        yield Check(
            name="monitor",
            state="warn",
            found="does not run: alerts reach no event stream, and no session is followed",
            remedy=f"{native_stack.start()} starts it, or orchwatch monitor",
        )


def _is_held(lock: Path) -> bool:
    try:
        with files.reader(lock) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _check_environment() -> Iterator[Check]:
    yield Check(
        name="python", state="ok", found=f"{platform.python_version()} on {platform.platform()}"
    )
    try:
        yield Check(name="orchwatch", state="ok", found=f"version {metadata.version('orchwatch')}")
    except metadata.PackageNotFoundError:
        yield Check(
            name="orchwatch",
            state="warn",
            found="imported from a directory, not installed: its entry points are not found",
            remedy="pip install orchwatch",
        )
        return
    yield from check_extras()


def _check_configuration() -> Iterator[Check]:
    try:
        user = config.load()
        table = target_table.load(user)
        callables = configured()
    except OrchwatchError as error:
        yield Check(
            name="configuration", state="fail", found=str(error), remedy="correct that line"
        )
        return
    rows = counted(sum(len(changed) for changed in user.targets.values()), "row")
    where = f"{user.file} changes {rows}" if user.file else "no orchwatch.toml"
    yield Check(
        name="configuration",
        state="ok",
        found=f"{where}; {len(table.operations)} operations and {len(table.levels)} levels have"
        f" targets; callables that are watched: {len(callables)}",
    )
    yield from _check_spelling(user)


def _check_spelling(user: config.Config) -> Iterator[Check]:
    """A misspelt row adds a new one, and leaves the intended one unchanged."""
    shipped = target_table.shipped()
    for table, rows in user.targets.items():
        for row_id in sorted(rows.keys() - shipped[table].keys()):
            similar = difflib.get_close_matches(row_id, shipped[table], n=1, cutoff=_SIMILAR_NAMES)
            if similar:
                yield Check(
                    name="configuration",
                    state="warn",
                    found=f"{user.file} adds {row_id}; did you mean {similar[0]}?",
                    remedy="correct the name; ignore this if it is a different operation",
                )


def _check_home() -> Iterator[Check]:
    directory = Path(home())
    # Unlike Path.exists, this takes what may not be looked at for what is not there.
    if not os.path.exists(directory):
        yield _check_creatable(directory)
        return
    if not directory.is_dir():
        yield Check(
            name="home",
            state="fail",
            found=f"{directory} is not a directory: nothing can be recorded",
            remedy="remove it, or point ORCHWATCH_HOME elsewhere",
        )
        return
    yield _check_rights(directory)
    yield _check_writable(directory)
    yield _check_space(directory)


def _check_creatable(directory: Path) -> Check:
    existing = next(parent for parent in directory.parents if os.path.exists(parent))
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return Check(
            name="home",
            state="unknown",
            found=f"{directory} does not exist yet; the first operation makes it",
        )
    return Check(
        name="home",
        state="fail",
        found=f"{directory} cannot be made in {existing}: nothing can be recorded",
        remedy="point ORCHWATCH_HOME to a directory that you may write",
    )


def _check_rights(directory: Path) -> Check:
    status = directory.stat()
    if status.st_uid != os.geteuid():
        return Check(
            name="home rights",
            state="fail",
            found=f"{directory} belongs to user {status.st_uid}, not to you",
            remedy=f"chown -R {os.geteuid()} {directory}, or point ORCHWATCH_HOME elsewhere",
        )
    open_to_others = [path for path in (directory, Path(spool_directory())) if _too_open(path)]
    if open_to_others:
        return Check(
            name="home rights",
            state="fail",
            found=f"others may enter {' and '.join(map(str, open_to_others))}",
            remedy=f"chmod {DIRECTORY_MODE:o} {' '.join(map(str, open_to_others))}",
        )
    files = [path for path in sorted(Path(spool_directory()).glob("*.jsonl")) if _too_open(path)]
    if files:
        return Check(
            name="home rights",
            state="warn",
            found=f"readable to others: {counted(len(files), 'segment')}, {files[0].name} for one",
            remedy=f"chmod {FILE_MODE:o} {spool_directory()}/*.jsonl",
        )
    return Check(name="home rights", state="ok", found=f"{directory} is yours alone")


def _check_claude_directory() -> Iterator[Check]:
    """Nothing where it is the user's, or not there."""
    directory = Path(os.path.dirname(locations.settings_file("user")))
    try:
        owner = directory.stat().st_uid
    except OSError:
        return
    if owner != 0 or os.geteuid() == 0:
        return
    yield Check(
        name="claude code",
        state="warn",
        found=f"{directory} belongs to root, as Docker makes it: Claude Code cannot write there",
        remedy=f"sudo chown {os.geteuid()}:{os.getegid()} {directory}",
    )


def _too_open(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
    except OSError:
        return False  # it is not there, or another check says why it cannot be looked at


def _check_writable(directory: Path) -> Check:
    for place in (directory, Path(spool_directory())):
        try:
            if place.exists():
                with tempfile.TemporaryFile(dir=place) as file:
                    file.write(b"\n")
        except OSError as error:
            return Check(
                name="home is writable",
                state="fail",
                found=f"{place}: {error.strerror}: operations are lost",
                remedy="give yourself write access and some space there, or point ORCHWATCH_HOME"
                " elsewhere",
            )
    return Check(name="home is writable", state="ok", found=f"a file could be written in {place}")


def _check_space(directory: Path) -> Check:
    free_bytes = shutil.disk_usage(directory).free
    budget_bytes = spool_backlog.budget_bytes()
    found = f"{size(free_bytes)} free for {directory}"
    if free_bytes >= budget_bytes:
        return Check(name="disk", state="ok", found=found)
    return Check(
        name="disk",
        state="fail" if free_bytes < spool.SEGMENT_BYTES else "warn",
        found=f"{found}, less than the spool's budget of {size(budget_bytes)}",
        remedy="free some space, or lower ORCHWATCH_SPOOL_BUDGET_BYTES",
    )


def _check_losses() -> Iterator[Check]:
    lost = losses.read()
    for reason, number in sorted(lost.items(), key=lambda item: -item[1]):
        meaning, remedy = losses.REASONS.get(
            reason, ("counted by another version of orchwatch", "update orchwatch")
        )
        yield Check(
            name=f"lost: {reason}", state="warn", found=f"{number} {meaning}", remedy=remedy
        )
    if not lost:
        yield Check(name="losses", state="ok", found="nothing was lost or ignored")


def _check_project() -> Iterator[Check]:
    _, notes = project.figures(Path.cwd(), Path(home()))
    for note in notes:
        yield Check(
            name="project",
            state="warn",
            found=note,
            remedy="write it anew, or set the figure with orchwatch kpi set",
        )
