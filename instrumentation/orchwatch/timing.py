"""The decorator: each call of a function is one operation."""

from __future__ import annotations

import sys
from functools import partial, wraps

from orchwatch.operation import operation

TYPE_CHECKING = False  # typing costs more to import than all of this
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
    from typing import Any, TypeVar

    from orchwatch.otlp_json import Attributes

    AnyCallable = TypeVar("AnyCallable", bound=Callable[..., Any])

# Flags of a code object; `inspect` has them too, but takes 17 ms to import.
# Source: the Python language reference, "Code objects".
_GENERATOR = 0x20
_COROUTINE = 0x80 | 0x100
_ASYNC_GENERATOR = 0x200


def timed(name: str, attributes: Attributes | None = None) -> Callable[[AnyCallable], AnyCallable]:
    """Makes each call of the decorated function an operation; see `operation`.

    Works on functions, methods, coroutine functions, generators and asynchronous generators. A
    generator's operation lasts from its first step until it is exhausted or closed; between its
    steps the caller's own operation is the current one.

    Args:
        name: Of the operation.
        attributes: The same for every call.
    """

    def decorate(function: AnyCallable) -> AnyCallable:
        if isinstance(function, staticmethod | classmethod):
            return type(function)(decorate(function.__func__))
        flags = _code_flags(function)
        if flags & _ASYNC_GENERATOR:
            kind = _time_async_generator
        elif flags & _COROUTINE:  # before generators: `types.coroutine` makes one out of the other
            kind = _time_coroutine
        elif flags & _GENERATOR:
            kind = _time_generator
        else:
            kind = _time_function
        return wraps(function)(kind(function, name, attributes))  # type: ignore[return-value]

    return decorate


def _code_flags(function: Any) -> int:
    while isinstance(function, partial):
        function = function.func
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    return code.co_flags if code else 0


def _time_function(
    function: Callable[..., Any], name: str, attributes: Attributes | None
) -> Callable[..., Any]:
    def timed_function(*args: Any, **kwargs: Any) -> Any:
        with operation(name, attributes):
            return function(*args, **kwargs)

    return timed_function


def _time_coroutine(
    function: Callable[..., Any], name: str, attributes: Attributes | None
) -> Callable[..., Any]:
    async def timed_coroutine(*args: Any, **kwargs: Any) -> Any:
        with operation(name, attributes):
            return await function(*args, **kwargs)

    return timed_coroutine


def _time_generator(
    function: Callable[..., Any], name: str, attributes: Attributes | None
) -> Callable[..., Any]:
    def timed_generator(*args: Any, **kwargs: Any) -> Any:
        return (yield from _steps(operation(name, attributes), function(*args, **kwargs)))

    return timed_generator


def _time_async_generator(
    function: Callable[..., Any], name: str, attributes: Attributes | None
) -> Callable[..., Any]:
    async def timed_async_generator(*args: Any, **kwargs: Any) -> Any:
        op = operation(name, attributes)
        steps = function(*args, **kwargs)
        step = partial(_first_step, steps)
        error: BaseException | None = None
        op._start()
        try:
            while True:
                op._resume()
                try:
                    item = await step()
                except StopAsyncIteration:
                    return
                finally:
                    op._suspend()
                try:
                    step = partial(steps.asend, (yield item))
                except GeneratorExit:
                    await steps.aclose()
                    raise
                except BaseException as thrown:  # noqa: BLE001 - handed on to the generator
                    step = partial(steps.athrow, thrown)
        except BaseException as raised:
            error = raised
            raise
        finally:
            op._end(error)
            del error, step  # they would hold this frame, and it them

    return timed_async_generator


def _first_step(steps: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    # The event loop closes the generators whose first step it has seen, in any order. It must know
    # the outer one only, which closes this one.
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return anext(steps)
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _steps(op: operation, steps: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Drives a generator with the operation being current only while it runs."""
    step: Callable[[], Any] = partial(next, steps)
    error: BaseException | None = None
    op._start()
    try:
        while True:
            op._resume()
            try:
                item = step()
            except StopIteration as stop:
                return stop.value
            finally:
                op._suspend()
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
        op._end(error)
        del error, step  # they would hold this frame, and it them
