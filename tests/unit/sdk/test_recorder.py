from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., str]
    Spans = Callable[[str], list[dict[str, Any]]]

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
HANDED_OVER = {
    "TRACEPARENT": f"00-{TRACE}-{PARENT}-00",
    "BAGGAGE": "session.id=s%201,other=x,gen_ai.agent.name=agent",
}

# The first argument says which path: everything else is the same program.
START = """
import asyncio, json, sys, threading
from concurrent.futures import ThreadPoolExecutor
import orchwatch
from orchwatch import attach, inject, operation, timed
from orchwatch.recording import losses
if sys.argv[1] == "sdk":
    orchwatch.configure(export="spool")
"""

PROGRAMS = {
    "attributes of every type": """
        with operation("types", {
            "text": "ü\\n\\"", "true": True, "int": -2**63, "float": 0.1, "texts": ["a", "b"],
            "truths": (True, False), "ints": [1, 2], "floats": [0.5, 1e300], "none of": [],
        }) as op:
            op.set_attribute("later", 1)
            op.set_attribute("text", "replaced")
    """,
    "attributes that cannot be recorded": """
        class Odd:
            def __str__(self): raise RuntimeError
        bad = {"a": None, "b": b"bytes", "c": object(), "d": float("nan"), "e": 2**64, 7: "key",
               "": "no key", "f": [1, "mixed"], "g": Odd(), "h": {"a": 1}, "i": "\\udcff",
               "j": ["\\udcff"], "good": 1}
        with operation("bad", bad) as op:
            op.set_attribute("k", object())
            op.set_attribute("good", object())
            op.set_attribute("l", 2)
        with operation("no mapping", 42): pass
        with operation("\\udcff"): pass
        with operation(None): pass
    """,
    "more attributes than the SDK allows": """
        with operation("many", {f"key.{number}": number for number in range(300)}): pass
        with operation("long", {"text": "x" * 10_000, "list": list(range(1000))}): pass
    """,
    "names that the host tries to take": """
        own = {"orchestration.operation.name": "other", "session.id": "own"}
        with operation("mine", own) as op:
            op.set_attribute("orchestration.operation.name", "another")
            op.set_attribute("error.type", "chosen")
    """,
    "a mapping that the host uses again": """
        attributes = {"number": 0, "numbers": []}
        for number in range(3):
            attributes["number"] = number
            with operation("again", attributes) as op:
                op.set_attribute("so far", attributes["numbers"])
                attributes["number"] = "changed"
                attributes["more"] = 1
                attributes["numbers"].append(number)
    """,
    "errors": """
        class Own(Exception): pass
        for error in (ValueError("x"), Own(), KeyboardInterrupt(), SystemExit(0), SystemExit(3)):
            try:
                with operation("raises"): raise error
            except BaseException as raised:
                assert raised is error
        with operation("fails") as op: op.fail("timeout")
        with operation("fails unnamed") as op: op.fail()
        try:
            with operation("fails, then raises") as op:
                op.fail("first")
                raise ValueError
        except ValueError: pass
    """,
    "nested, in threads and pools": """
        def work(name):
            with operation(name): pass
        with operation("outer"):
            with operation("inner"): work("innermost")
            thread = threading.Thread(target=work, args=("thread",))
            thread.start(); thread.join()
            with ThreadPoolExecutor(2) as pool: list(pool.map(work, ["pool", "pool"]))
        work("after")
    """,
    "tasks": """
        async def work(name):
            async with operation(name) as op:
                await asyncio.sleep(0)
                op.set_attribute("in", name)
        @timed("coroutine")
        async def main():
            await asyncio.gather(*[asyncio.create_task(work(f"task {n}")) for n in range(5)])
            await work("last")
        asyncio.run(main())
    """,
    "clocks that somebody's tests have replaced": """
        import time
        backwards = iter(range(1000, 0, -1))
        time.time_ns = time.perf_counter_ns = lambda: next(backwards)
        with operation("backwards"): pass
    """,
    "generators": """
        @timed("generator")
        def numbers():
            with operation("in the generator"): yield 1
            yield 2
        @timed("async generator")
        async def more():
            yield 1
            yield 2
        def plain():
            with operation("abandoned"): yield
        with operation("consumer"):
            for _ in numbers():
                with operation("between"): pass
            next(numbers())
        async def main():
            async for _ in more():
                with operation("between"): pass
        asyncio.run(main())
        import contextvars
        abandoned = plain()
        contextvars.copy_context().run(next, abandoned)
        abandoned.close()
    """,
    "headers": """
        headers = {}
        entries = {"session.id": "sent", "gen_ai.agent.name": "a b"}
        with operation("sender"): inject(headers, entries)
        with attach(headers), operation("receiver"): pass
        with attach({"traceparent": "broken", "baggage": "=;"}), operation("broken"): pass
        with attach(None, {"gen_ai.conversation.id": "c"}), operation("baggage only"):
            with operation("below"): pass
        with operation("after"): pass
    """,
}


@pytest.mark.parametrize("environment", [{}, HANDED_OVER], ids=["root", "handed over"])
def test_both_paths_write_the_same_spans_and_count_the_same_losses(
    tmp_path: Path, run_python: Run, environment: dict[str, str]
) -> None:
    programs = "".join(
        f"\ndef {_function(title)}():\n{code}\n{_function(title)}()\n"
        for title, code in PROGRAMS.items()
    )
    code = START + programs + "\nlosses.flush(); print(json.dumps(losses.read()))"
    written = {}
    for path in ("fast", "sdk"):
        home = tmp_path / path
        losses = json.loads(
            run_python(code, path, ORCHWATCH_HOME=str(home), OTEL_SERVICE_NAME="app", **environment)
        )
        written[path] = (_comparable(home), losses)

    fast, sdk = written["fast"][0], written["sdk"][0]
    assert [span["path"] for span in fast] == [span["path"] for span in sdk]
    for one, other in zip(fast, sdk, strict=True):
        assert one == other
    assert len(fast) > 40
    assert written["fast"][1] == written["sdk"][1] != {}


def test_what_the_host_sets_in_opentelemetry_baggage_is_inherited_whatever_its_type(
    run_python: Run, spans: Callable[[], list[dict[str, Any]]]
) -> None:
    run_python("""
        import orchwatch
        orchwatch.configure(export="spool")
        from opentelemetry import baggage, context
        context.attach(baggage.set_baggage("session.id", 42))
        with orchwatch.operation("state.query"): pass
    """)

    (span,) = spans()
    assert span["attributes"]["session.id"] == {"stringValue": "42"}


def test_own_baggage_wins_over_that_of_the_environment(
    run_python: Run, spans: Callable[[], list[dict[str, Any]]]
) -> None:
    run_python(
        """
        import orchwatch
        orchwatch.configure(export="spool")
        from opentelemetry import baggage, context
        context.attach(baggage.set_baggage("session.id", "mine"))
        with orchwatch.operation("state.query"): pass
        """,
        **HANDED_OVER,
    )

    (span,) = spans()
    assert span["attributes"]["session.id"] == {"stringValue": "mine"}
    assert span["attributes"]["gen_ai.agent.name"] == {"stringValue": "agent"}
    assert (span["traceId"], span["parentSpanId"]) == (TRACE, PARENT)


def test_metrics_that_the_sdk_does_not_take_are_counted_and_the_others_recorded(
    run_python: Run, lines: Callable[[str], tuple[list[dict[str, Any]], int]]
) -> None:
    losses = run_python("""
        import orchwatch
        from orchwatch import count, gauge
        from orchwatch.recording import losses
        orchwatch.configure(export="spool")
        count("no instrument name", 1)
        count("good.counter", 2, {"list": [1, 2], "text": "\\udcff", "bad": object()})
        count("good.counter", 3, {"list": [1, 2], "text": "\\udcff"})
        gauge("good.gauge", 1.5, unit="s")
        losses.flush(); print(losses.read())
    """)

    assert losses == "{'bad_attribute': 1, 'bad_metric': 1}\n"
    parsed, unreadable = lines("metrics")
    assert not unreadable
    metrics = {
        metric["name"]: metric
        for line in parsed
        for resource in line["resourceMetrics"]
        for scope in resource["scopeMetrics"]
        for metric in scope["metrics"]
    }
    (point,) = metrics["good.counter"]["sum"]["dataPoints"]
    assert point["asInt"] == "5"
    (point,) = metrics["good.gauge"]["gauge"]["dataPoints"]
    assert (point["asDouble"], metrics["good.gauge"]["unit"]) == (1.5, "s")


def _function(title: str) -> str:
    return "".join(character if character.isalpha() else "_" for character in title)


def _comparable(home: Path) -> list[dict[str, Any]]:
    """All of all spans but ids, times and process id; parents by the names up to the root."""
    spans = {}
    for segment in sorted((home / "spool").glob("operations-*.jsonl")):
        for line in segment.read_text().splitlines():
            for resource in json.loads(line)["resourceSpans"]:
                for scope in resource["scopeSpans"]:
                    for span in scope["spans"]:
                        spans[span["spanId"]] = {
                            **span,
                            "of": (resource["resource"], scope["scope"]),
                        }

    def path(span_id: str) -> list[str]:
        if span_id not in spans:
            return [span_id]  # the parent in another process, or none
        span = spans[span_id]
        return [*path(span.get("parentSpanId", "")), span["name"]]

    comparable = []
    for span_id, span in spans.items():
        known = {"spanId", "startTimeUnixNano", "endTimeUnixNano", "parentSpanId", "traceId", "of"}
        assert int(span["endTimeUnixNano"]) >= int(span["startTimeUnixNano"])
        parent = spans.get(span.get("parentSpanId", ""))
        comparable.append(
            {
                **{key: value for key, value in span.items() if key not in known},
                "path": path(span_id),
                "in trace of parent": parent is None or parent["traceId"] == span["traceId"],
                "in trace handed over": span["traceId"] == TRACE,
                "attributes": sorted(map(json.dumps, span["attributes"])),
                "resource": sorted(
                    json.dumps(attribute)
                    for attribute in span["of"][0]["attributes"]
                    if attribute["key"] != "process.pid"
                ),
                "scope": span["of"][1],
            }
        )
    return sorted(comparable, key=lambda span: json.dumps(span, sort_keys=True))
