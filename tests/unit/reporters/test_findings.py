from __future__ import annotations

import io
import json
from dataclasses import replace

from orchwatch.diagnosis.audit import Audit, InTempo
from orchwatch.diagnosis.prometheus_audit import InPrometheus
from orchwatch.reporters import findings
from orchwatch.reporters.table import WIDTH

COUNTED = InPrometheus(
    since_ns=0,
    expected=100,
    found=100,
    pending=0,
    uncounted={},
    forgotten={},
    surplus={},
    restarts=0,
)


def audit() -> Audit:
    return Audit(
        emitted={"operations": 100, "undelivered": 0, "history": 0},
        earlier=0,
        dropped={},
        unreadable=0,
        tempo=InTempo(expected=100, found=100, pending=0, lost=(), undelivered=()),
        prometheus=COUNTED,
    )


def shown(found: Audit, resent: int = 0) -> str:
    file = io.StringIO()
    findings.render_table(found, resent, file)
    assert max(map(len, file.getvalue().splitlines())) <= WIDTH
    return " ".join(file.getvalue().split())


def test_where_nothing_differs_nothing_is_explained() -> None:
    assert list(findings.explain(audit())) == []
    assert audit().counting_is_explained


def test_each_difference_has_its_explanation() -> None:
    found = replace(
        audit(),
        emitted={"operations": 100, "undelivered": 2, "history": 3},
        dropped={"budget_dropped": 5, "of_tomorrow": 1},
        unreadable=4,
        tempo=InTempo(
            expected=105,
            found=95,
            pending=3,
            lost=(("a", "b"),) * 4,
            undelivered=(("a", "b"),) * 3,
        ),
        prometheus=replace(
            COUNTED,
            found=91,
            pending=2,
            uncounted={"state.query": 7},
            forgotten={"state.query": 5},
            surplus={"": 2},
            restarts=1,
        ),
    )
    text = shown(found, resent=4)
    for words in (
        "budget_dropped: 5 oldest lines dropped",
        "of_tomorrow: 1 lost for a reason unknown here",
        "holds 4 unreadable lines",
        "5 undelivered or imported spans",
        "3 spans not in Tempo yet",
        "4 spans missing in Tempo although later ones arrived",
        "3 spans missing in Tempo, and nothing later has arrived",
        "counts fewer: state.query 7",
        "restarted its counters 1 time.",
        "One that is killed forgets what it counted since its last flush, 2 s at most",
        "at most: that explains 5 of them",
        "For no known reason, 2 of them were not counted",
        "counts more than was emitted here: overflow 2",
        "Sent again: 4 spans",
    ):
        assert words in text
    file = io.StringIO()
    findings.render_json(found, 4, file)
    document = json.loads(file.getvalue())
    assert document["tempo"] == {
        "expected": 105,
        "found": 95,
        "pending": 3,
        "lost": 4,
        "undelivered": 3,
        "resent": 4,
    }


def test_only_what_a_restart_forgot_or_dropped_lines_explain_a_count_that_is_too_low() -> None:
    few = replace(COUNTED, uncounted={"state.query": 7})
    low = replace(audit(), prometheus=few)
    assert not low.counting_is_explained
    assert not replace(low, prometheus=replace(few, restarts=9)).counting_is_explained
    for number, explained in ((7, True), (6, False)):
        counted = replace(few, restarts=1, forgotten={"state.query": number})
        assert replace(low, prometheus=counted).counting_is_explained == explained
    assert replace(low, dropped={"budget_dropped": 7}).counting_is_explained
    assert not replace(low, dropped={"budget_dropped": 6}).counting_is_explained


def test_the_columns_add_up() -> None:
    tempo = InTempo(
        expected=100, found=80, pending=13, lost=(("a", "b"),) * 4, undelivered=(("a", "b"),) * 3
    )
    counted = replace(COUNTED, found=90, pending=8, uncounted={"state.query": 2})
    lines = shown(replace(audit(), tempo=tempo, prometheus=counted))
    for name in ("Tempo", "Prometheus"):
        words = lines.split(f" {name} ")[1].split()[:4]
        expected, found, pending, missing = map(int, words)
        assert expected == found + pending + missing


def test_what_ended_before_the_window_is_mentioned_only_where_something_did() -> None:
    windowed = replace(audit(), prometheus=replace(COUNTED, since_ns=10**18))
    assert list(findings.explain(windowed)) == []
    (line,) = findings.explain(replace(windowed, earlier=1))
    assert line.startswith("What ended before 2001-09-09 01:46 UTC is left out")


def test_a_restart_explains_no_count_that_is_too_high() -> None:
    high = replace(audit(), prometheus=replace(COUNTED, surplus={"state.query": 7}, restarts=1))
    assert not high.counting_is_explained
    assert replace(high, dropped={"budget_dropped": 7}).counting_is_explained


def test_where_prometheus_was_not_asked_that_is_said_and_nothing_claimed() -> None:
    unasked = replace(audit(), prometheus=None)
    assert unasked.counting_is_explained
    (line,) = findings.explain(unasked)
    assert line.endswith("it is not asked.")
    assert " Prometheus 100 " not in shown(unasked)
    file = io.StringIO()
    findings.render_json(unasked, 0, file)
    assert json.loads(file.getvalue())["prometheus"] is None
