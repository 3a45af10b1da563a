"""Panels as Grafana shows them: their own queries on the real servers, their own transformations.

No Grafana runs here. What its data sources make of an answer is written down here; what
transformations make of that, its own package computes.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import time
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.stack.conftest import get

from orchwatch.mixin import dashboards

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from native import Stack

Json = dict[str, Any]
REPO = Path(__file__).parents[2]
EVALUATION = REPO / "tests" / "grafana"
# Where the pins of the packages of the next Grafana are.
NEXT = EVALUATION / "next"
INSTALLED_WITHIN_S = 540
EVALUATED_WITHIN_S = 120
# As wide as a panel is in pixels, which decides how many points Grafana asks for.
_POINTS = 500
_LEAST_STEP_S = 15
# Grafana's data source asks Tempo for so many values of an attribute.
_TAGS = 5000
# Grafana's number of the order of the alphabet backwards.
_DESCENDING = 2


class Span(NamedTuple):
    """A page's time range, Unix seconds."""

    start_s: float
    end_s: float

    @classmethod
    def last(cls, seconds: float) -> Span:
        """Up to now."""
        now_s = time.time()
        return cls(now_s - seconds, now_s)


class Frame(NamedTuple):
    """What comes out: columns by the name that a person sees, all as long."""

    name: str
    length: int
    columns: dict[str, list[Any]]

    def rows(self) -> list[Json]:
        """Row by row."""
        return [
            {name: values[number] for name, values in self.columns.items()}
            for number in range(self.length)
        ]


@cache
def page(name: str) -> Json:
    """A page as it is committed."""
    found: Json = json.loads((REPO / dashboards.DIRECTORY / f"{name}.json").read_text())
    return found


def panels(name: str) -> Iterator[Json]:
    """The panels of a page, those in collapsed rows too."""
    for one in page(name)["panels"]:
        if one["type"] == "row":
            yield from one.get("panels", [])
        else:
            yield one


def panel(name: str, title: str) -> Json:
    """A panel by its title, or the beginning of it."""
    (found,) = (one for one in panels(name) if one["title"].startswith(title))
    return found


def shown(stack: Stack, name: str, title: str, span: Span, **chosen: str) -> list[Frame]:
    """What a panel shows: each frame that its transformations leave."""
    one = panel(name, title)
    return evaluated(_frames(stack, name, one, span, chosen), one.get("transformations", []))


def flame(stack: Stack, name: str, title: str, span: Span, **chosen: str) -> list[Json]:
    """The bars of a flame graph, see `bars`."""
    one = panel(name, title)
    return bars(_frames(stack, name, one, span, chosen), one["transformations"])


def _frames(
    stack: Stack, name: str, one: Json, span: Span, chosen: Mapping[str, str]
) -> list[Json]:
    values = variables(stack, name, span, chosen)
    return [frame for target in one["targets"] for frame in asked(stack, one, target, span, values)]


def rows(stack: Stack, name: str, title: str, span: Span, **chosen: str) -> list[Json]:
    """The rows of a table."""
    frames = shown(stack, name, title, span, **chosen)
    return [row for frame in frames for row in frame.rows()]


def numbers(stack: Stack, name: str, title: str, span: Span, **chosen: str) -> dict[str, float]:
    """The numbers of a stat panel: the last value of each series, by its name."""
    found = {}
    for frame in shown(stack, name, title, span, **chosen):
        for column, values in frame.columns.items():
            if column != "Time" and values:
                found[column] = float(values[-1])
    return found


# Variables.


def variables(stack: Stack, name: str, span: Span, chosen: Mapping[str, str]) -> dict[str, str]:
    """The value of each variable: chosen, computed by the page, or its default."""
    length_s = max(1, round(span.end_s - span.start_s))
    step_s = max(_LEAST_STEP_S, length_s // _POINTS)
    values = {
        "__range": f"{length_s}s",
        "__range_s": str(length_s),
        "__interval": f"{step_s}s",
        "__rate_interval": f"{max(60, 4 * step_s)}s",
    }
    for one in page(name)["templating"]["list"]:
        if one["name"] in chosen:
            values[one["name"]] = chosen[one["name"]]
        elif one["skipUrlSync"] and one["datasource"]["type"] == "tempo":
            values[one["name"]] = "|".join(value for value, _ in options(stack, one, span, values))
        elif one["skipUrlSync"]:
            value, text = _computed(stack, one, span, values)
            values |= {one["name"]: value, f"{one['name']}:text": text}
        elif one["current"]["value"] == "$__all":
            values[one["name"]] = one.get("allValue") or ".*"
        else:
            values[one["name"]] = one["current"]["value"]
    return values


def _computed(
    stack: Stack, variable: Json, span: Span, values: Mapping[str, str]
) -> tuple[str, str]:
    """Value and text of the first option."""
    (expr,) = re.findall(r"^query_result\((.*)\)$", variable["query"]["query"], re.DOTALL)
    found = get(f"{stack.prometheus_url}/api/v1/query", query=filled(expr, values), time=span.end_s)
    texts = [_as_text(one) for one in found["data"]["result"]]
    pattern = variable.get("regex", "").strip("/").replace("(?<", "(?P<")
    for text in texts:
        if match := re.search(pattern, text):
            return match["value"], match["text"] or match["value"]
    return "", ""


def options(
    stack: Stack, variable: Json, span: Span, values: Mapping[str, str]
) -> list[tuple[str, str]]:
    """What can be chosen of an attribute's values: value and text, in the order of the list."""
    tag = f"span.{variable['query']['label']}"
    limits = {"start": int(span.start_s), "end": int(span.end_s) + 1, "limit": _TAGS}
    found = get(f"{stack.tempo_url}/api/v2/search/tag/{tag}/values", **limits)["tagValues"]
    pattern = filled(variable["regex"], values).strip("/").replace("(?<", "(?P<")
    texts: dict[str, str] = {}
    for one in found:
        if match := re.search(pattern, one["value"]):
            texts.setdefault(match["value"], match["text"])
    return sorted(texts.items(), key=lambda one: one[1], reverse=variable["sort"] == _DESCENDING)


def variable(name: str, called: str) -> Json:
    """A variable of a page."""
    found: Json
    (found,) = (one for one in page(name)["templating"]["list"] if one["name"] == called)
    return found


def _as_text(one: Json) -> str:
    """As `query_result` writes a series: its labels, its value, its time."""
    at_s, number = one["value"]
    labels = ",".join(f'{key}="{value}"' for key, value in one["metric"].items())
    return f"{{{labels}}} {number} {round(at_s * 1000)}"


def filled(text: str, values: Mapping[str, str]) -> str:
    """A text with its variables."""

    def value(match: re.Match[str]) -> str:
        name, form = match[1] or match[2], match[3]
        return values.get(f"{name}:{form}", values.get(name, match[0]))

    return re.sub(r"\$(?:(\w+)|\{(\w+)(?::(\w+))?\})", value, text)


# What data sources answer.


def asked(
    stack: Stack, one: Json, target: Json, span: Span, values: Mapping[str, str]
) -> list[Json]:
    """The frames that Grafana's data source makes of the answer to a query."""
    if target["datasource"]["type"] == "tempo":
        return [_of_tempo(stack, target, filled(target["query"], values), span)]
    expr = filled(target["expr"], values)
    url, ref = f"{stack.prometheus_url}/api/v1/query", target["refId"]
    if not target.get("instant"):
        step_s = max(
            _seconds(target.get("interval") or "15s"), (span.end_s - span.start_s) / _POINTS
        )
        expr = filled(target["expr"], {**values, "__interval": f"{round(step_s)}s"})
        limits = {"start": span.start_s, "end": span.end_s, "step": round(step_s)}
        found = get(f"{url}_range", query=expr, **limits)["data"]["result"]
        return [as_series(ref, series, target) for series in found]
    found = get(url, query=expr, time=span.end_s)["data"]["result"]
    if target.get("format") == "table":
        tables = sum(other.get("format") == "table" for other in one["targets"])
        return [as_table(ref, found, f"Value #{ref}" if tables > 1 else "Value")]
    return [as_series(ref, {**series, "values": [series["value"]]}, target) for series in found]


def _seconds(duration: str) -> int:
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[duration[-1]]


def as_series(ref: str, series: Json, target: Json) -> Json:
    """A series as a frame."""
    labels = series["metric"]
    legend = target.get("legendFormat", "")
    name = re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: labels.get(match[1], ""), legend)
    config = {} if legend in ("", "__auto") else {"displayNameFromDS": name}
    times = [round(at_s * 1000) for at_s, _ in series["values"]]
    values = [_number(number) for _, number in series["values"]]
    return {
        "refId": ref,
        "meta": {"type": "timeseries-multi"},
        "fields": [
            {"name": "Time", "type": "time", "config": {}, "values": times},
            {
                "name": "Value",
                "type": "number",
                "config": config,
                "labels": labels,
                "values": values,
            },
        ],
    }


def as_table(ref: str, found: list[Json], value: str) -> Json:
    """Series as the rows of one frame, whose last column is called `value`."""
    if not found:
        # Prometheus' data source answers then without columns.
        return {"refId": ref, "fields": []}
    labels = sorted({label for series in found for label in series["metric"]})
    times = [round(series["value"][0] * 1000) for series in found]
    columns = [{"name": "Time", "type": "time", "values": times}]
    columns += [
        {"name": label, "type": "string", "values": [s["metric"].get(label) for s in found]}
        for label in labels
    ]
    columns.append(
        {"name": value, "type": "number", "values": [_number(s["value"][1]) for s in found]}
    )
    return {"refId": ref, "fields": [{"config": {}, **column} for column in columns]}


def _number(text: str) -> float | None:
    # JSON has no other: what is none of them is nothing to a panel.
    number = float(text)
    return number if abs(number) != float("inf") and number == number else None  # noqa: PLR0124


def _of_tempo(stack: Stack, target: Json, query: str, span: Span) -> Json:
    much = {"limit": target.get("limit", 20), "spss": target.get("spss", 3)}
    limits = {"start": int(span.start_s), "end": int(span.end_s) + 1}
    traces = get(f"{stack.tempo_url}/api/search", q=query, **much, **limits).get("traces", [])
    fields = of_spans(traces) if target.get("tableType") == "spans" else of_traces(traces)
    return {"refId": target["refId"], "fields": [{"config": {}, **field} for field in fields]}


def number_of_spans(stack: Stack, query: str, span: Span) -> int:
    """How many spans Tempo finds."""
    limits = {"limit": 10_000, "start": int(span.start_s), "end": int(span.end_s) + 1}
    found = get(f"{stack.tempo_url}/api/search", q=query, spss=1, **limits).get("traces", [])
    return sum(group["matched"] for trace in found for group in trace["spanSets"])


def of_traces(traces: list[Json]) -> list[Json]:
    """The columns of a table of traces."""
    columns = {
        "Trace ID": ("string", [one["traceID"] for one in traces]),
        "Start time": ("time", [int(one["startTimeUnixNano"]) / 1e6 for one in traces]),
        "Service": ("string", [one.get("rootServiceName", "") for one in traces]),
        "Name": ("string", [one.get("rootTraceName", "") for one in traces]),
        "Duration": ("number", [one.get("durationMs", 0) for one in traces]),
    }
    return [{"name": name, "type": kind, "values": v} for name, (kind, v) in columns.items()]


def of_spans(traces: list[Json]) -> list[Json]:
    """The columns of a table of spans."""
    found = []
    for trace in traces:
        for group in trace.get("spanSets", []):
            shared = _attributes(group)
            found += [(trace, span, {**shared, **_attributes(span)}) for span in group["spans"]]
    names = sorted({name for _, _, has in found for name in has})
    columns = {
        "traceIdHidden": ("string", [trace["traceID"] for trace, _, _ in found]),
        "Trace Service": ("string", [trace.get("rootServiceName", "") for trace, _, _ in found]),
        "Trace Name": ("string", [trace.get("rootTraceName", "") for trace, _, _ in found]),
        "Span ID": ("string", [span["spanID"] for _, span, _ in found]),
        "Start time": ("time", [int(span["startTimeUnixNano"]) / 1e6 for _, span, _ in found]),
        "Name": ("string", [span.get("name", "") for _, span, _ in found]),
        **{name: ("string", [has.get(name) for _, _, has in found]) for name in names},
        "Duration": ("number", [int(span["durationNanos"]) for _, span, _ in found]),
    }
    return [{"name": name, "type": kind, "values": v} for name, (kind, v) in columns.items()]


def _attributes(item: Json) -> dict[str, str]:
    return {one["key"]: str(*one["value"].values()) for one in item.get("attributes", [])}


# Transformations.


def evaluated(
    frames: list[Json], transformations: list[Json], *, pins: Path = EVALUATION
) -> list[Frame]:
    """What Grafana's package makes of frames.

    Args:
        frames: What data sources answered.
        transformations: A panel's own.
        pins: The directory that names the package's version.
    """
    return _evaluated(json.dumps({"frames": frames, "transformations": transformations}), pins)


@cache  # equal answers in ten loads are one to it
def _evaluated(asked: str, pins: Path) -> list[Frame]:
    found = json.loads(_run("evaluate.mjs", pins, asked=asked))
    return [Frame(one["name"], one["length"], one["columns"]) for one in found]


def bars(frames: list[Json], transformations: list[Json]) -> list[Json]:
    """What Grafana's flame graph draws of frames: each bar, see `flame.mjs`."""
    asked = json.dumps({"frames": frames, "transformations": transformations})
    found: list[Json] = json.loads(_run("flame.mjs", EVALUATION, asked=asked))
    return found


def faults(pages: list[Path], pins: Path) -> list[str]:
    """What the types of Grafana's packages find wrong with pages."""
    return _run("types.mjs", pins, *map(str, pages)).splitlines()


def _run(script: str, pins: Path, *words: str, asked: str = "") -> str:
    done = subprocess.run(
        ["node", str(EVALUATION / script), *words],
        input=asked,
        env={**os.environ, "GRAFANA_PACKAGES": str(packages(pins))},
        capture_output=True,
        text=True,
        check=False,
        timeout=EVALUATED_WITHIN_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def packages(pins: Path = EVALUATION) -> Path:
    """Where Grafana's packages are installed, for all who test here; installed where missing."""
    pinned = pins / "package-lock.json"
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = caches / "orchwatch" / "grafana" / sha256(pinned.read_bytes()).hexdigest()[:12]
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "ready").exists():
            for name in ("package.json", pinned.name):
                (directory / name).write_bytes((pins / name).read_bytes())
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            subprocess.run(command, cwd=directory, check=True, timeout=INSTALLED_WITHIN_S)
            (directory / "ready").touch()
    return directory
