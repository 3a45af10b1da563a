"""Operations in a thread that was started from an operation are its children.

Python starts a thread with an empty context (up to 3.13), so the starter's has to be handed over.
Only what is started while an operation is running is touched, and only our own context is handed
over: the host's context variables stay as Python has them.
"""

from __future__ import annotations

import sys

from orchwatch import recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

followed = False


def follow() -> None:
    """Makes threads and thread pools hand the context on, once `threading` is in use at all."""
    global followed  # noqa: PLW0603 - a process has one threading module
    if followed or "threading" not in sys.modules:
        return
    followed = True
    import threading  # noqa: PLC0415 - it costs more than a hook has; here it is loaded already
    from concurrent.futures import thread  # noqa: PLC0415 - as above, and small

    start = threading.Thread.start
    submit = thread.ThreadPoolExecutor.submit

    def start_in_context(self: threading.Thread) -> None:
        self.run = _carried(self.run)  # type: ignore[method-assign]
        start(self)

    def submit_in_context(
        self: thread.ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        return submit(self, _carried(fn), *args, **kwargs)

    threading.Thread.start = start_in_context  # type: ignore[method-assign]
    thread.ThreadPoolExecutor.submit = submit_in_context  # type: ignore[method-assign,assignment]


def _carried(function: Callable[..., Any]) -> Callable[..., Any]:
    active = recorder.active
    context = active.current()
    if not context.trace_id:
        return function

    def in_context(*args: Any, **kwargs: Any) -> Any:
        token = active.attach(context)
        try:
            return function(*args, **kwargs)
        finally:
            active.leave(token)

    return in_context
