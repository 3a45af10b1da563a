"""Operations in a thread that was started from an operation are its children.

Python starts a thread with an empty context (up to 3.13), so the parent's has to be handed over.
Only threads started while an operation is running are changed, and only our own context is handed
over: the host's context variables stay as they are.
"""

from __future__ import annotations

import sys

from orchwatch.recording import active

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def follow() -> None:
    """Patches threads and thread pools to propagate the context, once their modules are in use.

    Importing them here would cost a hook more than its span does, and `concurrent.futures` must
    not be imported between a host's own fork handlers.
    """
    for module in [name for name in pending if name in sys.modules]:
        pending.pop(module)()


def _follow_threads() -> None:
    import threading  # noqa: PLC0415 - loaded already

    start = threading.Thread.start

    def start_in_context(self: threading.Thread) -> None:
        pool = sys.modules.get("concurrent.futures.thread")
        # A pool's thread outlives the operation that happened to start it: each of its tasks
        # brings its own context.
        if getattr(self, "_target", None) is not getattr(pool, "_worker", self):
            run = self.run
            carried = _carried(run)
            if carried is not run:
                self.run = carried  # type: ignore[method-assign]
        start(self)

    threading.Thread.start = start_in_context  # type: ignore[method-assign]


def _await_pools() -> None:
    # The package loads its thread pools on first access, which may be in the middle of an
    # operation.
    package = sys.modules["concurrent.futures"]
    load = package.__getattr__

    def load_and_follow(name: str) -> Any:
        value = load(name)
        follow()
        return value

    package.__getattr__ = load_and_follow  # type: ignore[method-assign]


def _follow_pools() -> None:
    from concurrent.futures.thread import ThreadPoolExecutor  # noqa: PLC0415 - loaded already

    submit = ThreadPoolExecutor.submit

    def submit_in_context(
        self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        return submit(self, _carried(fn), *args, **kwargs)

    ThreadPoolExecutor.submit = submit_in_context  # type: ignore[method-assign,assignment]


# By the module that has to be loaded first; empty once all are patched.
pending = {
    "threading": _follow_threads,
    "concurrent.futures": _await_pools,
    "concurrent.futures.thread": _follow_pools,
}


def _carried(function: Callable[..., Any]) -> Callable[..., Any]:
    recorder = active.recorder
    context = recorder.current()
    if not context.trace_id:
        return function

    def in_context(*args: Any, **kwargs: Any) -> Any:
        token = recorder.attach(context)
        try:
            return function(*args, **kwargs)
        finally:
            recorder.leave(token)

    return in_context
