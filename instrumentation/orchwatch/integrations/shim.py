"""Watches a Python function in place: its code is replaced, the function object stays the same.

Code that holds the function already (a registry, a framework's route, `from x import f`) calls the
new code, a shim with the function's own signature that runs the original code inside an operation:

    def get(self, key, *, limit):
        with watch.begin():
            return (<the original code, as a function>)(self, key, limit=limit)

The shim shares name, file, first line, documentation, flags and free variables with the original,
so signatures, sources, defaults, closures and `super()` stay what they are, and it takes itself out
of the traceback of an exception. The same is done to the code of a module before it is executed,
which reaches a function before any decorator has seen it.
"""

from __future__ import annotations

from types import CellType, CodeType, FunctionType

from orchwatch.recording import timed_calls
from orchwatch.recording.operation import operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence
    from types import TracebackType
    from typing import Any

# Stands for the watch in the shim's source; no other name there is spelt so.
_WATCH = "\0watch"

# States of a watch.
WAITING = "waiting"  # its callable is not defined yet
DEFINED = "defined"
PROBLEM = "problem"  # it is missing or cannot be watched

# Flags of a code object. Source: the Python language reference, "Code objects".
_OPTIMIZED = 0x01
_VAR_POSITIONAL = 0x04
_VAR_KEYWORDS = 0x08
_NESTED = 0x10
_GENERATOR = 0x20
_COROUTINE = 0x80
_ITERABLE_COROUTINE = 0x100
_ASYNC_GENERATOR = 0x200
_METHOD = 0x8000000  # from Python 3.14 on
_TAKEN_OVER = _NESTED | _ITERABLE_COROUTINE | _METHOD

# An entry of a location table that gives no columns, and the longest run of code units of one.
# Source: CPython, InternalDocs/code_objects.md.
_SAME_LINE = 0x80 | 13 << 3
_MAX_RUN = 8

# PEP 695 puts what has type parameters into a scope of its own.
_TYPE_PARAMETERS = "<generic parameters of "


class CannotWatchError(Exception):
    """A name refers to nothing, or to something whose calls cannot be timed."""


class Watch:
    """One callable that is to be watched, and its state.

    Args:
        target: As the user spells it, `package.module:Class.method`.
        operation_name: What each of its calls is recorded as.
        first_call: Called once, with the watch, when it is called for the first time.

    Attributes:
        state: One of this module's constants.
        active: Whether its calls are operations.
        called: Whether there has been one.
    """

    __slots__ = ("_first_call", "active", "called", "operation_name", "quiet", "state", "target")

    def __init__(self, target: str, operation_name: str, first_call: Any = None) -> None:
        self.target = target
        self.operation_name = operation_name
        self.state = WAITING
        self.active = True
        self.called = False
        self.quiet = QUIET
        self._first_call = first_call

    def __reduce__(self) -> tuple[Any, ...]:
        # Functions of a script travel to other processes as their code, by `cloudpickle`.
        return (Watch, (self.target, self.operation_name))

    @property
    def module_name(self) -> str:
        """The part of the target before the colon."""
        return self.target.partition(":")[0]

    @property
    def path(self) -> list[str]:
        """The names after the colon, without the `<locals>` of functions inside functions."""
        names = self.target.partition(":")[2].split(".")
        return [name for name in names if name != "<locals>"]

    def begin(self) -> Any:
        """The operation of a call that begins."""
        if not self.active:
            return QUIET
        if not self.called:
            self.called = True
            if self._first_call is not None:
                self._first_call(self)
        return _Call(self.operation_name)

    def steps(self, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Drives a generator as one operation."""
        begun = self.begin()
        return generator if begun is QUIET else timed_calls.steps(begun, generator)

    def async_steps(self, generator: AsyncGenerator[Any, Any]) -> timed_calls.AsyncSteps:
        """Drives an asynchronous generator as one operation."""
        return _QuietAsyncSteps(self.begin(), generator)


class _Quiet:
    """A block that leaves no trace of its own frame in an exception."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            _forget_frames(error)

    # As an operation is driven by `timed_calls`.
    _start = _resume = _suspend = __enter__

    def _end(self, error: BaseException | None) -> None:
        pass


QUIET = _Quiet()


class _Call(operation):
    """The operation of one call; the shim's own frame leaves the traceback."""

    __slots__ = ()

    def __exit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(error_class, error, traceback)
        if error is not None:
            _forget_frames(error)


class _QuietAsyncSteps(timed_calls.AsyncSteps):
    __slots__ = ()

    def __exit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(error_class, error, traceback)
        if error is not None:
            _forget_frames(error)


def _forget_frames(error: BaseException) -> None:
    """Takes the shim, which has just caught the error, and what drove it out of the traceback."""
    step = error.__traceback__
    if step is not None:
        step = step.tb_next
    while step is not None and step.tb_frame.f_globals is vars(timed_calls):
        step = step.tb_next
    error.__traceback__ = step


def watch_of(code: CodeType) -> Watch | None:
    """The watch that a function's code reports to already."""
    return next((one for one in code.co_consts if isinstance(one, Watch)), None)


def original(code: CodeType) -> CodeType:
    """The code that a shim runs."""
    return next(one for one in code.co_consts if isinstance(one, CodeType))


def instrument(code: CodeType, path: Sequence[str], watch: Watch) -> CodeType | None:
    """The code of a module, class or function with what it defines under a path watched.

    Args:
        code: It is left as it is.
        path: Names of definitions inside it, from the outermost to the function's own.
        watch: What the calls report to.

    Returns:
        None where the code defines no such function.

    Raises:
        CannotWatchError: It defines a class of that name, or a function that no shim can be for.
    """
    name, *rest = path
    constants = list(code.co_consts)
    found = False
    shimmed = watch_of(code) is not None
    for index, constant in enumerate(constants):
        if not isinstance(constant, CodeType):
            continue
        if shimmed or constant.co_name.startswith(_TYPE_PARAMETERS):
            changed = instrument(constant, path, watch)
        elif constant.co_name != name:
            continue
        elif rest:
            changed = instrument(constant, rest, watch)
        else:
            changed = shim(constant, watch)
        if changed is not None:
            constants[index] = changed
            found = True
    return code.replace(co_consts=tuple(constants)) if found else None


def shim(code: CodeType, watch: Watch) -> CodeType:
    """Code that runs the given function's code inside an operation.

    Raises:
        CannotWatchError: It is the code of a class, or of a function that Python made for itself.
    """
    if watch_of(code) is not None:
        return code
    if not code.co_flags & _OPTIMIZED:
        raise CannotWatchError("it is a class; name its method, such as __init__")
    names = (*code.co_varnames[: _parameter_count(code)], *code.co_freevars)
    if not all(map(str.isidentifier, names)):
        raise CannotWatchError("its parameters have no names that could be written")
    module: dict[str, Any] = {}
    exec(compile(_source(code), code.co_filename, "exec", dont_inherit=True), module)  # noqa: S102
    template: CodeType = module["outer"](*code.co_freevars).__code__
    if template.co_freevars != code.co_freevars:
        raise CannotWatchError("its free variables are in an order of their own")
    replaced = {_WATCH: watch, "<lambda>": code}
    length = len(template.co_code) // 2
    table = b""
    for start in range(0, length, _MAX_RUN):
        table += bytes((_SAME_LINE | min(length - start, _MAX_RUN) - 1, 0))
    return template.replace(
        co_consts=tuple([_constant(constant, replaced) for constant in template.co_consts]),
        co_name=code.co_name,
        co_qualname=code.co_qualname,
        co_firstlineno=code.co_firstlineno,
        co_linetable=table,
        co_flags=template.co_flags & ~_TAKEN_OVER | code.co_flags & _TAKEN_OVER,
    )


def _constant(constant: Any, replaced: dict[str, Any]) -> Any:
    key = constant.co_name if isinstance(constant, CodeType) else constant
    return replaced.get(key, constant) if isinstance(key, str) else constant


def _parameter_count(code: CodeType) -> int:
    stars = bool(code.co_flags & _VAR_POSITIONAL) + bool(code.co_flags & _VAR_KEYWORDS)
    return code.co_argcount + code.co_kwonlyargcount + stars


def _source(code: CodeType) -> str:
    declared, passed = _parameters(code)
    free = ", ".join(code.co_freevars)
    call = f"(lambda: ({free}))({passed})"
    flags = code.co_flags
    lines = [repr(_documentation(code))]
    begin = "async def" if flags & (_COROUTINE | _ASYNC_GENERATOR) else "def"
    watch = repr(_WATCH)
    if flags & _ASYNC_GENERATOR:
        lines += [
            f"with {watch}.async_steps({call}) as _orchwatch_steps:",
            "  while True:",
            "    try:",
            "      _orchwatch_item = await _orchwatch_steps.next()",
            "    except StopAsyncIteration:",
            "      return",
            "    try:",
            "      _orchwatch_steps.send((yield _orchwatch_item))",
            "    except GeneratorExit:",
            "      await _orchwatch_steps.close()",
            "      raise",
            "    except BaseException as _orchwatch_thrown:",
            "      _orchwatch_steps.throw(_orchwatch_thrown)",
        ]
    elif flags & _GENERATOR:
        lines += [f"with {watch}.quiet:", f"  return (yield from {watch}.steps({call}))"]
    else:
        awaited = "await " if flags & _COROUTINE else ""
        lines += [f"with {watch}.begin():", f"  return {awaited}{call}"]
    body = "\n".join(f"    {line}" for line in lines)
    return f"def outer({free}):\n  {begin} shim({declared}):\n{body}\n  return shim\n"


def _parameters(code: CodeType) -> tuple[str, str]:
    """The parameters as they are declared, and as they are passed on."""
    names = iter(code.co_varnames)
    positional = [next(names) for _ in range(code.co_argcount)]
    keyword = [next(names) for _ in range(code.co_kwonlyargcount)]
    declared, passed = positional[:], positional[:]
    if code.co_posonlyargcount:
        declared.insert(code.co_posonlyargcount, "/")
    if code.co_flags & _VAR_POSITIONAL:
        star = f"*{next(names)}"
        declared.append(star)
        passed.append(star)
    elif keyword:
        declared.append("*")
    declared += keyword
    passed += [f"{name}={name}" for name in keyword]
    if code.co_flags & _VAR_KEYWORDS:
        stars = f"**{next(names)}"
        declared.append(stars)
        passed.append(stars)
    return ", ".join(declared), ", ".join(passed)


def _documentation(code: CodeType) -> str | None:
    cells = tuple([CellType() for _ in code.co_freevars])
    return FunctionType(code, {}, closure=cells).__doc__
