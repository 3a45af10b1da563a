from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import subprocess
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch import operation
from orchwatch.recording import active
from orchwatch.recording.spool_recorder import SpoolRecorder

if TYPE_CHECKING:
    from collections.abc import Callable

    Spans = Callable[[], list[dict[str, Any]]]
    Named = Callable[[str], dict[str, Any]]
    Lost = Callable[[], dict[str, int]]

pytestmark = pytest.mark.usefixtures("home")


class Name(enum.StrEnum):
    QUERY = "state.query"


class OwnError(Exception):
    pass


class BadText(str):
    __slots__ = ()

    def __len__(self) -> int:
        raise RuntimeError

    __str__ = __bool__ = __getitem__ = __len__  # type: ignore[assignment]


class Explodes:
    def __bool__(self) -> bool:
        raise RuntimeError

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


def kind_of(value: object) -> str:
    return type(value).__name__


def test_an_operation_is_one_span_with_its_name_ids_times_and_status(named: Named) -> None:
    with operation("state.query", {"rows": 3}) as op:
        pass
    span = named("state.query")
    assert (span["traceId"], span["spanId"]) == (op.trace_id, op.span_id)
    assert (len(op.trace_id), len(op.span_id)) == (32, 16)
    assert "parentSpanId" not in span
    assert span["attributes"] == {
        "orchestration.operation.name": {"stringValue": "state.query"},
        "rows": {"intValue": "3"},
    }
    assert span["status"] == {"code": 1}
    assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])


def test_nested_operations_are_children_and_siblings_share_a_parent(named: Named) -> None:
    with operation("a"):
        with operation("b"), operation("c"):
            pass
        with operation("d"):
            pass
    with operation("e"):
        pass
    a, b, c, d, e = map(named, "abcde")
    assert b["parentSpanId"] == d["parentSpanId"] == a["spanId"]
    assert c["parentSpanId"] == b["spanId"]
    assert len({span["traceId"] for span in (a, b, c, d)}) == 1
    assert e["traceId"] != a["traceId"]


def test_children_lie_within_their_parents_time(named: Named) -> None:
    with operation("a"), operation("b"):
        pass
    a, b = named("a"), named("b")
    assert int(a["startTimeUnixNano"]) <= int(b["startTimeUnixNano"])


def test_recursion_is_a_chain(spans: Spans) -> None:
    def descend(depth: int) -> None:
        with operation("r"):
            if depth:
                descend(depth - 1)

    descend(50)
    parents = {span["spanId"]: span.get("parentSpanId") for span in spans()}
    (position,) = set(parents) - set(parents.values())
    length = 0
    while position is not None:
        position = parents[position]
        length += 1
    assert length == 51


def test_attributes_set_meanwhile_are_added(named: Named) -> None:
    given = {"a": 1, "b": 1}
    with operation("o", given) as op:
        op.set_attribute("b", 2)
        op.set_attribute("c", [1.5])
    attributes = named("o")["attributes"]
    assert (attributes["a"], attributes["b"]) == ({"intValue": "1"}, {"intValue": "2"})
    assert attributes["c"] == {"arrayValue": {"values": [{"doubleValue": 1.5}]}}
    assert given == {"a": 1, "b": 1}


def test_attributes_are_those_that_were_handed_over(named: Named) -> None:
    attributes: dict[str, Any] = {"number": 1, "numbers": [1]}
    with operation("state.query", attributes) as op:
        op.set_attribute("later", attributes["numbers"])
        attributes["number"] = 2
        attributes["numbers"].append(2)
        attributes["more"] = 3

    one = {"arrayValue": {"values": [{"intValue": "1"}]}}
    found = named("state.query")["attributes"]
    del found["orchestration.operation.name"]
    assert found == {"number": {"intValue": "1"}, "numbers": one, "later": one}


def test_the_operations_name_cannot_be_taken_by_an_attribute(named: Named) -> None:
    with operation("o", {"orchestration.operation.name": "x"}):
        pass
    assert named("o")["attributes"] == {"orchestration.operation.name": {"stringValue": "o"}}


def test_a_failure_without_an_exception_is_named(spans: Spans) -> None:
    for error_type in ("timeout", "", None, "x" * 1_000_000):
        with operation("o") as op:
            op.fail(error_type)  # type: ignore[arg-type]
    with operation("o") as op:
        op.fail()
    kinds = [span["attributes"]["error.type"]["stringValue"] for span in spans()]
    assert kinds == ["timeout", "_OTHER", "_OTHER", "x" * 256, "_OTHER"]
    assert {span["status"]["code"] for span in spans()} == {2}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("x"), "ValueError"),
        (OwnError("x"), f"{OwnError.__module__}.OwnError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (SystemExit(3), "SystemExit"),
        (SystemExit("message"), "SystemExit"),
        (asyncio.CancelledError(), "asyncio.exceptions.CancelledError"),
        (StopIteration(5), "StopIteration"),
        (ExceptionGroup("g", [ValueError()]), "ExceptionGroup"),
        (subprocess.CalledProcessError(1, "x"), "subprocess.CalledProcessError"),
    ],
    ids=kind_of,
)
def test_an_exception_marks_the_failure_and_goes_on_unchanged(
    named: Named, error: BaseException, kind: str
) -> None:
    cause = OSError("cause")
    with pytest.raises(type(error)) as caught, operation("o"):
        raise error from cause
    assert caught.value is error
    assert error.__cause__ is cause
    assert error.__context__ is None
    frames = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    assert set(frames) == {__file__}
    assert named("o")["status"] == {"code": 2}
    assert named("o")["attributes"]["error.type"] == {"stringValue": kind}


@pytest.mark.parametrize(
    "error", [SystemExit(0), SystemExit(), SystemExit(None), GeneratorExit()], ids=repr
)
def test_an_exception_that_means_no_failure_is_none(named: Named, error: BaseException) -> None:
    with pytest.raises(type(error)), operation("o"):
        raise error
    assert named("o")["status"] == {"code": 1}
    assert "error.type" not in named("o")["attributes"]


def test_a_failure_that_was_named_before_keeps_its_name(named: Named) -> None:
    op = operation("o")
    with pytest.raises(ZeroDivisionError), op:
        assert op.fail("timeout") or 1 / 0  # type: ignore[func-returns-value]
    assert named("o")["attributes"]["error.type"] == {"stringValue": "timeout"}


def test_an_exception_caught_inside_is_no_failure(named: Named) -> None:
    with operation("o"), contextlib.suppress(ZeroDivisionError):
        print(1 / 0)
    assert named("o")["status"] == {"code": 1}


def test_a_failed_child_does_not_fail_its_parent(named: Named) -> None:
    with operation("p"), contextlib.suppress(ZeroDivisionError), operation("c"):
        print(1 / 0)
    assert (named("p")["status"]["code"], named("c")["status"]["code"]) == (1, 2)


# Names and attributes that are none.


@pytest.mark.parametrize(
    "name", [None, "", 5, b"state.query", ["x"], object(), Explodes()], ids=kind_of
)
def test_a_name_that_is_no_text_is_counted(named: Named, lost: Lost, name: Any) -> None:
    with operation(name):
        pass
    assert named("unnamed")["attributes"] == {
        "orchestration.operation.name": {"stringValue": "unnamed"}
    }
    assert lost() == {"bad_name": 1}


@pytest.mark.parametrize(
    ("name", "written"),
    [
        (Name.QUERY, "state.query"),
        (BadText("bad"), "bad"),
        ("n" * 1_000_000, "n" * 256),
        ('a"\\\n\x00\u2028', 'a"\\\n\x00\u2028'),
        ("half \udc80", "half ?"),
    ],
    ids=kind_of,
)
def test_an_odd_name_is_written_as_plain_text(
    named: Named, lost: Lost, name: str, written: str
) -> None:
    with operation(name):
        pass
    assert named(written)["attributes"]["orchestration.operation.name"] == {"stringValue": written}
    assert lost() == {}


@pytest.mark.parametrize("attributes", [Explodes(), 5, "text", [1], object()], ids=kind_of)
def test_attributes_that_are_none_do_not_cost_the_operation(
    named: Named, lost: Lost, attributes: Any
) -> None:
    with operation("o", attributes):
        pass
    assert list(named("o")["attributes"]) == ["orchestration.operation.name"]
    assert lost() == {"bad_attribute": 1}


def test_each_bad_attribute_is_counted_and_the_others_stay(named: Named, lost: Lost) -> None:
    with operation("o", {"a": None, "b": b"", "c": 1}) as op:  # type: ignore[dict-item]
        op.set_attribute("d", object())  # type: ignore[arg-type]
        op.set_attribute(["unhashable"], 1)  # type: ignore[arg-type]
        op.set_attribute(5, 1)  # type: ignore[arg-type]
        op.set_attribute("e", "x" * 1_000_000)
    assert list(named("o")["attributes"]) == ["orchestration.operation.name", "c", "e"]
    assert lost() == {"bad_attribute": 5}


def test_a_process_that_makes_names_up_does_not_keep_them(spans: Spans) -> None:

    for number in range(3000):
        with operation(f"o{number}"):
            pass
    assert len(spans()) == 3000
    assert isinstance(active.recorder, SpoolRecorder)
    assert len(active.recorder._names) <= 1024


# Tasks.


def test_tasks_are_children_of_what_started_them_and_do_not_mix(named: Named) -> None:
    async def work(name: str) -> None:
        async with operation(name):
            await asyncio.sleep(0)
            async with operation(f"{name}.inner"):
                await asyncio.sleep(0)

    async def main() -> None:
        async with operation("main"):
            await asyncio.gather(*(work(f"w{number}") for number in range(20)))
            await asyncio.create_task(work("task"))
            async with asyncio.TaskGroup() as group:
                group.create_task(work("group"))

    asyncio.run(main())
    main_id = named("main")["spanId"]
    for name in [*(f"w{number}" for number in range(20)), "task", "group"]:
        assert named(name)["parentSpanId"] == main_id
        assert named(f"{name}.inner")["parentSpanId"] == named(name)["spanId"]


def test_a_task_that_outlives_the_operation_is_still_its_child(named: Named) -> None:
    async def main() -> None:
        async def later(event: asyncio.Event) -> None:
            await event.wait()
            with operation("later"):
                pass

        event = asyncio.Event()
        with operation("starter"):
            task = asyncio.create_task(later(event))
        event.set()
        with operation("other"):
            await task

    asyncio.run(main())
    assert named("later")["parentSpanId"] == named("starter")["spanId"]


def test_a_cancelled_task_ends_its_operation_as_cancelled(named: Named) -> None:
    async def main() -> None:
        started = asyncio.Event()

        async def wait() -> None:
            async with operation("waiting"):
                started.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(wait())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(main())
    assert named("waiting")["status"] == {"code": 2}


def test_a_timeout_of_asyncio_still_works(named: Named) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0), operation("o"):
                await asyncio.Event().wait()

    asyncio.run(main())
    assert named("o")["status"] == {"code": 2}


def test_work_in_to_thread_is_a_child(named: Named) -> None:
    def work() -> None:
        with operation("thread"):
            pass

    async def main() -> None:
        async with operation("main"):
            await asyncio.to_thread(work)
        await asyncio.to_thread(recorded, "alone")
        async with operation("second"):
            await asyncio.get_running_loop().run_in_executor(None, recorded, "executor")

    asyncio.run(main())
    assert named("thread")["parentSpanId"] == named("main")["spanId"]
    assert "parentSpanId" not in named("alone")
    assert named("executor")["parentSpanId"] == named("second")["spanId"]


def recorded(name: str) -> None:
    with operation(name):
        pass


# Processes.


def test_forked_children_make_ids_of_their_own(spans: Spans) -> None:
    with operation("parent") as parent:
        children = []
        for _ in range(8):
            child = os.fork()
            if child == 0:
                for _ in range(100):
                    recorded("child")
                os._exit(0)
            children.append(child)
        for _ in range(100):
            recorded("child")
        assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    written = spans()
    assert len(written) == 901
    assert len({span["spanId"] for span in written}) == 901
    assert {span["traceId"] for span in written} == {parent.trace_id}
    assert {span.get("parentSpanId") for span in written} == {parent.span_id, None}


def test_a_forked_childs_resource_is_its_own(lines: Callable[[str], Any]) -> None:
    recorded("warm")
    child = os.fork()
    if child == 0:
        recorded("child")
        os._exit(0)
    os.waitpid(child, 0)
    pids = [
        attribute["value"]["intValue"]
        for line in lines("operations")[0]
        for resource in line["resourceSpans"]
        for attribute in resource["resource"]["attributes"]
        if attribute["key"] == "process.pid"
    ]
    assert pids == [str(os.getpid()), str(child)]


@pytest.mark.parametrize(
    ("ending", "code", "status"),
    [("sys.exit(0)", 0, 1), ("sys.exit(7)", 7, 2), ("1 / 0", 1, 2), ("pass", 0, 1)],
)
def test_a_process_ends_as_it_would_without_us(
    *,
    start_python: Callable[..., subprocess.Popen[str]],
    named: Named,
    ending: str,
    code: int,
    status: int,
) -> None:
    process = start_python(f"from orchwatch import operation\nwith operation('o'):\n    {ending}\n")
    assert process.wait(60) == code
    assert named("o")["status"] == {"code": status}


def test_an_interrupt_ends_the_operation_and_the_process_as_ever(
    start_python: Callable[..., subprocess.Popen[str]], named: Named
) -> None:
    process = start_python("""
        import os, signal
        from orchwatch import operation
        with operation("o"):
            os.kill(os.getpid(), signal.SIGINT)
    """)
    assert process.wait(60) == -2
    assert named("o")["attributes"]["error.type"] == {"stringValue": "KeyboardInterrupt"}


def test_a_signal_handlers_operation_is_a_child_of_what_it_interrupts(
    run_python: Callable[..., str], spans: Spans
) -> None:
    run_python("""
        import signal
        from orchwatch import operation
        handled = 0
        def handle(*_):
            global handled
            with operation("handler"):
                pass
            handled += 1
            signal.setitimer(signal.ITIMER_REAL, 0.0003)
        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0003)
        while handled < 200:
            with operation("outer"):
                with operation("inner"):
                    pass
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # before that: a handler would set it again
        signal.setitimer(signal.ITIMER_REAL, 0)
    """)
    written = spans()
    ids = {span["spanId"] for span in written}
    assert len(ids) == len(written)
    assert sum(span["name"] == "handler" for span in written) >= 200
    for span in written:
        if span["name"] == "inner":
            assert span["parentSpanId"] in ids


# A spool that cannot be written.


def test_an_unwritable_home_costs_the_host_nothing_but_its_spans(home: Any, lost: Lost) -> None:
    home.write_text("in the way")
    error = ValueError("x")
    with pytest.raises(ValueError, match="x") as caught, operation("o"):
        raise error
    assert caught.value is error
    with operation("o") as op:
        op.set_attribute("a", 1)
    assert (len(op.trace_id), len(op.span_id)) == (32, 16)
    assert lost() == {"spool_unwritable": 2}


def test_an_operation_on_a_full_disk_returns_what_the_host_returns(
    run_python: Callable[..., str], lost: Lost
) -> None:
    printed = run_python("""
        import resource
        from orchwatch.recording import losses
        from orchwatch import operation, timed
        losses.count("bad_name")
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
        @timed("o")
        def work(number):
            return number
        print(sum(work(number) for number in range(100)))
    """)
    assert printed == "4950\n"
    assert set(lost()) == {"bad_name", "disk_full"}
    assert 90 <= lost()["disk_full"] <= 100


def test_an_operation_is_ended_by_the_recorder_that_started_it(
    monkeypatch: pytest.MonkeyPatch, named: Named, lost: Lost
) -> None:
    first, start = active.recorder, active.recorder.start
    another = SpoolRecorder()
    another.in_child()  # it records nothing any more

    def replaced_meanwhile(op: operation) -> None:
        start(op)
        active.use(another)

    monkeypatch.setattr(first, "start", replaced_meanwhile)
    try:
        with operation("o"):
            pass
    finally:
        active.use(first)
    assert named("o")
    assert lost() == {}


@pytest.mark.parametrize("path", ["fast", "sdk"])
@pytest.mark.parametrize("kind", ["TimeoutError", "ValueError", "Limit"])
@pytest.mark.parametrize("first", ["pass", "del signal_number, frame"])
def test_an_exception_of_a_signal_handler_of_the_host_goes_on_to_the_host(
    run_python: Callable[..., str], path: str, kind: str, first: str
) -> None:
    out = run_python(
        f"""
import signal
import orchwatch
from orchwatch import operation
class Limit(Exception): pass
if {path!r} == "sdk": orchwatch.configure(export="spool")
raised = seen = 0
def handler(signal_number, frame):
    {first}
    global raised
    raised += 1
    raise {kind}
signal.signal(signal.SIGALRM, handler)
with operation("the first makes the spool"): pass
for microseconds in range(20, 220):
    try:
        signal.setitimer(signal.ITIMER_REAL, microseconds / 1e6)
        while True:
            with operation("limited", {{"number": 1}}) as op: op.set_attribute("more", 2)
    except {kind}:
        seen += 1
print(raised == seen == 200)
"""
    )

    assert out == "True\n"


def test_only_what_a_signal_handler_raises_is_the_hosts(
    home: Any,  # noqa: ARG001 - clears the environment first
    lost: Lost,
) -> None:
    class Odd:
        def items(self) -> None:
            raise TimeoutError

        def __bool__(self) -> bool:
            return True

    with operation("state.query", Odd()):  # type: ignore[arg-type]
        pass

    assert lost() == {"bad_attribute": 1}
