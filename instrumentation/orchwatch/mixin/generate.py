"""Writes what follows from the table: whole files, and parts of files between two marker lines."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from orchwatch.errors import OrchwatchError
from orchwatch.mixin import (
    collector,
    dashboards,
    documents,
    otlp_spans,
    stack_files,
    telemetry_page,
)
from orchwatch.mixin.alerts import catalog, promtool, runbook, runbook_page
from orchwatch.recording.files import read, replace
from orchwatch.targets import target_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchwatch.targets.target_table import Targets

_TARGETS, _MAPPING = "targets.toml", "mapping.toml"
_MARKER = "generated from {} by orchwatch generate: {}"

_MAX_BYTES = 16 * 1024 * 1024
# Servers of other users read what is written.
_MODE = 0o644


class Part(NamedTuple):
    """A part of a file: from which table it is, and the lines that belong between its markers."""

    source: str
    make: Callable[[Targets], list[str]]


PARTS: dict[str, list[Part]] = {
    "collector/config.yaml": [
        Part(_MAPPING, lambda _: otlp_spans.trace_statements()),
        Part(_TARGETS, collector.bucket_edges),
    ],
    "docs/targets.md": [Part(_TARGETS, documents.target_tables)],
    "docs/runbook.md": [Part(_TARGETS, runbook.entries)],
}
# Files that are generated as a whole: their text.
FILES: dict[str, Callable[[Targets], str]] = {
    "prometheus/rules/recording.yml": catalog.recording_file,
    "prometheus/rules/alerts.yml": catalog.alerts_file,
    "prometheus/rules/regression.yml": catalog.regression_file,
    "prometheus/assets/runbook.html": runbook_page.page,
    "tests/promtool/alerts.test.yml": promtool.alerts_test,
    "tests/promtool/trends.test.yml": promtool.trends_test,
    "tests/promtool/regression.test.yml": promtool.regression_test,
    **dashboards.files(),
}

# What only a checkout has: what the package itself reads, and what says what it writes.
OF_PACKAGE: dict[str, Callable[[Targets], str]] = {
    "instrumentation/orchwatch/targets/targets.json": lambda _: target_table.parsed_file(),
    telemetry_page.FILE: lambda _: telemetry_page.page(),
}

# What servers of one's own take instead of the parts, where there is no checkout.
OWN_FILES: dict[str, Callable[[Targets], str]] = {"collector/buckets.yaml": collector.buckets_file}


def write(
    root: Path, *, checkout: bool = True, pages: Mapping[str, str] | None = None
) -> list[Path]:
    """Brings every file up to date and returns those that changed.

    Args:
        root: The checkout, or the directory that servers of one's own read from.
        checkout: Whether it must be one.
        pages: More files of a checkout, which do not follow from the table: their text.

    Raises:
        OrchwatchError: It is no checkout and must be; a file with a generated part, or its markers,
            are missing; a file cannot be read or written.
    """
    changed = _changed(root, checkout=checkout, pages=pages or {})
    for path, text in changed.items():
        try:
            if text is None:
                path.unlink()
            else:
                _put(path, text)
        except OSError as error:
            raise OrchwatchError(f"{path}: {error.strerror}") from error
    return list(changed)


def _put(path: Path, text: str) -> None:
    """Replaces a file as a whole: a server may read it at this moment, or the disk be full."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, text.encode(), mode=_MODE)


def check(
    root: Path, *, checkout: bool = True, pages: Mapping[str, str] | None = None
) -> list[Path]:
    """The files that `write` would change; the arguments and errors are its."""
    return list(_changed(root, checkout=checkout, pages=pages or {}))


def is_checkout(root: Path) -> bool:
    """Whether the files are there that hold a generated part; a directory may have one like it."""
    return all((root / name).exists() for name in PARTS)


def _changed(root: Path, *, checkout: bool, pages: Mapping[str, str]) -> dict[Path, str | None]:
    table = target_table.load()
    files = dict(FILES)
    texts: dict[str, str] = {}
    changed: dict[Path, str | None] = {}
    if is_checkout(root):
        files |= OF_PACKAGE
        texts |= pages
        for name in PARTS:
            path = root / name
            text = _read(path) or ""
            new = _with_parts(table, name, text, path)
            if new != text:
                changed[path] = new
    elif checkout:
        raise OrchwatchError(
            f"{root.resolve()}: is no checkout; --output DIR writes for servers of your own"
        )
    else:
        files |= OWN_FILES
        changed |= stack_files.changes(root, _read, _without_parts, partial(_with_parts, table))
    texts |= {name: make_file(table) for name, make_file in files.items()}
    for name, new in texts.items():
        path = root / name
        if new != _read(path):
            changed[path] = new
    return changed


def _with_parts(table: Targets, name: str, text: str, path: Path | None = None) -> str:
    """A file of that name with what follows from the tables in it."""
    for part in PARTS.get(name, ()):
        text = _replace(path or Path(name), text, part.source, part.make(table))
    return text


def _without_parts(name: str, text: str) -> str:
    for part in PARTS.get(name, ()):
        text = _replace(Path(name), text, part.source, [])
    return text


def _read(path: Path) -> str | None:
    try:
        return read(path, _MAX_BYTES).decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise OrchwatchError(f"{path}: is no text in UTF-8; remove it") from None
    except OSError as error:
        raise OrchwatchError(f"{path}: {error.strerror}") from error


def _replace(path: Path, text: str, source: str, part: list[str]) -> str:
    lines = text.splitlines()
    begin, end = (_MARKER.format(source, which) for which in ("begin", "end"))
    begins = [number for number, line in enumerate(lines) if begin in line]
    ends = [number for number, line in enumerate(lines) if end in line]
    if len(begins) != 1 or len(ends) != 1 or ends[0] < begins[0]:
        raise OrchwatchError(f"{path}: must hold one line {begin!r} and below it one {end!r}")
    first, last = begins[0], ends[0]
    indent = lines[first][: len(lines[first]) - len(lines[first].lstrip())]
    inner = [f"{indent}{line}" if line else "" for line in part]
    return "\n".join([*lines[: first + 1], *inner, *lines[last:]]) + "\n"
