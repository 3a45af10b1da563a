"""What was tried to tune the runtime, and why it was kept or undone."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from orchwatch.analysis.comparison import Change
from orchwatch.errors import OrchwatchError
from orchwatch.recording import files
from orchwatch.recording.home import DIRECTORY_MODE
from orchwatch.runtime.settings import Tuned
from orchwatch.targets.knobs import KNOBS, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from orchwatch.targets.knobs import Settings

LOG_FILE = "tuning.jsonl"
NO_GAIN = "nothing became faster beyond doubt"
_FASTER = ("improvement", "significant_improvement")

Verdict = Literal["kept", "undone", "proposed", "taken back"]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One change of one knob.

    Attributes:
        number: From 1; 0 where it is not in the log.
        at: When it was decided, ISO 8601 in UTC.
        decision: `kept`, `undone`, `proposed` where it was only tried, `taken back` by a person.
        knob: The setting.
        before: Its value before.
        after: The value that was tried; after `taken back`, what it is again.
        why: In words.
        operations: How each operation moved; empty after `taken back`.
        replaced: What `orchwatch tune` had found for the knob before.
        of: Which decision was taken back.
    """

    number: int
    at: str
    decision: Verdict
    knob: str
    before: float
    after: float
    why: str
    operations: tuple[Change, ...] = ()
    replaced: Tuned | None = None
    of: int | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it was undone for no other reason than that it did not help."""
        return self.why == NO_GAIN

    @property
    def deciding(self) -> Change | None:
        """The operation that became slower beyond doubt, else the one that gained most."""
        moved = [change for change in self.operations if change.high is not None]
        worst = [change for change in moved if change.operation in slower(moved)]
        return min(worst or moved, key=lambda change: change.high or 0.0, default=None)

    def as_json(self) -> dict[str, Any]:
        """As the log keeps it; shares that are infinite become null."""
        record = asdict(self)
        record["replaced"] = self.replaced and self.replaced._asdict()
        record["operations"] = [
            {name: value if _is_finite(value) else None for name, value in entry.items()}
            for entry in record["operations"]
        ]
        return record


@dataclass(frozen=True)
class Log:
    """All decisions that are kept.

    Attributes:
        decisions: The oldest first.
        unreadable: How many lines of the file hold none.
    """

    decisions: tuple[Decision, ...]
    unreadable: int = 0

    def in_effect(self, settings: Settings) -> list[Decision]:
        """The kept ones that make the settings what they are, the oldest first."""
        taken_back = {one.of for one in self.decisions}
        newest: dict[str, Decision] = {}
        for one in self.decisions:
            if one.decision == "kept" and one.number not in taken_back:
                newest[one.knob] = one
        now = {knob.name: knob.of(settings) for knob in KNOBS}
        found = [one for one in newest.values() if now[one.knob] == one.after]
        return sorted(found, key=lambda one: one.number)


def faster(changes: Sequence[Change]) -> set[tuple[str, str]]:
    """The operations that became faster beyond doubt, by name and component."""
    return {(change.operation, change.component) for change in changes if change.verdict in _FASTER}


def slower(changes: Sequence[Change]) -> list[str]:
    """The names of those that became slower beyond doubt, by however little, or fail more."""
    return [
        change.operation
        for change in changes
        if change.verdict == "regression" or (change.low is not None and change.low > 0)
    ]


def now() -> str:
    """This moment, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def append(home: Path, decision: Decision) -> None:
    """Adds a decision to the log, on the disk when this returns.

    Raises:
        OrchwatchError: It cannot be written.
    """
    path = home / LOG_FILE
    line = json.dumps(decision.as_json(), allow_nan=False).encode() + b"\n"
    try:
        home.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        file = files.descriptor(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, links=False)
        try:
            size = os.fstat(file).st_size
            torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
            files.write_all(file, b"\n" + line if torn else line)
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        raise OrchwatchError(f"{path}: cannot be written: {error.strerror}") from error


def read(home: Path) -> Log:
    """All decisions; none where there is no file.

    Raises:
        OrchwatchError: The file cannot be read.
    """
    path = home / LOG_FILE
    try:
        with files.reader(path, links=False) as file:
            lines = [line for line in files.lines(file) if line.strip()]
    except FileNotFoundError:
        return Log(())
    except OSError as error:
        raise OrchwatchError(f"{path}: cannot be read: {error.strerror}") from error
    decisions = tuple(_parsed(lines))
    return Log(decisions, len(lines) - len(decisions))


def _parsed(lines: list[bytes]) -> Iterator[Decision]:
    knobs = {knob.name: knob for knob in KNOBS}
    for line in lines:
        try:
            record = json.loads(line)
            record["operations"] = tuple(Change(**entry) for entry in record["operations"])
            record["replaced"] = record["replaced"] and Tuned(**record["replaced"])
            decision = Decision(**record)
            knob = knobs[decision.knob]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            continue
        if not (knob.broken_rule(decision.before) or knob.broken_rule(decision.after)):
            yield decision


def words(settings: Settings) -> str:
    """All knobs with their values."""
    return ", ".join(f"{knob.name} {shown(knob.of(settings))}" for knob in KNOBS)


def _is_finite(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
