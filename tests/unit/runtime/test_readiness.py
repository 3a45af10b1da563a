"""What an agent's process loads to say that it is ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LOADED = "\nprint('\\n'.join(sys.modules))"


def test_an_agent_says_that_it_is_ready_without_loading_the_pool(
    run_python: Callable[..., str],
) -> None:
    from_here = "from orchwatch.runtime.readiness import say_ready\nsay_ready()" + _LOADED
    loaded = set(run_python(from_here, flags=("-I", "-S")).split())
    without = set(run_python("import os" + _LOADED, flags=("-I", "-S")).split())
    assert loaded - without <= {
        "__future__",
        "orchwatch",
        "orchwatch.runtime",
        "orchwatch.runtime.readiness",
        *(name for name in loaded if name.startswith("orchwatch.recording")),
        *("_contextvars", "_json", "atexit", "errno", "fcntl", "math"),
    }


def test_an_agent_of_a_benchmark_that_only_waits_loads_no_part_of_the_runtime(
    run_python: Callable[..., str],
) -> None:
    loaded = run_python("import orchwatch.bench.agent_process" + _LOADED, flags=("-I", "-S"))
    ours = {name for name in loaded.split() if name.startswith("orchwatch.runtime.")}
    assert ours == {"orchwatch.runtime.readiness"}
