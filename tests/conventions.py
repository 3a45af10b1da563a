"""OTLP/JSON as Orchwatch writes it, held against the registry."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.mixin.telemetry_page import COMMON, USAGE, registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_TYPES = {
    "stringValue": "string",
    "intValue": "int",
    "doubleValue": "double",
    "boolValue": "boolean",
}
_FIELD = re.compile(r"\{([^}]+)\}")


class Checked:
    """Compares documents with the registry.

    Attributes:
        problems: What does not hold, each once.
        spans: Which spans of the registry were met.
        metrics: Which metrics.
    """

    def __init__(self, *, own_operations: Iterable[str] = ()) -> None:
        self.problems: dict[str, None] = {}
        self.spans: set[str] = set()
        self.metrics: set[str] = set()
        self._own = frozenset(own_operations)
        self._values: dict[tuple[str, str], set[str]] = defaultdict(set)

    def add_spool(self, home: Path) -> Checked:
        """All that a home's spool holds, but for hooks' events, which are the agent's own."""
        for path in sorted((home / "spool").glob("*.jsonl")):
            if path.name.startswith("hooks-"):
                continue
            for line in path.read_bytes().splitlines():
                try:
                    self.add(json.loads(line))
                except ValueError:
                    continue  # a killed process' last line
        return self

    def add(self, document: Mapping[str, Any]) -> None:
        """One line; what is not of our scope is not ours."""
        for signal, items, check in (
            ("Spans", "spans", self._span),
            ("Metrics", "metrics", self._metric),
            ("Logs", "logRecords", self._event),
        ):
            for resource in document.get(f"resource{signal}", ()):
                for scope in resource[f"scope{signal}"]:
                    if scope["scope"].get("name") != semconv.SCOPE:
                        continue
                    self._schemas(resource, scope)
                    allowed = registry()["resource"]["attributes"]
                    self._attributes("resource", resource["resource"]["attributes"], allowed)
                    for item in scope[items]:
                        check(item)

    def _schemas(self, resource: Mapping[str, Any], scope: Mapping[str, Any]) -> None:
        for what, found, wanted in (
            ("resource", resource, semconv.RESOURCE_SCHEMA_URL),
            ("scope", scope, semconv.SCHEMA_URL),
        ):
            if found.get("schemaUrl") != wanted:
                self._say(f"{what}: schema URL {found.get('schemaUrl')!r}")

    def _span(self, span: Mapping[str, Any]) -> None:
        attributes = self._plain(span["attributes"])
        operation = attributes.get(semconv.OPERATION_NAME)
        if operation in self._own:
            return
        found = registry()["spans"]
        for name, one in found.items():
            if name in (COMMON, USAGE):
                continue
            counted = one.get("counted", True)
            if operation is not None and (not counted or operation != name):
                continue
            if self._fits(span["name"], name, one, attributes):
                break
        else:
            self._say(f"span {span['name']!r}, operation {operation!r}: is not in the registry")
            return
        self.spans.add(name)
        if span["status"].get("code", 0) == 2 and semconv.ERROR_TYPE not in attributes:
            self._say(f"span {name}: failed, and has no {semconv.ERROR_TYPE}")
        allowed = [*found[COMMON]["attributes"], *one.get("attributes", ())]
        allowed += found[USAGE]["attributes"] if one.get("usage") else []
        self._attributes(f"span {name}", span["attributes"], allowed)

    @staticmethod
    def _fits(said: str, name: str, one: Mapping[str, Any], attributes: Mapping[str, Any]) -> bool:
        if said == name and one.get("counted", True):
            return True  # our own code's spans are called by their operation
        pattern = one.get("name", name)
        filled = _FIELD.sub(lambda field: str(attributes.get(field[1], "")), pattern)
        return said == filled.rstrip()

    def _metric(self, metric: Mapping[str, Any]) -> None:
        name = metric["name"]
        one = registry()["metrics"].get(name)
        if one is None:
            self._say(f"metric {name}: is not in the registry")
            return
        self.metrics.add(name)
        kind, data = _kind(metric)
        if (kind, metric.get("unit", "")) != (one["kind"], one["unit"]):
            self._say(f"metric {name}: is a {kind} in {metric.get('unit')!r}")
        for point in data["dataPoints"]:
            pairs = point.get("attributes", ())
            self._attributes(f"metric {name}", pairs, one.get("attributes", ()))
            for pair in pairs:
                bound = registry()["attributes"].get(pair["key"], {})
                values = self._values[name, pair["key"]]
                values.add(json.dumps(pair["value"]))
                if "values" not in bound and len(values) > bound.get("most", 0):
                    self._say(f"metric {name}: {len(values)} values of {pair['key']}")

    def _event(self, record: Mapping[str, Any]) -> None:
        one = registry()["events"].get(record.get("eventName"))
        if one is None:
            self._say(f"event {record.get('eventName')!r}: is not in the registry")
            return
        self._attributes(f"event {record['eventName']}", record["attributes"], one["attributes"])

    def _attributes(
        self, where: str, pairs: Iterable[Mapping[str, Any]], allowed: Iterable[str]
    ) -> None:
        for pair in pairs:
            name, (kind, value) = pair["key"], _typed(pair["value"])
            known = next((one for one in allowed if _named(one, name)), None)
            if known is None:
                self._say(f"{where}: has {name}")
                continue
            attribute = registry()["attributes"][known]
            if kind not in (attribute["type"], "[]"):
                self._say(f"{where}: {name} is {kind}, {value!r}")
            if value not in attribute.get("values", (value,)):
                self._say(f"{where}: {name} is {value!r}")

    @staticmethod
    def _plain(pairs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        return {pair["key"]: _typed(pair["value"])[1] for pair in pairs}

    def _say(self, problem: str) -> None:
        self.problems[problem] = None


def _named(known: str, name: str) -> bool:
    return name.startswith(known[:-1]) if known.endswith("*") else name == known


def _kind(metric: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    (kind,) = metric.keys() & {"sum", "gauge", "histogram"}
    data: Mapping[str, Any] = metric[kind]
    if kind == "sum":
        kind = "counter" if data.get("isMonotonic") else "updowncounter"
    return kind, data


def _typed(value: Mapping[str, Any]) -> tuple[str, Any]:
    ((kind, content),) = value.items()
    if kind == "arrayValue":
        elements = [_typed(one) for one in content.get("values", ())]
        kinds = {one for one, _ in elements}
        if len(kinds) > 1:
            return "several types", elements
        return f"{next(iter(kinds), '')}[]", elements
    return _TYPES[kind], int(content) if kind == "intValue" else content
