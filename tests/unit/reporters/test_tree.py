from __future__ import annotations

import io
from dataclasses import replace

import pytest

from orchwatch.reporters import columns, tree
from orchwatch.store.spans import Span

START_NS = 1_790_000_000_000_000_000


def span(
    name: str,
    span_id: str,
    parent: str | None = None,
    *,
    agent: str | None = None,
    error: str | None = None,
    **more: int,
) -> Span:
    return Span(
        family="operations",
        trace_id="ab" * 16,
        span_id=span_id,
        parent_span_id=parent,
        name=name,
        operation=name,
        kind=1,
        start_ns=START_NS,
        duration_ns=more.get("duration_ns", 1_500_000),
        status=more.get("status", 1 if error is None else 2),
        error_type=error,
        service=None,
        session_id=None,
        agent=agent,
        attributes={},
        resource={},
    )


def rendered(*spans: Span) -> list[str]:
    file = io.StringIO()
    tree.render(spans, file)
    return file.getvalue().splitlines()


def test_a_hook_whose_time_is_unknown_took_no_time_that_could_be_shown() -> None:
    hook = span("hook.process", "02", "01", duration_ns=0)
    unknown = replace(hook, operation=None)
    lines = rendered(span("run", "01"), unknown, replace(unknown, span_id="03"))
    assert lines[3].split() == ["└─", "hook.process", "2", "-", "-"]
    # Beside one whose time was measured, that one's is shown.
    measured = replace(hook, span_id="04", duration_ns=2_000_000)
    lines = rendered(span("run", "01"), unknown, measured)
    assert lines[3].split() == ["└─", "hook.process", "2", "2ms", "2ms"]
    assert rendered(hook)[2].split() == ["hook.process", "1", "0µs", "0µs"]


def test_calls_alike_under_the_same_caller_share_a_line_and_so_do_theirs() -> None:
    lines = rendered(
        span("run", "01", duration_ns=2_000_000_000),
        span("task", "02", "01", agent="a"),
        span("task", "03", "01", agent="a", duration_ns=3_500_000, status=2),
        span("task", "04", "01", agent="b"),
        span("query", "05", "02", agent="a"),
        span("query", "06", "03", agent="a"),
    )
    assert lines == [
        f"trace {'ab' * 16}, 6 spans, 2026-09-21 14:13:20 UTC",
        "operation    count  total  slowest  errors",
        "run              1     2s       2s",
        "├─ task [a]      2    5ms    3.5ms  1",
        "│  └─ query      2    3ms    1.5ms",
        "└─ task [b]      1  1.5ms    1.5ms",
    ]


@pytest.mark.parametrize(
    ("errors", "cell"),
    [
        ([None, None], ""),
        (["KeyError", None], "1 KeyError"),
        (["ValueError", "ValueError"], "2 ValueError"),
        (["127"], "1 error 127"),
        (["KeyError", "ValueError", "KeyError", "OSError"], "2 KeyError +2 …"),
        (["a.package.of.somebody.StateConflictError"], "1 …body.StateConflictError"),
    ],
)
def test_errors_are_named_the_most_frequent_kind_first(errors: list[str | None], cell: str) -> None:
    lines = rendered(*(span("x", f"{number:02}", error=kind) for number, kind in enumerate(errors)))
    assert lines[2][len("operation") :].split(maxsplit=3)[3:] == ([cell] if cell else [])
    assert all(len(line) <= columns.WIDTH for line in lines)


def test_one_span_is_not_called_many() -> None:
    assert ", 1 span, " in rendered(span("x", "01"))[0]


def test_a_span_whose_parent_is_not_stored_is_a_root() -> None:
    lines = rendered(span("child", "02", "99"), span("other", "03"))
    assert [line.split()[0] for line in lines[2:]] == ["child", "other"]


def test_a_name_too_long_for_its_line_stands_on_a_line_of_its_own() -> None:
    lines = rendered(span("n" * 100, "01"))
    assert lines[2] == "n" * 100
    assert lines[3].split() == ["1", "1.5ms", "1.5ms"]
    assert all(len(line) <= columns.WIDTH for line in lines if "n" * 100 not in line)
