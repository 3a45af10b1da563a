"""One session: its traces, one of them whole, its operations and its tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.mixin.dashboards import computed, panels, queries, spans, tokens
from orchwatch.mixin.dashboards.page import SELDOM, Page, Row, Section
from orchwatch.mixin.dashboards.panels import Text

if TYPE_CHECKING:
    from orchwatch.mixin.dashboards.panels import Panel
    from orchwatch.targets.target_table import Targets

_NOTHING = "no such session in this time range"
_FOUND = queries.CHOSEN_SESSION


def page(_table: Targets) -> Page:
    """A session, or all of them; imported ones lie in the past: widen the time range."""
    return Page(
        name="session",
        title="Session",
        description="One session or turn: its traces, one of them whole, its operations, its "
        "tokens. Imported sessions lie in the past: widen the time range.",
        asks=("session", "trace"),
        computed=(computed.RANKED, computed.opened()),
        refresh=SELDOM,
        rows=(
            Row(height=8, panels=((14, _traces()), (10, _operations()))),
            Section(
                title="Tokens and failures",
                rows=(
                    Row(height=5, panels=((24, tokens.by_model(_FOUND)),)),
                    Row(height=5, panels=((24, _failed()),)),
                ),
            ),
            Section(title="One trace", rows=(Row(height=15, panels=((24, _trace()),)),)),
        ),
    )


def _traces() -> Panel:
    text = Text(
        "Turns and orchestrations",
        "A trace is one turn of a session, or one orchestration. `open` shows it below.",
        _NOTHING,
    )
    return spans.traces(text, f"{{ {_FOUND} }}")


def _operations() -> Panel:
    text = Text(
        "Operations in it",
        "How many, and how long some of them took, in the newest traces of this time range.",
        _NOTHING,
    )
    found = f'{{ {_FOUND} && {queries.NAME} != "" }}'
    return spans.grouped(text, found, semconv.OPERATION_NAME)


def _trace() -> Panel:
    text = Text(
        "The trace: the slowest, until another one is opened",
        "Every span of one trace: `open` in a table shows another one here, and so does its id in "
        "`Trace` above. Tempo looks for the slowest in whole blocks, so that it may have ended up "
        "to an hour before this time range.",
        "no trace of a session in this time range",
    )
    return panels.whole_trace(text, queries.trace("A", f"${computed.OPENED}"))


def _failed() -> Panel:
    text = Text(
        "What failed",
        "Failed spans of the session, the most frequent first, with the trace of the longest.",
        "nothing failed",
    )
    found = (semconv.OPERATION_NAME, semconv.ERROR_TYPE, semconv.GEN_AI_AGENT_NAME)
    failed = f"{{ {_FOUND} && status = error }}"
    return spans.slowest(text, failed, *found, sort=spans.COUNT)
