"""Writes what follows from the table: whole files, and parts of files between two marker lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import targets
from orchwatch.errors import OrchwatchError
from orchwatch.mixin import (
    alerts,
    collector,
    dashboards,
    documents,
    promtool,
    runbook,
    runbook_page,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchwatch.targets import Targets

BEGIN = "generated from targets.toml by orchwatch generate: begin"
END = "generated from targets.toml by orchwatch generate: end"

# Which part of which file: the lines that belong between its markers.
PARTS: dict[str, Callable[[Targets], list[str]]] = {
    "collector/config.yaml": collector.bucket_edges,
    "docs/targets.md": documents.target_tables,
    "docs/runbook.md": runbook.entries,
}
# Files that are generated as a whole: their text.
FILES: dict[str, Callable[[Targets], str]] = {
    "prometheus/rules/recording.yml": alerts.recording_file,
    "prometheus/rules/alerts.yml": alerts.alerts_file,
    "prometheus/rules/regression.yml": alerts.regression_file,
    "prometheus/assets/runbook.html": runbook_page.page,
    "tests/promtool/alerts.test.yml": promtool.alerts_test,
    "tests/promtool/trends.test.yml": promtool.trends_test,
    "tests/promtool/regression.test.yml": promtool.regression_test,
    **dashboards.files(),
}


def write(root: Path) -> list[Path]:
    """Brings every file up to date and returns those that changed.

    Args:
        root: The checkout.

    Raises:
        OrchwatchError: A file with a generated part, or its markers, are missing.
    """
    changed = _changed(root)
    for path, text in changed.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(changed)


def check(root: Path) -> list[Path]:
    """The files that `write` would change.

    Raises:
        OrchwatchError: A file with a generated part, or its markers, are missing.
    """
    return list(_changed(root))


def _changed(root: Path) -> dict[Path, str]:
    table = targets.load()
    changed = {}
    for name, make_part in PARTS.items():
        path = root / name
        text = _read(path)
        if text is None:
            raise OrchwatchError(f"{path}: does not exist; name a checkout's root")
        new = _replace(path, text, make_part(table))
        if new != text:
            changed[path] = new
    for name, make_file in FILES.items():
        path = root / name
        new = make_file(table)
        if new != _read(path):
            changed[path] = new
    return changed


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OrchwatchError(f"{path}: {error.strerror}") from error


def _replace(path: Path, text: str, part: list[str]) -> str:
    lines = text.splitlines()
    begins = [number for number, line in enumerate(lines) if BEGIN in line]
    ends = [number for number, line in enumerate(lines) if END in line]
    if len(begins) != 1 or len(ends) != 1 or ends[0] < begins[0]:
        raise OrchwatchError(f"{path}: must hold one line {BEGIN!r} and below it one {END!r}")
    begin, end = begins[0], ends[0]
    indent = lines[begin][: len(lines[begin]) - len(lines[begin].lstrip())]
    inner = [f"{indent}{line}" if line else "" for line in part]
    return "\n".join([*lines[: begin + 1], *inner, *lines[end:]]) + "\n"
