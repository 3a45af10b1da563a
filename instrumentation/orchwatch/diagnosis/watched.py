"""Callables that are to be watched and were never called, and why."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from orchwatch.diagnosis.check import Check
from orchwatch.errors import OrchwatchError
from orchwatch.integrations import record
from orchwatch.integrations.callables import configured
from orchwatch.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

_NANOSECONDS = 1e9


def check_watched() -> Iterator[Check]:
    """One check for each callable that was never called or has a problem; none without any."""
    try:
        callables = configured()
    except OrchwatchError:
        return  # the configuration's own check says so
    entries = record.read()
    called = 0
    for target in callables:
        entry = record.find(entries, target)
        check = _check(target, entry)
        called += check is None
        if check is not None:
            yield check
    if called:
        yield Check(name="watched", state="ok", found=f"called: {counted(called, 'callable')}")


def _check(target: str, entry: record.Entry | None) -> Check | None:
    """Nothing where it has been called, and no later process found that it cannot be."""
    if entry is None:
        return Check(
            name="watched, never called",
            state="unknown",
            found=f"{target}: no program that watches it has called it or ended yet",
            remedy="start it with orchwatch run, or with opentelemetry-instrument",
        )
    if entry.called_ns > entry.seen_ns or (entry.called_ns and entry.state != record.PROBLEM):
        return None
    if entry.state in (record.ABSENT, record.PROBLEM):
        remedy = "correct the name in [instrument], or take it out"
    else:
        remedy = "see whether the program calls it under that name; take it out if nothing does"
    called = "never called"
    if entry.called_ns:
        day = time.strftime("%Y-%m-%d", time.gmtime(entry.called_ns / _NANOSECONDS))
        called = f"not called since {day}"
    return Check(
        name=f"watched, {called}", state="warn", found=f"{target} {entry.text}", remedy=remedy
    )
