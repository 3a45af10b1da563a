"""An audit as a person or a program reads it."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from orchwatch.diagnosis.audit import VISIBLE_AFTER_S
from orchwatch.diagnosis.prometheus_audit import FLUSH_INTERVAL_S
from orchwatch.recording import losses
from orchwatch.recording.safe_text import safe
from orchwatch.reporters import json_document
from orchwatch.reporters.table import WIDTH
from orchwatch.units import counted as number_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchwatch.diagnosis.audit import Audit, InTempo
    from orchwatch.diagnosis.prometheus_audit import InPrometheus

# The most operations that a sentence lists.
_MAX_LISTED = 10


def render_json(audit: Audit, resent: int, file: TextIO) -> None:
    """Writes one JSON object."""
    counted = audit.prometheus
    document = {
        "emitted": dict(audit.emitted),
        "earlier": audit.earlier,
        "dropped": dict(audit.dropped),
        "unreadable": audit.unreadable,
        "tempo": {
            "expected": audit.tempo.expected,
            "found": audit.tempo.found,
            "pending": audit.tempo.pending,
            "lost": len(audit.tempo.lost),
            "undelivered": len(audit.tempo.undelivered),
            "resent": resent,
        },
        "prometheus": counted
        and {
            "expected": counted.expected,
            "found": counted.found,
            "pending": counted.pending,
            "uncounted": dict(counted.uncounted),
            "forgotten": dict(counted.forgotten),
            "surplus": dict(counted.surplus),
            "restarts": counted.restarts,
        },
        "explanations": list(explain(audit)),
    }
    json_document.answer("audit", document, file)


def render_table(audit: Audit, resent: int, file: TextIO) -> None:
    """Writes what was emitted and held, side by side, then why they differ."""
    emitted = ", ".join(f"{count} {family}" for family, count in audit.emitted.items())
    file.write(f"{'emitted':<12}{emitted}\n\n")
    file.write(f"{'':<12}{'expected':>10}{'found':>10}{'pending':>10}{'missing':>10}\n")
    in_tempo, counted = audit.tempo, audit.prometheus
    missing = len(in_tempo.lost) + len(in_tempo.undelivered)
    rows: list[tuple[str, InTempo | InPrometheus, int]] = [("Tempo", in_tempo, missing)]
    if counted is not None:
        rows.append(("Prometheus", counted, sum(counted.uncounted.values())))
    file.writelines(
        f"{name:<12}{held.expected:>10}{held.found:>10}{held.pending:>10}{gone:>10}\n"
        for name, held, gone in rows
    )
    explanations = list(explain(audit))
    if resent:
        explanations.append(
            f"Sent again: {number_of(resent, 'span')}; ask once more in {VISIBLE_AFTER_S:.0f} s."
        )
    if explanations:
        file.write("\n")
    file.writelines(
        textwrap.fill(text, WIDTH, initial_indent="- ", subsequent_indent="  ") + "\n"
        for text in explanations
    )


def explain(audit: Audit) -> Iterator[str]:
    """One sentence for each difference."""
    yield from _about_emission(audit)
    yield from _about_tempo(audit)
    if audit.prometheus is None:
        yield (
            "Prometheus counts by operation, up to now: with --until, --session, --agent or"
            " --service it is not asked."
        )
    else:
        yield from _about_prometheus(audit.prometheus, audit.earlier)


def _about_emission(audit: Audit) -> Iterator[str]:
    for reason, count in audit.dropped.items():
        meaning, remedy = losses.REASONS.get(reason, ("lost for a reason unknown here", ""))
        yield f"dropped, {safe(reason)}: {count} {meaning}" + (f"; {remedy}." if remedy else ".")
    if audit.unreadable:
        lines = number_of(audit.unreadable, "unreadable line")
        yield f"The spool holds {lines}, see orchwatch doctor."
    apart = sum(count for family, count in audit.emitted.items() if family != "operations")
    if apart:
        yield (
            f"{number_of(apart, 'undelivered or imported span')}: stored in Tempo and not counted"
            " in Prometheus, as intended."
        )


def _about_tempo(audit: Audit) -> Iterator[str]:
    if audit.tempo.pending:
        yield (
            f"{number_of(audit.tempo.pending, 'span')} not in Tempo yet, and too young to be"
            f" missed: less than {VISIBLE_AFTER_S:.0f} s."
        )
    if audit.tempo.lost:
        yield (
            f"{number_of(len(audit.tempo.lost), 'span')} missing in Tempo although later ones"
            " arrived: it acknowledges spans in memory and loses those when it is killed. --resend"
            " sends them again."
        )
    if audit.tempo.undelivered:
        yield (
            f"{number_of(len(audit.tempo.undelivered), 'span')} missing in Tempo, and nothing later"
            " has arrived: either the Collector does not run or is behind, and delivers them"
            " itself, or Tempo was killed. With the Collector running, --resend sends them again."
        )


def _about_prometheus(counted: InPrometheus, earlier: int) -> Iterator[str]:
    if counted.uncounted:
        yield f"Prometheus counts fewer: {_list(counted.uncounted)}."
        if counted.restarts:
            yield (
                f"The Collector restarted its counters {number_of(counted.restarts, 'time')}."
                " One that is killed forgets what it counted since its last flush,"
                f" {FLUSH_INTERVAL_S:g} s at most: that explains"
                f" {sum(counted.forgotten.values())} of them. The spans themselves are not"
                " affected."
            )
        if counted.unexplained:
            yield f"For no known reason, {counted.unexplained} of them were not counted."
    if counted.surplus:
        yield (
            f"Prometheus counts more than was emitted here: {_list(counted.surplus)}. Another"
            " home's Collector sends to it, the spool was read twice, or lines were dropped from"
            " the spool before they were looked at."
        )
    if counted.since_ns == 0 and (counted.uncounted or counted.surplus):
        yield "Counts are compared from the first operation on, whatever the window."
    elif counted.since_ns and earlier:
        since = datetime.fromtimestamp(counted.since_ns / 1e9, UTC)
        yield f"What ended before {since:%Y-%m-%d %H:%M} UTC is left out, see --since."


def _list(counts: Mapping[str, int]) -> str:
    most = sorted(counts.items(), key=lambda item: -item[1])[:_MAX_LISTED]
    listed = ", ".join(f"{safe(operation or 'overflow')} {count}" for operation, count in most)
    return listed + (f" and {len(counts) - _MAX_LISTED} more" if len(counts) > _MAX_LISTED else "")
