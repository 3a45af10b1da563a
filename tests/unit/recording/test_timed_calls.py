from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import subprocess
import sys
import types
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch import operation, timed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
    from pathlib import Path

    Spans = Callable[[], list[dict[str, Any]]]
    Named = Callable[[str], dict[str, Any]]

pytestmark = pytest.mark.usefixtures("home")


def inner(name: str = "inner") -> None:
    with operation(name):
        pass


@timed("add", {"kind": "sum"})
def add(a: int, b: int = 2) -> int:
    """Adds."""
    inner()
    return a + b


def test_a_call_is_an_operation_with_its_result_unchanged(named: Named) -> None:
    assert add(1, b=3) == 4
    assert named("add")["attributes"]["kind"] == {"stringValue": "sum"}
    assert named("inner")["parentSpanId"] == named("add")["spanId"]


def test_the_function_looks_as_before() -> None:
    assert (add.__name__, add.__doc__, add.__module__) == ("add", "Adds.", __name__)
    assert list(inspect.signature(add).parameters) == ["a", "b"]


def test_wrong_arguments_are_the_hosts_own_error() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        add()  # type: ignore[call-arg]


def test_recursion_is_a_chain(spans: Spans) -> None:
    @timed("factorial")
    def factorial(number: int) -> int:
        return number * factorial(number - 1) if number else 1

    assert factorial(10) == 3_628_800
    written = spans()
    assert len(written) == 11
    assert sum("parentSpanId" not in span for span in written) == 1


class Host:
    def __init__(self, base: int) -> None:
        self.base = base

    @timed("method")
    def method(self, number: int) -> int:
        return self.base + number

    @classmethod
    @timed("class_below")
    def class_below(cls, number: int) -> tuple[str, int]:
        return cls.__name__, number

    @timed("class_above")
    @classmethod
    def class_above(cls, number: int) -> tuple[str, int]:
        return cls.__name__, number

    @staticmethod
    @timed("static_below")
    def static_below(number: int) -> int:
        return number

    @timed("static_above")
    @staticmethod
    def static_above(number: int) -> int:
        return number

    @property
    @timed("property")
    def value(self) -> int:
        return self.base

    @timed("call")
    def __call__(self, number: int) -> int:
        return self.base * number


class AsyncCallable:
    async def __call__(self, number: int) -> int:
        inner()
        return number


@pytest.mark.parametrize(
    ("name", "call", "result"),
    [
        ("method", lambda: Host(1).method(2), 3),
        ("class_below", lambda: Host.class_below(2), ("Host", 2)),
        ("class_above", lambda: Host.class_above(2), ("Host", 2)),
        ("class_above", lambda: Host(1).class_above(2), ("Host", 2)),
        ("static_below", lambda: Host.static_below(2), 2),
        ("static_above", lambda: Host.static_above(2), 2),
        ("static_above", lambda: Host(1).static_above(2), 2),
        ("property", lambda: Host(5).value, 5),
        ("call", lambda: Host(5)(2), 10),
        ("x", lambda: timed("x")(Host(1).method)(4), 5),
        ("x", lambda: timed("x")(functools.partial(pow, 2))(3), 8),
        ("x", lambda: timed("x")(functools.lru_cache(len))("abc"), 3),
        ("x", lambda: timed("x")(len)("abc"), 3),
        ("x", lambda: timed("x")(Host)(7).base, 7),
        ("x", lambda: asyncio.run(timed("x")(AsyncCallable())(4)), 4),
        ("x", lambda: asyncio.run(timed("x")(functools.partial(AsyncCallable(), 4))()), 4),
    ],
)
def test_every_kind_of_callable_works(
    spans: Spans, name: str, call: Callable[[], Any], result: Any
) -> None:
    assert call() == result
    assert sum(span["name"] == name for span in spans()) == 1


def test_an_exception_is_the_very_same(named: Named) -> None:
    error = ValueError("x")

    @timed("o")
    def fail() -> None:
        raise error

    with pytest.raises(ValueError, match="x") as caught:
        fail()
    assert caught.value is error
    assert error.__context__ is None
    assert named("o")["attributes"]["error.type"] == {"stringValue": "ValueError"}


def test_coroutines_are_timed_until_they_return(named: Named) -> None:
    @timed("o")
    async def work(number: int) -> int:
        await asyncio.sleep(0)
        inner()
        return number

    assert inspect.iscoroutinefunction(work)
    assert asyncio.run(work(5)) == 5
    assert named("inner")["parentSpanId"] == named("o")["spanId"]


def test_a_coroutine_made_of_a_generator_can_still_be_awaited(named: Named) -> None:
    @timed("o")
    @types.coroutine
    def work() -> Generator[None, None, int]:
        yield
        return 5

    async def main() -> int:
        return await work()

    assert asyncio.run(main()) == 5
    assert named("o")["status"] == {"code": 1}


# Generators.


@timed("gen")
def numbers(count: int) -> Generator[int, int | None, str]:
    total = 0
    for number in range(count):
        inner(f"step{number}")
        sent = yield number
        total += sent or 0
    return f"total {total}"


def test_a_generator_lasts_until_it_is_exhausted(named: Named) -> None:
    assert inspect.isgeneratorfunction(numbers)
    assert list(numbers(3)) == [0, 1, 2]
    assert named("step2")["parentSpanId"] == named("gen")["spanId"]
    assert named("gen")["status"] == {"code": 1}


def test_between_its_steps_the_callers_operation_is_current(named: Named) -> None:
    with operation("caller"):
        steps = numbers(2)
        inner("before")
        next(steps)
        inner("between")
        list(steps)
        inner("after")
    caller = named("caller")["spanId"]
    assert named("gen")["parentSpanId"] == caller
    assert {named(name)["parentSpanId"] for name in ("before", "between", "after")} == {caller}
    assert named("step1")["parentSpanId"] == named("gen")["spanId"]


def test_interleaved_generators_do_not_mix(named: Named) -> None:
    @timed("other")
    def other() -> Iterator[int]:
        for number in range(3):
            inner(f"other{number}")
            yield number

    assert list(zip(numbers(3), other(), strict=True)) == [(0, 0), (1, 1), (2, 2)]
    for number in range(3):
        assert named(f"step{number}")["parentSpanId"] == named("gen")["spanId"]
        assert named(f"other{number}")["parentSpanId"] == named("other")["spanId"]


def test_what_is_sent_and_returned_passes_through() -> None:
    steps = numbers(2)
    assert (next(steps), steps.send(5)) == (0, 1)
    with pytest.raises(StopIteration) as stop:
        steps.send(7)
    assert stop.value.value == "total 12"


def test_yield_from_gets_the_return_value() -> None:
    def outer() -> Generator[int, int | None, str]:
        return (yield from numbers(2))

    steps = outer()
    assert [next(steps), next(steps)] == [0, 1]
    with pytest.raises(StopIteration, match="total 0"):
        next(steps)


def test_what_is_thrown_in_reaches_the_generator(named: Named) -> None:
    @timed("o")
    def resilient() -> Generator[str, None, None]:
        try:
            yield "first"
        except ValueError as error:
            yield f"caught {error}"

    steps = resilient()
    next(steps)
    assert steps.throw(ValueError("x")) == "caught x"
    assert list(steps) == []
    assert named("o")["status"] == {"code": 1}


def test_what_is_thrown_in_and_not_caught_comes_back_unchanged(named: Named) -> None:
    error = ValueError("x")
    steps = numbers(3)
    next(steps)
    with pytest.raises(ValueError, match="x") as caught:
        steps.throw(error)
    assert caught.value is error
    assert named("gen")["attributes"]["error.type"] == {"stringValue": "ValueError"}


def test_an_error_inside_a_generator_ends_it_as_failed(named: Named) -> None:
    @timed("o")
    def failing() -> Iterator[int]:
        yield 1
        raise KeyError("x")

    steps = failing()
    next(steps)
    with pytest.raises(KeyError):
        next(steps)
    assert named("o")["status"] == {"code": 2}


@pytest.mark.parametrize("end", ["close", "forget"])
def test_a_generator_left_early_is_closed_and_is_no_failure(named: Named, end: str) -> None:
    closed = []

    @timed("o")
    def steps() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    running = steps()
    next(running)
    if end == "close":
        running.close()  # type: ignore[attr-defined]
    del running
    assert closed == [True]
    assert named("o")["status"] == {"code": 1}
    inner("after")
    assert "parentSpanId" not in named("after")


def test_a_generator_never_started_is_no_operation(spans: Spans) -> None:
    numbers(3).close()
    inner()
    assert [span["name"] for span in spans()] == ["inner"]


def test_a_generator_that_refuses_to_close_raises_as_ever() -> None:
    @timed("o")
    def stubborn() -> Generator[int, None, None]:
        try:
            yield 1
        except GeneratorExit:
            yield 2

    steps = stubborn()
    next(steps)
    with pytest.raises(RuntimeError, match="generator ignored GeneratorExit"):
        steps.close()


def test_a_generator_may_be_a_context_manager(named: Named) -> None:
    @contextmanager
    @timed("o")
    def managed() -> Iterator[int]:
        yield 5

    with managed() as value:
        inner()
    assert value == 5
    assert "parentSpanId" not in named("inner")
    with pytest.raises(ValueError, match="x"), managed():
        raise ValueError("x")


def test_an_exception_of_a_generator_is_freed_without_the_collector() -> None:
    class OwnError(Exception):
        pass

    @timed("o")
    def failing() -> Iterator[int]:
        yield 1
        raise OwnError

    gc.disable()
    try:
        for throw in (False, True):
            steps = failing()
            next(steps)
            try:
                if throw:
                    steps.throw(OwnError())  # type: ignore[attr-defined]
                next(steps)
            except OwnError as error:
                alive = weakref.ref(error)
            del steps
            assert alive() is None
    finally:
        gc.enable()


# Asynchronous generators.


@timed("agen")
async def ticks(count: int) -> AsyncGenerator[int, int | None]:
    for number in range(count):
        await asyncio.sleep(0)
        inner(f"tick{number}")
        sent = yield number
        if sent:
            inner(f"sent{sent}")


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def call() -> Any:
        return await main()

    return asyncio.run(call())


def test_an_asynchronous_generator_lasts_until_it_is_exhausted(named: Named) -> None:
    async def main() -> list[int]:
        seen = []
        async with operation("caller"):
            async for number in ticks(3):
                inner(f"between{number}")
                seen.append(number)
        return seen

    assert inspect.isasyncgenfunction(ticks)
    assert run(main) == [0, 1, 2]
    assert named("agen")["parentSpanId"] == named("caller")["spanId"]
    assert named("tick2")["parentSpanId"] == named("agen")["spanId"]
    assert named("between1")["parentSpanId"] == named("caller")["spanId"]


def test_what_is_sent_into_an_asynchronous_generator_arrives(named: Named) -> None:
    async def main() -> list[int]:
        steps = ticks(2)
        return [await anext(steps), await steps.asend(7)]

    assert run(main) == [0, 1]
    assert named("sent7")["parentSpanId"] == named("agen")["spanId"]


def test_what_is_thrown_into_an_asynchronous_generator_comes_back(named: Named) -> None:
    error = ValueError("x")

    async def main() -> None:
        steps = ticks(2)
        await anext(steps)
        with pytest.raises(ValueError, match="x") as caught:
            await steps.athrow(error)
        assert caught.value is error

    run(main)
    assert named("agen")["attributes"]["error.type"] == {"stringValue": "ValueError"}


@pytest.mark.parametrize("end", ["aclose", "forget", "end of the loop"])
def test_an_asynchronous_generator_left_early_is_closed_and_is_no_failure(
    named: Named, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    closed = asyncio.Event()

    @timed("o")
    async def steps() -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.set()

    kept = [steps()]

    async def main() -> None:
        await anext(kept[0])
        if end == "aclose":
            await kept[0].aclose()
        elif end == "forget":
            kept.clear()
            await closed.wait()
        inner("after")

    run(main)
    assert closed.is_set()
    assert caplog.records == []
    assert named("o")["status"] == {"code": 1}
    assert "parentSpanId" not in named("after")


def test_asynchronous_generators_of_several_tasks_do_not_mix(named: Named) -> None:
    async def collect(name: str) -> None:
        async with operation(name):
            async for number in ticks(3):
                inner(f"{name}.{number}")

    async def main() -> None:
        await asyncio.gather(*(collect(f"t{number}") for number in range(5)))

    run(main)
    for task in range(5):
        for number in range(3):
            assert named(f"t{task}.{number}")["parentSpanId"] == named(f"t{task}")["spanId"]


def test_an_unwritable_home_changes_nothing(home: Any) -> None:
    home.write_text("in the way")
    assert add(1) == 3
    assert list(numbers(2)) == [0, 1]
    assert asyncio.run(timed("x")(AsyncCallable())(4)) == 4


@timed
def bare() -> int:
    return 1


@timed()
def called() -> int:
    return 2


class Store:
    @timed
    def get(self) -> int:
        return 3

    @timed
    @staticmethod
    def static() -> int:
        return 4

    @classmethod
    @timed()
    def on_class(cls) -> int:
        return 5

    @timed
    async def aget(self) -> int:
        return 6


def test_without_a_name_it_is_the_functions_own_after_its_module(spans: Spans) -> None:
    @timed
    def nested() -> int:
        return 7

    results = [bare(), called(), Store().get(), Store.static(), Store.on_class(), nested()]
    results.append(asyncio.run(Store().aget()))
    assert results == [1, 2, 3, 4, 5, 7, 6]
    assert [span["name"].removeprefix(f"{__name__}.") for span in spans()] == [
        "bare",
        "called",
        "Store.get",
        "Store.static",
        "Store.on_class",
        "test_without_a_name_it_is_the_functions_own_after_its_module.nested",
        "Store.aget",
    ]
    assert all(span["name"].startswith(f"{__name__}.") for span in spans())


def test_without_a_name_what_stands_for_a_function_has_that_functions(spans: Spans) -> None:
    timed(functools.partial(add, 1))(2)
    assert spans()[-1]["name"] == f"{__name__}.add"


@pytest.mark.parametrize(
    ("words", "name"), [(["my-hook.py"], "my-hook.f"), (["-m", "shop.spawn"], "shop.spawn.f")]
)
def test_without_a_name_a_function_of_the_script_is_called_after_its_file(
    tmp_path: Path, spans: Spans, words: list[str], name: str
) -> None:
    source = "from orchwatch import timed\n@timed\ndef f(): pass\nf()\n"
    (tmp_path / "shop").mkdir()
    (tmp_path / "my-hook.py").write_text(source)
    (tmp_path / "shop" / "spawn.py").write_text(source)
    subprocess.run([sys.executable, *words], cwd=tmp_path, check=True, timeout=240)
    assert [span["name"] for span in spans()] == [name]
