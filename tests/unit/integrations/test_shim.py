from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import linecache
import sys
import threading
import traceback
import types
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch import operation
from orchwatch.integrations import shim
from orchwatch.integrations.shim import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    Spans = Callable[[], list[dict[str, Any]]]

pytestmark = pytest.mark.usefixtures("home")

SOURCE = '''
import types

def parameters(a, /, b=2, *args, c, d=4, **others):
    """Says what it was called with."""
    return a, b, args, c, d, others

def nothing():
    pass

class Base:
    def greet(self):
        return "base"

class Store(Base):
    def __init__(self, rows=2):
        self.rows = rows

    def greet(self):
        return super().greet() + "+"

    def __private(self):
        return self.rows

    def private(self):
        return self.__private()

    @property
    def size(self):
        return self.rows

    @staticmethod
    def static(value):
        return value

    @classmethod
    def on_class(cls):
        return cls.__name__

    async def later(self, value):
        return 6 // value

    def steps(self, number):
        sent = []
        for step in range(number):
            sent.append((yield step))
        return sent

    async def async_steps(self, number):
        for step in range(number):
            yield step
        if number == 3:
            raise KeyError(number)

    @types.coroutine
    def old_style(self):
        yield
        return 5

def make(first):
    second = 3
    def inner(value):
        """Adds."""
        return first + second + value
    return inner

def fail(value):
    return 1 / value
'''
METHODS = ["__init__", "greet", "size", "static", "on_class", "later", "steps", "async_steps"]
PATHS = ["parameters", "nothing", "fail", "make.<locals>.inner", "Store.old_style"]
PATHS += [f"Store.{name}" for name in METHODS]


def namespace(*paths: str) -> types.SimpleNamespace:
    code = compile(SOURCE, "<subject>", "exec", dont_inherit=True)
    linecache.cache["<subject>"] = (len(SOURCE), None, SOURCE.splitlines(keepends=True), "")
    for path in paths:
        watch = Watch(f"subject:{path}", path)
        changed = shim.instrument(code, watch.path, watch)
        assert changed is not None, path
        code = changed
    module: dict[str, Any] = {"__name__": "subject"}
    exec(code, module)
    return types.SimpleNamespace(**module)


async def collect(items: Any) -> list[Any]:
    return [item async for item in items]


def drive(generator: Any) -> list[Any]:
    got = [next(generator), generator.send("a")]
    with pytest.raises(StopIteration) as stopped:
        generator.send("b")
    return [*got, stopped.value.value]


async def await_it(awaitable: Any) -> Any:
    return await awaitable


CALLS: list[tuple[str, Callable[[Any], Any]]] = [
    ("parameters", lambda m: (m.parameters(1, c=3), m.parameters(1, 5, 6, c=7, e=8))[1]),
    ("nothing", lambda m: m.nothing()),
    ("Store.__init__", lambda m: m.Store(9).rows),
    ("Store.greet", lambda m: m.Store().greet()),
    ("Store.__private", lambda m: m.Store().private()),
    ("Store.size", lambda m: m.Store().size),
    ("Store.static", lambda m: (m.Store.static(1), m.Store().static(2))[1]),
    ("Store.on_class", lambda m: m.Store.on_class()),
    ("Store.later", lambda m: asyncio.run(m.Store().later(2))),
    ("Store.steps", lambda m: drive(m.Store().steps(2))),
    ("Store.async_steps", lambda m: asyncio.run(collect(m.Store().async_steps(2)))),
    ("Store.old_style", lambda m: asyncio.run(await_it(m.Store().old_style()))),
    ("make.<locals>.inner", lambda m: (m.make(1)(2), m.make(2)(2))[1]),
]


@pytest.mark.parametrize(("path", "call"), CALLS)
def test_each_call_gives_what_it_gave_and_is_an_operation(
    spans: Spans, path: str, call: Callable[[Any], Any]
) -> None:
    expected = call(namespace())
    assert call(namespace(path)) == expected
    assert {span["name"] for span in spans()} == {path}


def functions(module: types.SimpleNamespace) -> list[Any]:
    members = [vars(module.Store)[name] for name in METHODS]
    members = [getattr(one, "fget", None) or getattr(one, "__func__", one) for one in members]
    return [module.parameters, module.nothing, module.make(1), *members]


def test_a_function_looks_as_before() -> None:
    for plain, watched in zip(functions(namespace()), functions(namespace(*PATHS)), strict=True):
        assert shim.watch_of(watched.__code__) is not None
        assert inspect.signature(watched) == inspect.signature(plain)
        assert inspect.getsource(watched) == inspect.getsource(plain)
        for attribute in ("__name__", "__qualname__", "__doc__", "__defaults__", "__kwdefaults__"):
            assert getattr(watched, attribute) == getattr(plain, attribute)
        for kind in ("iscoroutinefunction", "isgeneratorfunction", "isasyncgenfunction"):
            assert getattr(inspect, kind)(watched) == getattr(inspect, kind)(plain)
        assert watched.__code__.co_flags == plain.__code__.co_flags
        assert watched.__code__.co_freevars == plain.__code__.co_freevars
        count = plain.__code__.co_argcount + plain.__code__.co_kwonlyargcount
        assert watched.__code__.co_varnames[:count] == plain.__code__.co_varnames[:count]


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.fail(0),
        lambda m: asyncio.run(m.Store().later(0)),
        lambda m: asyncio.run(collect(m.Store().async_steps(3))),
        lambda m: m.Store().steps("a").send(None),
        lambda m: m.parameters(1),
    ],
)
def test_an_error_has_the_traceback_that_it_had(call: Callable[[Any], Any]) -> None:
    def trace(module: types.SimpleNamespace) -> list[tuple[str, int, str]]:
        with pytest.raises((ArithmeticError, KeyError, TypeError)) as raised:
            call(module)
        frames = traceback.extract_tb(raised.value.__traceback__)
        return [(frame.filename, frame.lineno or 0, frame.name) for frame in frames]

    assert trace(namespace(*PATHS)) == trace(namespace())


def test_an_error_that_leaves_a_call_fails_its_operation(spans: Spans) -> None:
    module = namespace("fail", "Store.later", "Store.async_steps")
    with pytest.raises(ZeroDivisionError):
        module.fail(0)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(module.Store().later(0))
    with pytest.raises(KeyError):
        asyncio.run(collect(module.Store().async_steps(3)))
    errors = [span["attributes"]["error.type"] for span in spans()]
    assert errors == ["ZeroDivisionError", "ZeroDivisionError", "KeyError"]


def test_calls_through_earlier_references_are_seen(spans: Spans) -> None:
    module = namespace()
    held = {"call": module.fail, "partial": functools.partial(module.fail, 1)}
    bound = module.Store(4).steps
    module.fail.__code__ = shim.shim(module.fail.__code__, Watch("s:fail", "fail"))
    steps = module.Store.steps
    steps.__code__ = shim.shim(steps.__code__, Watch("s:steps", "steps"))
    assert (held["call"](2), held["partial"](), list(bound(2))) == (0.5, 1.0, [0, 1])
    assert [span["name"] for span in spans()] == ["fail", "fail", "steps"]


def test_defaults_that_are_changed_later_count() -> None:
    module = namespace("parameters")
    module.parameters.__defaults__ = (7,)
    module.parameters.__kwdefaults__ = {"c": 8, "d": 9}
    assert module.parameters(1) == (1, 7, (), 8, 9, {})


def test_a_generator_that_is_closed_or_thrown_into_behaves_as_ever(spans: Spans) -> None:
    for module in (namespace(), namespace("Store.steps", "Store.async_steps")):
        steps = module.Store().steps(5)
        next(steps)
        with pytest.raises(LookupError):
            steps.throw(LookupError("thrown"))
        steps = module.Store().steps(5)
        next(steps)
        steps.close()

        async def leave_early(module: types.SimpleNamespace = module) -> None:
            async with contextlib.aclosing(module.Store().async_steps(5)) as items:
                async for _ in items:
                    break

        asyncio.run(leave_early())
    errors = [span["attributes"].get("error.type") for span in spans()]
    assert errors == ["LookupError", None, None]


def test_operations_in_threads_and_tasks_do_not_mix(spans: Spans) -> None:
    module = namespace("fail", "Store.later")

    async def many() -> None:
        await asyncio.gather(*[module.Store().later(1) for _ in range(20)])

    threads = [threading.Thread(target=module.fail, args=(1,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with operation("outer") as outer:
        asyncio.run(many())
    written = spans()
    parents = {span.get("parentSpanId") for span in written if span["name"] == "Store.later"}
    assert parents == {outer.span_id}
    assert [span["name"] for span in written].count("fail") == 20


def test_a_function_that_is_traced_runs_as_ever() -> None:
    module = namespace("fail")
    lines = []

    def trace(frame: types.FrameType, event: str, _argument: object) -> Any:
        if frame.f_code.co_filename == "<subject>" and event == "line":
            lines.append(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        assert module.fail(2) == 0.5
    finally:
        sys.settrace(before)
    first = module.fail.__code__.co_firstlineno
    assert {first, first + 1} == set(lines)


@pytest.mark.parametrize("path", ["Store", "Base"])
def test_a_class_is_no_function(path: str) -> None:
    code = compile(SOURCE, "<subject>", "exec")
    with pytest.raises(shim.CannotWatchError, match="name its method"):
        shim.instrument(code, [path], Watch(f"s:{path}", "a"))


def test_what_the_code_does_not_define_is_not_found() -> None:
    code = compile(SOURCE, "<subject>", "exec")
    for path in (["missing"], ["Store", "missing"], ["missing", "steps"], ["make", "outer"]):
        assert shim.instrument(code, path, Watch("s:a", "a")) is None


def test_a_function_and_one_inside_it_are_watched_in_either_order(spans: Spans) -> None:
    for paths in (("make", "make.inner"), ("make.inner", "make")):
        assert namespace(*paths).make(1)(2) == 6
    assert [span["name"] for span in spans()] == ["make", "make.inner"] * 2


def test_code_is_changed_once() -> None:
    code = compile(SOURCE, "<subject>", "exec")
    once = shim.instrument(code, ["fail"], Watch("s:fail", "a"))
    assert once is not None
    twice = shim.instrument(once, ["fail"], Watch("t:fail", "b"))
    assert twice == once


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax is Python 3.12's")
def test_functions_with_type_parameters_are_watched(spans: Spans) -> None:
    source = "class A[T]:\n  def m[S](self, s: S) -> T: return s\ndef f[T](v: T) -> T: return v\n"
    code: Any = compile(source, "<generic>", "exec")
    for path in (["A", "m"], ["f"]):
        code = shim.instrument(code, path, Watch("s:x", path[-1]))
    module: dict[str, Any] = {}
    exec(code, module)
    assert (module["A"]().m(1), module["f"](2)) == (1, 2)
    assert [span["name"] for span in spans()] == ["m", "f"]
