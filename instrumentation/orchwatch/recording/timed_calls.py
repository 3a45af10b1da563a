"""The decorator: each call of a function is one operation."""

from __future__ import annotations

import os
import sys
from functools import partial, wraps

from orchwatch.recording.operation import operation

TYPE_CHECKING = False  # typing costs more to import than all of this
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
    from types import TracebackType
    from typing import Any, Protocol, Self, TypeVar, overload

    from orchwatch.recording.otlp_json import Attributes

    AnyCallable = TypeVar("AnyCallable", bound=Callable[..., Any])

    class Decorator(Protocol):
        """What `timed(…)` returns: the decorator itself."""

        def __call__(self, function: AnyCallable, /) -> AnyCallable: ...


# Flags of a code object; `inspect` has them too, but takes 17 ms to import.
# Source: the Python language reference, "Code objects".
_GENERATOR = 0x20
_COROUTINE = 0x80 | 0x100
_ASYNC_GENERATOR = 0x200


if TYPE_CHECKING:

    @overload
    def timed(function: AnyCallable, /) -> AnyCallable: ...

    @overload
    def timed(name: str | None = None, attributes: Attributes | None = None) -> Decorator: ...


def timed(name: Any = None, attributes: Attributes | None = None) -> Any:
    """Makes each call of the decorated function an operation; see `operation`.

    Works on functions, methods, coroutine functions, generators and asynchronous generators. A
    generator's operation lasts from its first step until it is exhausted or closed; between its
    steps the caller's own operation is the current one.

    Args:
        name: Name of the operation; by default the function's qualified name, `shop.db.Store.get`.
            `@timed` and `@timed()` are the same.
        attributes: The same for every call.
    """
    if callable(name) or isinstance(name, classmethod):
        return _decorate(None, attributes, name)
    return partial(_decorate, name, attributes)


def _decorate(name: str | None, attributes: Attributes | None, function: Any) -> Any:
    if isinstance(function, staticmethod | classmethod):
        return type(function)(_decorate(name, attributes, function.__func__))
    name = qualified_name(function) if name is None else name
    return time_calls(function, partial(operation, name, attributes))


def time_calls(function: AnyCallable, begin: Callable[[], operation]) -> AnyCallable:
    """Wraps the function so that each call runs inside the operation that `begin()` returns."""
    flags = _code_flags(function)
    if flags & _ASYNC_GENERATOR:
        kind = _time_async_generator
    elif flags & _COROUTINE:  # before generators: `types.coroutine` makes one out of the other
        kind = _time_coroutine
    elif flags & _GENERATOR:
        kind = _time_generator
    else:
        kind = _time_function
    return wraps(function)(kind(function, begin))  # type: ignore[return-value]


def qualified_name(function: Any) -> str:
    """Module and function, `shop.db.Store.get`: as many names as the source has functions."""
    while isinstance(function, partial):
        function = function.func
    module = getattr(function, "__module__", None) or ""
    if module == "__main__":
        main = sys.modules.get("__main__")
        spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
        if spec is not None:
            module = spec.name.removesuffix(".__main__")
        elif file:
            module = os.path.basename(file).removesuffix(".py")
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{module}.{name}".replace(".<locals>", "").strip(".")


def _code_flags(function: Any) -> int:
    while isinstance(function, partial):
        function = function.func
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    return code.co_flags if code else 0


def _time_function(
    function: Callable[..., Any], begin: Callable[[], operation]
) -> Callable[..., Any]:
    def timed_function(*args: Any, **kwargs: Any) -> Any:
        with begin():
            return function(*args, **kwargs)

    return timed_function


def _time_coroutine(
    function: Callable[..., Any], begin: Callable[[], operation]
) -> Callable[..., Any]:
    async def timed_coroutine(*args: Any, **kwargs: Any) -> Any:
        with begin():
            return await function(*args, **kwargs)

    return timed_coroutine


def _time_generator(
    function: Callable[..., Any], begin: Callable[[], operation]
) -> Callable[..., Any]:
    def timed_generator(*args: Any, **kwargs: Any) -> Any:
        return (yield from steps(begin(), function(*args, **kwargs)))

    return timed_generator


def _time_async_generator(
    function: Callable[..., Any], begin: Callable[[], operation]
) -> Callable[..., Any]:
    async def timed_async_generator(*args: Any, **kwargs: Any) -> Any:
        with AsyncSteps(begin(), function(*args, **kwargs)) as steps:
            while True:
                try:
                    item = await steps.next()
                except StopAsyncIteration:
                    return
                try:
                    steps.send((yield item))
                except GeneratorExit:
                    await steps.close()
                    raise
                except BaseException as thrown:  # noqa: BLE001 - handed on to the generator
                    steps.throw(thrown)

    return timed_async_generator


class AsyncSteps:
    """Drives an asynchronous generator with the operation being current only while it runs.

    The caller is itself an asynchronous generator: it yields what `next` returns, and passes the
    outcome to `send`, `throw` or `close`.
    """

    __slots__ = ("_operation", "_step", "_steps")

    def __init__(self, begun: operation, steps: AsyncGenerator[Any, Any]) -> None:
        self._operation = begun
        self._steps = steps

    def __enter__(self) -> Self:
        self._step: Callable[[], Awaitable[Any]] = partial(_first_step, self._steps)
        self._operation._start()
        return self

    def __exit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        del self._step  # otherwise a reference cycle through the error's frames
        self._operation._end(error)

    async def next(self) -> Any:
        """The generator's next item.

        Raises:
            StopAsyncIteration: It has no more.
        """
        self._operation._resume()
        try:
            return await self._step()
        finally:
            self._operation._suspend()

    def send(self, value: Any) -> None:
        """Hands the generator a value at its next step."""
        self._step = partial(self._steps.asend, value)

    def throw(self, error: BaseException) -> None:
        """Raises an error inside the generator at its next step."""
        self._step = partial(self._steps.athrow, error)

    async def close(self) -> None:
        """Ends the generator before its time."""
        await self._steps.aclose()


def _first_step(steps: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    # The event loop closes the generators whose first step it has seen, in any order. It must know
    # only the outer one, which closes this one.
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return anext(steps)
    finally:
        sys.set_asyncgen_hooks(*hooks)


def steps(begun: operation, steps: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Drives a generator with the operation being current only while it runs."""
    step: Callable[[], Any] = partial(next, steps)
    error: BaseException | None = None
    begun._start()
    try:
        while True:
            begun._resume()
            try:
                item = step()
            except StopIteration as stop:
                return stop.value
            finally:
                begun._suspend()
            try:
                step = partial(steps.send, (yield item))
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as thrown:  # noqa: BLE001 - handed on to the generator
                step = partial(steps.throw, thrown)
    except BaseException as raised:
        error = raised
        raise
    finally:
        begun._end(error)
        del error, step  # otherwise a reference cycle with this frame
