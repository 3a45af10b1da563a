from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("home")

# Each costs a hook more than writing its span does.
FORBIDDEN = {
    "asyncio",
    "collections",
    "concurrent.futures",
    "contextlib",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "functools",
    "importlib.metadata",
    "inspect",
    "ipaddress",
    "json",
    "logging",
    "opentelemetry",
    "pathlib",
    "random",
    "re",
    "shutil",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "tomllib",
    "traceback",
    "types",
    "typing",
    "urllib",
    "uuid",
    "warnings",
    "weakref",
}

HOOK = """
from orchwatch import attach, child_environment, count, gauge, inject, operation
environ = {
    "TRACEPARENT": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    "BAGGAGE": "session.id=0f8fad5b-d9cb-469f-a165-70867728950e,gen_ai.agent.name=a%20b",
}
with attach(environ, {"gen_ai.conversation.id": "c 1"}):
    with operation("hook.process", {"rows": 1, "names": ["a"]}) as op:
        inject({}, {"k": "v w"})
        child_environment()
        count("orchestration.task.completed", 2, {"kind": "hook"}, unit="{task}")
        gauge("level", 0.5)
    try:
        with operation("state.query"):
            1 / 0
    except ZeroDivisionError:
        pass
"""


def modules(run_python: Callable[..., str], code: str) -> set[str]:
    report = f"{code}\nprint('\\n'.join(sys.modules))"
    return set(run_python(report, flags=("-I", "-S")).split())


def test_a_hook_loads_nothing_that_costs_more_than_its_span(
    run_python: Callable[..., str],
) -> None:
    loaded = modules(run_python, HOOK)
    assert {
        name for name in loaded if name in FORBIDDEN or name.split(".")[0] in FORBIDDEN
    } == set()


def test_a_hook_loads_nothing_but_the_standard_library_and_this_package(
    run_python: Callable[..., str],
) -> None:
    standard = set(
        json.loads(run_python("import json; print(json.dumps(sorted(sys.stdlib_module_names)))"))
    )
    loaded = modules(run_python, HOOK)
    assert {name.split(".")[0] for name in loaded} <= standard | {"orchwatch", "__main__"}


def test_a_hook_loads_only_a_handful_of_modules_beside_os(
    run_python: Callable[..., str],
) -> None:
    more = modules(run_python, HOOK) - modules(run_python, "import os")
    assert {name for name in more if not name.startswith("orchwatch")} <= {
        "__future__",
        "_contextvars",
        "_json",
        "atexit",
        "errno",
        "fcntl",
        "math",
    }


def test_an_operation_alone_does_not_load_what_messages_and_metrics_need(
    run_python: Callable[..., str],
) -> None:
    loaded = modules(run_python, "from orchwatch import operation\nwith operation('o'):\n    pass")
    ours = {name for name in loaded if name.startswith("orchwatch.")}
    assert not ours & {
        "orchwatch.targets.config",
        "orchwatch.integrations",
        "orchwatch.recording.metrics",
        "orchwatch.recording.propagation",
        "orchwatch.sdk",
        "orchwatch.targets.target_table",
        "orchwatch.recording.timed_calls",
    }


def test_what_a_hook_wrote_is_complete(
    run_python: Callable[..., str], spans: Callable[[], list[dict[str, Any]]]
) -> None:
    run_python(HOOK, flags=("-I", "-S"))
    hook, failed = spans()
    assert (hook["traceId"], hook["parentSpanId"]) == ("a" * 32, "b" * 16)
    assert {key: next(iter(value.values())) for key, value in failed["attributes"].items()} == {
        "orchestration.operation.name": "state.query",
        "session.id": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "gen_ai.agent.name": "a b",
        "gen_ai.conversation.id": "c 1",
        "error.type": "ZeroDivisionError",
    }


def test_the_decorator_needs_nothing_that_is_not_allowed_to_a_hook_but_functools(
    run_python: Callable[..., str],
) -> None:
    code = "from orchwatch import timed\n@timed('o')\ndef work():\n    pass\nwork()"
    loaded = modules(run_python, code)
    assert not loaded & {"inspect", "typing", "re", "json", "threading", "dataclasses"}
