"""Figures that a project keeps about itself: test coverage, quality, documentation.

They are read where the requirements and coverage.py leave them, or were set by hand with
`orchwatch kpi set`; of several sources the newest counts. What is broken becomes a note.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from xml.parsers import expat

from orchwatch.errors import OrchwatchError
from orchwatch.recording import files
from orchwatch.recording.home import DIRECTORY_MODE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEST_COVERAGE = "test.coverage"
CODE_QUALITY = "code.quality"
DOCUMENTATION_COVERAGE = "documentation.coverage"

HIGHEST = {TEST_COVERAGE: 1.0, CODE_QUALITY: 10.0, DOCUMENTATION_COVERAGE: 1.0}
"""The figures that only a project itself can provide, each from 0 to this."""

# Of the requirements' _get_state_metrics().
STATE_FILE = ".claude/state/orchestration.json"
_QUALITY = ("observability", "metrics", "quality")
_STATE_KEYS = {
    # The figure, where it stands, and what makes it a share or points of 10.
    TEST_COVERAGE: ("test_coverage_percent", 100),
    CODE_QUALITY: ("code_quality_score", 1),
    DOCUMENTATION_COVERAGE: ("documentation_coverage", 1),
}
_SET_FILE = "kpis.json"
# Only the root element of a coverage.xml is needed; it comes after a comment or two.
_HEAD_BYTES = 64 * 1024
_MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure and where it is from.

    Attributes:
        value: A share from 0 to 1, or points from 0 to 10.
        at_ns: When it was measured, in Unix nanoseconds.
        source: The file that says so, relative to the project; `kpi set` where a person did.
    """

    value: float
    at_ns: int
    source: str


class _BrokenError(Exception):
    """A source that cannot be used; the message says why."""


def figures(project: Path, home: Path) -> tuple[dict[str, Figure], list[str]]:
    """What is known about a project, and a line for each source that cannot be used.

    Args:
        project: Its directory.
        home: Where `orchwatch kpi set` keeps its values.
    """
    found: dict[str, Figure] = {}
    notes = []
    sources: list[tuple[Path, str, Callable[[Path], dict[str, Figure]]]] = [
        (home / _SET_FILE, "kpi set", _read_set),
        *(
            (project / name, name, lambda path, name=name, read=read: _measured(path, name, read))
            for name, read in (
                ("coverage.xml", _coverage_xml),
                ("coverage.json", _coverage_json),
                (STATE_FILE, _state),
            )
        ),
    ]
    for path, name, read in sources:
        try:
            known = read(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            notes.append(f"{name}: {error.strerror}")
            continue
        except (_BrokenError, ValueError, RecursionError) as error:
            notes.append(f"{name} was ignored: {error}")
            continue
        for kpi, figure in known.items():
            if kpi not in found or found[kpi].at_ns < figure.at_ns:
                found[kpi] = figure
    return found, notes


def set_by_hand(home: Path, kpi: str, value: float, at_ns: int) -> None:
    """Stores a figure that a person has set.

    Raises:
        OrchwatchError: It cannot be written, or the value is out of range.
    """
    try:
        _check(kpi, value)
    except _BrokenError as error:
        raise OrchwatchError(f"kpi set: {error}") from error
    path = home / _SET_FILE
    try:
        known = _read_set(path)
    except (OSError, _BrokenError, ValueError, RecursionError):
        known = {}  # what cannot be read is replaced by what is said now
    known[kpi] = Figure(value=value, at_ns=at_ns, source="kpi set")
    text = json.dumps({name: asdict(figure) for name, figure in known.items()})
    try:
        home.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        files.replace(path, text.encode())
    except OSError as error:
        raise OrchwatchError(f"{path} cannot be written: {error.strerror}") from error


def _measured(path: Path, name: str, read: Callable[[Path], dict[str, float]]) -> dict[str, Figure]:
    status = os.stat(path)
    known = read(path)
    for kpi, value in known.items():
        _check(kpi, value)
    return {
        kpi: Figure(value=value, at_ns=status.st_mtime_ns, source=name)
        for kpi, value in known.items()
    }


def _read_set(path: Path) -> dict[str, Figure]:
    known = _object(files.read(path, _MAX_BYTES))
    found = {}
    for kpi, entry in known.items():
        value, at_ns = _member(entry, "value"), _member(entry, "at_ns")
        if kpi not in HIGHEST or type(at_ns) is not int:
            raise _BrokenError(f"{kpi!r} is not as `orchwatch kpi set` writes it")
        found[kpi] = Figure(value=_check(kpi, value), at_ns=at_ns, source="kpi set")
    return found


def _coverage_xml(path: Path) -> dict[str, float]:
    roots: list[tuple[str, dict[str, str]]] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if not roots:
            roots.append((name, attributes))

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    with files.reader(path) as file:
        try:
            parser.Parse(file.read(_HEAD_BYTES), False)  # noqa: FBT003 - takes no keywords
        except expat.ExpatError as error:
            if not roots:
                raise _BrokenError(str(error)) from error
    name, attributes = roots[0] if roots else ("", {})
    if name != "coverage" or "line-rate" not in attributes:
        raise _BrokenError("its root is no <coverage line-rate=…>")
    if attributes.get("lines-valid") == "0":
        return {}  # nothing was there to be covered
    return {TEST_COVERAGE: float(attributes["line-rate"])}


def _coverage_json(path: Path) -> dict[str, float]:
    totals = _member(_object(files.read(path, _MAX_BYTES)), "totals")
    if _member(totals, "num_statements") == 0:
        return {}
    percent = _member(totals, "percent_covered")
    if percent is None:
        raise _BrokenError("it has no totals.percent_covered")
    return {TEST_COVERAGE: _number(TEST_COVERAGE, percent) / 100}


def _state(path: Path) -> dict[str, float]:
    quality: Any = _object(files.read(path, _MAX_BYTES))
    for key in _QUALITY:
        quality = _member(quality, key)
    return {
        kpi: _number(kpi, value) / scale
        for kpi, (key, scale) in _STATE_KEYS.items()
        if (value := _member(quality, key)) is not None
    }


def _object(text: bytes) -> dict[str, Any]:
    document = json.loads(text)
    if not isinstance(document, dict):
        raise _BrokenError("it is not a JSON object")
    return document


def _member(document: object, key: str) -> Any:
    return document.get(key) if isinstance(document, dict) else None


def _number(kpi: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _BrokenError(f"{kpi} must be a number, not {str(value)[:40]!r}")
    return float(value)


def _check(kpi: str, value: object) -> float:
    number = _number(kpi, value)
    if not 0 <= number <= HIGHEST[kpi]:
        raise _BrokenError(f"{kpi} must lie between 0 and {HIGHEST[kpi]:g}, not {number:g}")
    return number
