from __future__ import annotations

import asyncio
import functools
import importlib
import sys
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.integrations import wrapping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

    Spans = Callable[[], list[dict[str, Any]]]

pytestmark = pytest.mark.usefixtures("home")

SOURCE = '''
import functools

def function(value):
    """Doubles."""
    return 2 * value

async def coroutine(value):
    return 2 * value

def generator(value):
    yield value
    yield 2 * value

async def async_generator(value):
    yield value
    yield 2 * value

@functools.lru_cache
def cached(value):
    return 2 * value

CONSTANT = 1

class Base:
    def inherited(self, value):
        return 2 * value

class Store(Base):
    builtin = len

    def __init__(self, factor=2):
        self.factor = factor

    def method(self, value):
        return self.factor * value

    @staticmethod
    def static(value):
        return 2 * value

    @classmethod
    def on_class(cls, value):
        return (cls.__name__, 2 * value)

    @functools.lru_cache
    def cached_method(self, value):
        return self.factor * value

    class Inner:
        def method(self, value):
            return 2 * value

store = Store(3)
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A fresh module of everything that can be wrapped."""
    (tmp_path / "subject.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield importlib.import_module("subject")
    wrapping.remove()
    sys.modules.pop("subject", None)


@pytest.mark.parametrize(
    ("path", "call", "result"),
    [
        ("function", lambda m: m.function(21), 42),
        ("Store.method", lambda m: m.Store().method(21), 42),
        ("Store.inherited", lambda m: m.Store().inherited(21), 42),
        ("Store.static", lambda m: (m.Store.static(21), m.Store().static(21))[0], 42),
        ("Store.on_class", lambda m: m.Store.on_class(21), ("Store", 42)),
        ("Store.builtin", lambda m: m.Store().builtin("four"), 4),
        ("Store.cached_method", lambda m: m.Store().cached_method(21), 42),
        ("Store.Inner.method", lambda m: m.Store.Inner().method(21), 42),
        ("Store.__init__", lambda m: m.Store(5).factor, 5),
        ("store.method", lambda m: m.store.method(14), 42),
        ("cached", lambda m: m.cached(21), 42),
        ("coroutine", lambda m: asyncio.run(m.coroutine(21)), 42),
        ("generator", lambda m: list(m.generator(21)), [21, 42]),
        ("async_generator", lambda m: asyncio.run(_collect(m.async_generator(21))), [21, 42]),
    ],
)
def test_each_call_is_an_operation_and_gives_what_it_gave(
    module: ModuleType, spans: Spans, path: str, call: Callable[[ModuleType], Any], result: Any
) -> None:
    wrapping.apply({f"subject:{path}": "state.query"})
    assert call(module) == result
    assert {span["name"] for span in spans()} == {"state.query"}


async def _collect(items: Any) -> list[Any]:
    return [item async for item in items]


def test_an_exception_fails_the_operation_and_goes_on_unchanged(
    module: ModuleType, spans: Spans
) -> None:
    wrapping.apply({"subject:function": "state.query"})
    with pytest.raises(TypeError):
        module.function(None)
    (span,) = spans()
    assert span["attributes"]["error.type"] == "TypeError"


def test_a_wrapped_callable_still_looks_like_itself(module: ModuleType) -> None:
    wrapping.apply({"subject:function": "a", "subject:cached": "b"})
    assert module.function.__doc__ == "Doubles."
    module.cached(1)
    module.cached(1)
    assert module.cached.cache_info().hits == 1


def test_the_very_originals_come_back(module: ModuleType, spans: Spans) -> None:
    paths = ("function", "cached", "Store.static", "Store.on_class", "Store.inherited")
    before = {**vars(module)}, {**vars(module.Store)}, {**vars(module.store)}
    wrapping.apply({f"subject:{path}": "a" for path in (*paths, "store.method")})
    assert (dict(vars(module)), dict(vars(module.Store))) != before[:2]
    wrapping.remove()
    for then, owner in zip(before, (module, module.Store, module.store), strict=True):
        now = vars(owner)
        assert now.keys() == then.keys()
        assert all(now[name] is value for name, value in then.items())
    module.function(1)
    assert spans() == []


def test_what_is_wrapped_is_not_wrapped_twice(module: ModuleType, spans: Spans) -> None:
    for _ in range(2):
        wrapping.apply({"subject:function": "state.query"})
    module.function(1)
    assert len(spans()) == 1


def test_a_module_is_wrapped_when_the_program_imports_it(module: ModuleType, spans: Spans) -> None:
    del sys.modules[module.__name__]
    wrapping.apply({"subject:function": "state.query", "never_imported:thing": "x"})
    assert "subject" not in sys.modules
    assert importlib.import_module("subject").function(21) == 42
    assert len(spans()) == 1


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing", "there is no 'missing'"),
        ("Missing.method", "there is no 'Missing'"),
        ("Store.missing", "there is no 'missing'"),
        ("Store", "it is a class; name its method, such as __init__"),
        ("CONSTANT", "it is not callable but of type int"),
    ],
)
def test_what_cannot_be_wrapped_is_one_warning(
    module: ModuleType, caplog: pytest.LogCaptureFixture, path: str, reason: str
) -> None:
    wrapping.apply({f"{module.__name__}:{path}": "state.query"})
    assert [record.getMessage() for record in caplog.records] == [
        f"orchwatch: subject:{path} cannot be watched as state.query: {reason}"
    ]


def test_a_type_of_the_interpreter_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    wrapping.apply({"builtins:dict.get": "state.query"})
    (record,) = caplog.records
    assert "builtins:dict.get cannot be watched as state.query: " in record.getMessage()


def test_what_other_code_wrapped_again_stays_wrapped(
    module: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    wrapping.apply({"subject:Store.builtin": "a"})
    theirs = functools.partial(module.Store.builtin)
    module.Store.builtin = theirs
    wrapping.remove()
    assert module.Store.builtin is theirs
    (record,) = caplog.records
    assert record.getMessage() == (
        "orchwatch: subject:Store.builtin was wrapped again by other code and stays wrapped"
    )


def test_what_was_watched_from_its_import_on_can_be_left_and_watched_again(
    module: ModuleType, spans: Spans
) -> None:
    del sys.modules[module.__name__]
    wrapping.apply({"subject:function": "first"})
    again = importlib.import_module("subject")
    again.function(1)
    wrapping.remove()
    again.function(1)
    wrapping.apply({"subject:function": "second"})
    again.function(1)
    assert [span["name"] for span in spans()] == ["first", "second"]


def test_one_function_under_two_names_is_one_operation_and_one_warning(
    module: ModuleType, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    vars(module)["alias"] = module.function
    wrapping.apply({"subject:function": "a", "subject:alias": "b"})
    module.alias(1)
    assert [span["name"] for span in spans()] == ["a"]
    (record,) = caplog.records
    assert record.getMessage() == (
        "orchwatch: subject:alias cannot be watched as b: it is subject:function, which is watched"
        " as a"
    )


def test_a_partial_and_a_property_are_watched_wherever_they_were_handed_to(
    module: ModuleType, spans: Spans
) -> None:
    held = vars(module)["part"] = functools.partial(module.function, 4)
    module.Store.twice = property(lambda self: 2 * self.factor)
    wrapping.apply({"subject:part": "part", "subject:Store.twice": "twice"})
    assert (held(), module.store.twice) == (8, 6)
    wrapping.remove()
    assert (held(), module.store.twice) == (8, 6)
    assert [span["name"] for span in spans()] == ["part", "twice"]
