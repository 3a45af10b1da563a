from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch import attach, operation

if TYPE_CHECKING:
    from collections.abc import Callable

    Named = Callable[[str], dict[str, Any]]

pytestmark = pytest.mark.usefixtures("home")


def recorded(name: str) -> str:
    with operation(name):
        return name


def test_a_threads_operations_are_children_of_what_started_it(named: Named) -> None:
    with operation("main") as main:
        thread = threading.Thread(target=recorded, args=("thread",))
        thread.start()
        thread.join()
    assert named("thread")["parentSpanId"] == main.span_id
    assert named("thread")["traceId"] == main.trace_id


def test_a_subclass_with_a_run_of_its_own_is_followed(named: Named) -> None:
    class Worker(threading.Thread):
        def run(self) -> None:
            recorded("worker")

    with operation("main") as main:
        worker = Worker(daemon=True)
        worker.start()
        worker.join()
    assert named("worker")["parentSpanId"] == main.span_id


def test_a_timer_is_followed(named: Named) -> None:
    with operation("main") as main:
        timer = threading.Timer(0, recorded, ("timer",))
        timer.start()
        timer.join()
    assert named("timer")["parentSpanId"] == main.span_id


def test_threads_of_threads_are_grandchildren(named: Named) -> None:
    def outer() -> None:
        with operation("outer"):
            thread = threading.Thread(target=recorded, args=("inner",))
            thread.start()
            thread.join()

    with operation("main"):
        thread = threading.Thread(target=outer)
        thread.start()
        thread.join()
    assert named("outer")["parentSpanId"] == named("main")["spanId"]
    assert named("inner")["parentSpanId"] == named("outer")["spanId"]


def test_a_thread_started_outside_of_operations_starts_a_trace(named: Named) -> None:
    recorded("before")
    thread = threading.Thread(target=recorded, args=("thread",))
    thread.start()
    thread.join()
    assert "parentSpanId" not in named("thread")
    assert "run" not in vars(thread)


def test_baggage_goes_along(named: Named) -> None:
    with attach(baggage={"session.id": "s"}), operation("main"):
        thread = threading.Thread(target=recorded, args=("thread",))
        thread.start()
        thread.join()
    assert named("thread")["attributes"]["session.id"] == {"stringValue": "s"}


def test_each_task_of_a_pool_belongs_to_what_submitted_it(named: Named) -> None:
    recorded("before")
    with ThreadPoolExecutor(1) as pool:
        with operation("first"):
            assert pool.submit(recorded, "task1").result() == "task1"
        with operation("second"):
            assert list(pool.map(recorded, ["task2", "task3"])) == ["task2", "task3"]
        assert pool.submit(recorded, "alone").result() == "alone"
    assert named("task1")["parentSpanId"] == named("first")["spanId"]
    assert named("task2")["parentSpanId"] == named("second")["spanId"]
    assert named("task3")["parentSpanId"] == named("second")["spanId"]
    assert "parentSpanId" not in named("alone")


def test_a_pools_error_is_the_very_same() -> None:
    error = ValueError("x")

    def fail() -> None:
        raise error

    with operation("main"), ThreadPoolExecutor(1) as pool:
        assert pool.submit(fail).exception() is error


def test_the_hosts_own_context_stays_as_python_has_it() -> None:
    own = ContextVar("own", default="default")
    own.set("set")
    seen = []
    with operation("main"):
        thread = threading.Thread(target=lambda: seen.append(own.get()))
        thread.start()
        thread.join()
    assert seen == ["default"]


def test_a_thread_can_still_be_started_only_once() -> None:
    with operation("main"):
        thread = threading.Thread(target=len, args=("x",))
        thread.start()
        thread.join()
        with pytest.raises(RuntimeError, match="threads can only be started once"):
            thread.start()


def test_what_a_finished_thread_held_is_freed_with_it() -> None:
    class Result:
        pass

    result = Result()
    alive = weakref.ref(result)
    thread = threading.Thread(target=id, args=(result,))
    thread.start()
    thread.join()
    gc.disable()
    try:
        del result, thread
        assert alive() is None
    finally:
        gc.enable()


def test_many_threads_nest_without_mixing(spans: Callable[[], list[dict[str, Any]]]) -> None:
    def work(number: int) -> None:
        for _ in range(100):
            with operation(f"outer{number}"):
                recorded(f"inner{number}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written = {span["spanId"]: span for span in spans()}
    assert len(written) == 8 * 200
    for span in written.values():
        if span["name"].startswith("inner"):
            assert written[span["parentSpanId"]]["name"] == f"outer{span['name'][5:]}"


def test_modules_that_a_host_does_not_use_are_not_loaded(
    run_python: Callable[..., str],
) -> None:
    printed = run_python(
        """
        from orchwatch import operation
        with operation("a"):
            pass
        print("threading" in sys.modules, "concurrent.futures" in sys.modules)
        import threading
        with operation("a"):
            pass
        print("concurrent.futures" in sys.modules)
        """,
        flags=("-I", "-S"),
    )
    assert printed == "False False\nFalse\n"


def test_a_pool_that_is_imported_late_is_followed(
    run_python: Callable[..., str], named: Named
) -> None:
    run_python("""
        from orchwatch import operation
        with operation("early"):
            from concurrent.futures import ThreadPoolExecutor
        def work():
            with operation("task"):
                pass
        with operation("main"), ThreadPoolExecutor() as pool:
            pool.submit(work).result()
    """)
    assert named("task")["parentSpanId"] == named("main")["spanId"]


def test_a_pool_that_is_loaded_in_the_middle_of_an_operation_is_followed(
    run_python: Callable[..., str], spans: Callable[[], list[dict[str, Any]]]
) -> None:
    run_python(
        """
        import concurrent.futures
        from orchwatch import operation

        def task():
            with operation("task"):
                pass

        with operation("outer"):
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                for _ in range(10):
                    pool.submit(task)
        """
    )
    (outer,) = [span for span in spans() if span["name"] == "outer"]
    tasks = [span for span in spans() if span["name"] == "task"]
    assert [task.get("parentSpanId") for task in tasks] == [outer["spanId"]] * 10
