from __future__ import annotations

import io
import json
from dataclasses import replace

from orchwatch.monitor.audit import Audit, InPrometheus, InTempo
from orchwatch.reporters import findings
from orchwatch.reporters.table import WIDTH


def audit() -> Audit:
    return Audit(
        emitted={"operations": 100, "undelivered": 0, "history": 0},
        dropped={},
        unreadable=0,
        tempo=InTempo(expected=100, found=100, pending=0, lost=(), undelivered=()),
        prometheus=InPrometheus(
            since_ns=0,
            expected=100,
            found=100,
            pending=0,
            uncounted={},
            surplus={},
            restarts=0,
        ),
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
            audit().prometheus, uncounted={"state.query": 7}, surplus={"": 2}, restarts=1
        ),
    )
    text = shown(found, resent=4)
    for words in (
        "budget_dropped: 5 oldest lines dropped",
        "of_tomorrow: 1 lost for a reason unknown here",
        "4 lines of the spool are unreadable",
        "5 undelivered or imported spans",
        "3 spans are not in Tempo yet",
        "4 spans are missing in Tempo although later ones arrived",
        "3 spans are missing in Tempo and nothing later has arrived",
        "counts fewer: state.query 7",
        "forgets what it counted since its last flush",
        "counts more than was emitted here: overflow 2",
        "4 spans were sent again",
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


def test_only_a_restart_or_dropped_lines_explain_a_count_that_is_too_low() -> None:
    low = replace(audit(), prometheus=replace(audit().prometheus, uncounted={"state.query": 7}))
    assert not low.counting_is_explained
    assert replace(low, prometheus=replace(low.prometheus, restarts=1)).counting_is_explained
    assert replace(low, dropped={"budget_dropped": 7}).counting_is_explained
    assert not replace(low, dropped={"budget_dropped": 6}).counting_is_explained


def test_a_restart_explains_no_count_that_is_too_high() -> None:
    high = replace(
        audit(), prometheus=replace(audit().prometheus, surplus={"state.query": 7}, restarts=1)
    )
    assert not high.counting_is_explained
    assert replace(high, dropped={"budget_dropped": 7}).counting_is_explained
