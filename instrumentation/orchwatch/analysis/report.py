"""Everything that a report says: gathered once, for a page, a pull request and a program alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchwatch.analysis import (
    baselines,
    critical_path,
    flame,
    flame_query,
    forecasts,
    hooks,
    recorded,
    status,
)
from orchwatch.analysis.span_tree import SpanTree
from orchwatch.errors import MissingExtraError, OrchwatchError
from orchwatch.store import longest, outlines, steps

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchwatch.analysis.baselines import Compared, Side
    from orchwatch.analysis.critical_path import CriticalPath
    from orchwatch.analysis.flame import Flame
    from orchwatch.analysis.forecasts import Forecast
    from orchwatch.analysis.hooks import Found
    from orchwatch.analysis.status import Status
    from orchwatch.store.database import Store
    from orchwatch.store.longest import Trace
    from orchwatch.store.selection import Selection
    from orchwatch.store.small import SmallStore
    from orchwatch.store.spans import Summary
    from orchwatch.targets.target_table import Targets

SLOWEST = 5
"""So many traces are shown, with their critical paths."""

AHEAD_NS = 24 * 3600 * 1_000_000_000
"""How far forecasts reach, at most."""


@dataclass(frozen=True, kw_only=True)
class Slow:
    """A slow trace.

    Attributes:
        trace: Which.
        name: Of its first span.
        path: What it waited for.
    """

    trace: Trace
    name: str
    path: CriticalPath


@dataclass(frozen=True, kw_only=True)
class Report:
    """What there is to say of a window.

    Attributes:
        words: The window and the filters, for a person.
        status: Operations, levels, key figures, health and alerts.
        step_ns: How long a step of the history is.
        history: By operation, when each step begins (Unix nanoseconds) and what ended in it.
        compared: With the baseline, or the window before; None where there is nothing to compare.
        not_compared: Why not.
        slowest: The slowest traces.
        hooks: What hooks cost.
        forecasts: Where the figures go.
        not_forecast: Why none is made.
        flame: Where the time went; None where nothing was recorded.
        targets: What is judged by.
    """

    words: str
    status: Status
    step_ns: int
    history: Mapping[str, list[tuple[int, Summary]]]
    compared: Compared | None
    not_compared: str | None
    slowest: tuple[Slow, ...]
    hooks: Found
    forecasts: tuple[Forecast, ...]
    not_forecast: str | None
    flame: Flame | None
    targets: Targets


def gather(
    home: Path,
    project: Path,
    store: Store | SmallStore,
    selection: Selection,
    words: str,
    *,
    baseline: str | None = None,
) -> Report:
    """Looks at all of it.

    Args:
        home: The home directory.
        project: Where coverage and state files are looked for.
        store: The home's store.
        selection: A window and filters.
        words: The same, for a person.
        baseline: The name of one that is kept; by default the window before is compared with.

    Raises:
        OrchwatchError: The store's files cannot be read, or the baseline.
    """
    gatherer = status.Gatherer(home, store, project, None, within=selection, refresh=False)
    gatherer.measure_system()
    gatherer.measure_business()
    taken = gatherer.take()
    # What is written meanwhile is in none of the parts.
    selection = replace(selection, until_ns=selection.until_ns or taken.at_ns)
    step_ns, history = _history(store, selection, gatherer.targets)
    compared, not_compared = _compared(home, store, selection, words, baseline)
    found, not_forecast = _forecasts(home, store, selection, gatherer.targets)
    graph = flame_query.merged(store, selection)
    return Report(
        words=words,
        status=taken,
        step_ns=step_ns,
        history=history,
        compared=compared,
        not_compared=not_compared,
        slowest=tuple(_slowest(store, selection)),
        hooks=hooks.measure(store, selection),
        forecasts=tuple(found),
        not_forecast=not_forecast,
        flame=graph if graph.frames else _by_spans(store, selection),
        targets=gatherer.targets,
    )


def _history(
    store: Store | SmallStore, selection: Selection, targets: Targets
) -> tuple[int, dict[str, list[tuple[int, Summary]]]]:
    reach = steps.reach_ns(store, selection)
    step_ns = forecasts.step_of(reach[1] - reach[0] if reach else 0)
    targets_s = {row.id: row.target_s for row in targets.operations.values()}
    history: dict[str, list[tuple[int, Summary]]] = {}
    for start_ns, one in steps.read(store, selection, step_ns=step_ns, targets_s=targets_s):
        history.setdefault(one.operation, []).append((start_ns, one))
    return step_ns, history


def _compared(
    home: Path, store: Store | SmallStore, selection: Selection, words: str, name: str | None
) -> tuple[Compared | None, str | None]:
    def now() -> Side:
        return recorded.side(store, selection, f"recorded operations {words}".rstrip())

    if name is not None:
        kept = baselines.load(home, name)
        if kept.kind != baselines.RECORDED:
            newest, unreadable = baselines.newest(home)
            after = baselines.of_run(newest)
            return baselines.compare(kept.side, after, unreadable=unreadable), None
    if name is None and selection.since_ns is None:
        return None, "Of all there is, there is no time before; --since or --baseline names one."
    try:
        if name is not None:
            return baselines.compare(kept.side, now()), None
        since_ns, until_ns = selection.since_ns or 0, selection.last_ns
        before = replace(selection, since_ns=2 * since_ns - until_ns, until_ns=since_ns - 1)
        return baselines.compare(
            recorded.side(store, before, "the same length of time before"), now()
        ), None
    except OrchwatchError as nothing:
        return None, f"{str(nothing)[:1].upper()}{str(nothing)[1:]}."


def _forecasts(
    home: Path, store: Store | SmallStore, selection: Selection, targets: Targets
) -> tuple[list[Forecast], str | None]:
    try:
        return forecasts.forecast(home, store, selection, targets, ahead_ns=AHEAD_NS), None
    except MissingExtraError as error:
        return [], f"{error}."


def _slowest(store: Store | SmallStore, selection: Selection) -> list[Slow]:
    found = []
    for trace in longest.traces(store, selection, SLOWEST):
        spans = outlines.of_trace(store, trace.trace_id)
        if spans:
            path = critical_path.measure(SpanTree(spans))
            found.append(Slow(trace=trace, name=spans[0].name, path=path))
    return found


def _by_spans(store: Store | SmallStore, selection: Selection) -> Flame | None:
    found = outlines.selected(store, selection)
    return flame.of_spans(found) if found else None
