from __future__ import annotations

import os
import subprocess
import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch import attach, child_environment, inject, operation

if TYPE_CHECKING:
    from collections.abc import Callable

    Named = Callable[[str], dict[str, Any]]
    Lost = Callable[[], dict[str, int]]

pytestmark = pytest.mark.usefixtures("home")

TRACE, SPAN = "a" * 32, "b" * 16
HEADER = f"00-{TRACE}-{SPAN}-01"


def recorded(name: str = "inside") -> None:
    with operation(name):
        pass


def test_a_message_carries_the_context_and_its_baggage(named: Named) -> None:
    headers = {"other": "kept"}
    with attach(baggage={"session.id": "s 1"}), operation("sender") as sender:
        inject(headers, {"gen_ai.agent.name": "code-reviewer"})
    assert headers == {
        "other": "kept",
        "traceparent": f"00-{sender.trace_id}-{sender.span_id}-01",
        "baggage": "session.id=s%201,gen_ai.agent.name=code-reviewer",
    }
    with attach(headers):
        recorded()
    span = named("inside")
    assert (span["traceId"], span["parentSpanId"]) == (sender.trace_id, sender.span_id)
    assert span["attributes"]["session.id"] == {"stringValue": "s 1"}
    assert span["attributes"]["gen_ai.agent.name"] == {"stringValue": "code-reviewer"}
    assert "gen_ai.agent.name" not in named("sender")["attributes"]


def test_outside_of_any_operation_there_is_nothing_to_write() -> None:
    headers: dict[str, str] = {}
    inject(headers)
    assert headers == {}


def test_an_attribute_of_the_operation_comes_before_the_inherited_one(named: Named) -> None:
    with attach(baggage={"session.id": "outer"}), operation("o", {"session.id": "own"}):
        pass
    assert named("o")["attributes"]["session.id"] == {"stringValue": "own"}


@pytest.mark.parametrize("names", [("traceparent", "baggage"), ("TRACEPARENT", "BAGGAGE")])
def test_headers_and_environments_are_both_read(named: Named, names: tuple[str, str]) -> None:
    with attach({names[0]: HEADER, names[1]: "session.id=s"}):
        recorded()
    span = named("inside")
    assert (span["traceId"], span["parentSpanId"]) == (TRACE, SPAN)
    assert span["attributes"]["session.id"] == {"stringValue": "s"}


def test_after_attach_the_former_context_is_back(named: Named) -> None:
    with operation("outer") as outer:
        with attach({"traceparent": HEADER}):
            pass
        recorded()
    assert named("inside")["parentSpanId"] == outer.span_id


def test_attach_leaves_an_exception_alone_and_the_context_too(named: Named) -> None:
    error = ValueError("x")
    with pytest.raises(ValueError, match="x") as caught, attach({"traceparent": HEADER}):
        raise error
    assert caught.value is error
    recorded()
    assert "parentSpanId" not in named("inside")


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"traceparent": "broken"}, {"bad_traceparent": 1}),
        ({"traceparent": HEADER.encode()}, {"bad_traceparent": 1}),
        ({"traceparent": "broken", "baggage": "x"}, {"bad_traceparent": 1, "bad_baggage": 1}),
        ({"baggage": ["a=1"]}, {"bad_baggage": 1}),
        ([("traceparent", HEADER)], {"bad_headers": 1}),
        (object(), {"bad_headers": 1}),
        (None, {}),
        ({}, {}),
    ],
)
def test_a_broken_value_is_counted_and_the_current_context_stays(
    named: Named, lost: Lost, headers: Any, reason: dict[str, int]
) -> None:
    with operation("outer") as outer, attach(headers):
        recorded()
    assert named("inside")["parentSpanId"] == outer.span_id
    assert lost() == reason


@pytest.mark.parametrize("headers", [None, MappingProxyType({}), object(), 5, ()])
def test_headers_that_cannot_be_written_raise_nothing(lost: Lost, headers: Any) -> None:
    with operation("outer"):
        inject(headers)
    assert lost() == {"bad_headers": 1}


@pytest.mark.parametrize("baggage", [{"a b": "x"}, {"a": 5}, {None: "x"}])
def test_bad_baggage_costs_only_itself(lost: Lost, baggage: Any) -> None:
    headers: dict[str, str] = {}
    with operation("outer"):
        inject(headers, {**baggage, "good": "y"})
    assert headers["baggage"] == "good=y"
    assert lost() == {"bad_baggage": 1}


def test_a_child_process_continues_the_trace(named: Named, run_python: Callable[..., str]) -> None:
    with operation("parent") as parent:
        environ = child_environment({"session.id": "x-1"})
        run_python(
            """
            from orchwatch import operation
            with operation("child"):
                pass
            """,
            **environ,
        )
    child = named("child")
    assert (child["traceId"], child["parentSpanId"]) == (parent.trace_id, parent.span_id)
    assert child["attributes"]["session.id"] == {"stringValue": "x-1"}


def test_three_generations_are_one_trace(named: Named, run_python: Callable[..., str]) -> None:
    with operation("first") as first:
        run_python(
            """
            import subprocess
            from orchwatch import child_environment, operation
            with operation("second"):
                code = (
                    f"import sys; sys.path[:] = {sys.path!r}\\n"
                    "from orchwatch import operation\\nwith operation('third'): pass"
                )
                subprocess.run([sys.executable, "-c", code], env=child_environment(), check=True)
            """,
            **child_environment(),
        )
    second, third = named("second"), named("third")
    assert {second["traceId"], third["traceId"]} == {first.trace_id}
    assert third["parentSpanId"] == second["spanId"]


def test_the_childs_environment_starts_from_ours_or_from_what_is_given() -> None:
    with operation("outer") as outer:
        header = f"00-{outer.trace_id}-{outer.span_id}-01"
        assert child_environment() == {**os.environ, "TRACEPARENT": header}
        assert child_environment(environ={"A": "b"}) == {"A": "b", "TRACEPARENT": header}
    assert child_environment(environ={"TRACEPARENT": HEADER}) == {"TRACEPARENT": HEADER}


def test_baggage_of_one_context_does_not_go_with_anothers_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BAGGAGE", "session.id=environment")
    with attach({"traceparent": HEADER, "baggage": "session.id=message"}):
        assert child_environment(environ={"BAGGAGE": "session.id=other"}) == {
            "TRACEPARENT": HEADER,
            "BAGGAGE": "session.id=message",
        }


def test_the_environments_context_is_continued_and_may_change(
    monkeypatch: pytest.MonkeyPatch, named: Named
) -> None:
    monkeypatch.setenv("TRACEPARENT", HEADER)
    recorded("first")
    monkeypatch.setenv("TRACEPARENT", HEADER.replace("a", "c"))
    recorded("second")
    monkeypatch.delenv("TRACEPARENT")
    recorded("third")
    assert named("first")["traceId"] == TRACE
    assert named("second")["traceId"] == "c" * 32
    assert "parentSpanId" not in named("third")


def test_a_broken_environment_is_counted_once_however_many_operations_follow(
    monkeypatch: pytest.MonkeyPatch, lost: Lost, named: Named
) -> None:
    monkeypatch.setenv("TRACEPARENT", "broken")
    monkeypatch.setenv("BAGGAGE", "a,b,session.id=s")
    for number in range(10):
        recorded(f"o{number}")
    assert lost() == {"bad_traceparent": 1, "bad_baggage": 2}
    span = named("o9")
    assert "parentSpanId" not in span
    assert span["attributes"]["session.id"] == {"stringValue": "s"}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_worker_of_multiprocessing_continues_what_it_is_handed(
    named: Named, method: str, tmp_path: Any, run_python: Callable[..., str]
) -> None:
    (tmp_path / "job.py").write_text(
        "from orchwatch import attach, operation\n"
        "def work(headers):\n"
        "    with attach(headers), operation('child'):\n"
        "        pass\n"
    )
    run_python(f"""
        import multiprocessing
        sys.path.insert(0, {str(tmp_path)!r})
        import job
        from orchwatch import inject, operation
        with operation("parent"):
            headers = {{}}
            inject(headers)
            context = multiprocessing.get_context({method!r})
            worker = context.Process(target=job.work, args=(headers,))
            worker.start()
            worker.join()
            assert worker.exitcode == 0
    """)
    assert named("child")["parentSpanId"] == named("parent")["spanId"]
    assert named("child")["traceId"] == named("parent")["traceId"]


def test_the_shell_can_hand_the_context_on(named: Named) -> None:
    code = f"import sys; sys.path[:] = {sys.path!r}\n"
    code += "import orchwatch\nwith orchwatch.operation('c'): pass"
    with operation("p") as parent:
        subprocess.run(
            ["sh", "-c", '"$0" -c "$1"', sys.executable, code], env=child_environment(), check=True
        )
    assert named("c")["parentSpanId"] == parent.span_id
