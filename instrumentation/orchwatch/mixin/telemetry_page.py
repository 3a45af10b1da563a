"""docs/telemetry.md: what leaves the process, as the registry has it."""

from __future__ import annotations

import os
import tomllib
from functools import cache
from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.mixin.lib.markdown import table
from orchwatch.recording import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FILE = "docs/telemetry.md"
_REGISTRY = os.path.join(os.path.dirname(semconv.__file__), "registry.toml")

_MAX_BYTES = 1 << 20
# Tables of `spans` that are no span: what all of them carry, and what those do that asked a model.
COMMON, USAGE = "common", "usage"

_HEAD = f"""\
<!-- generated from semconv/registry.toml by orchwatch generate: do not edit -->
# Telemetry

Every attribute, span and metric that Orchwatch itself writes; operations of your own have the names
that you give them. Resources follow OpenTelemetry's general conventions (`schema_url`
`{semconv.RESOURCE_SCHEMA_URL}`), spans and metrics those for GenAI too
(`{semconv.SCHEMA_URL}`), which are in development
and still move: their newest names are written, former ones are read. Tests hold what the demo, the
runtime, the monitor and each reader write against this list.
"""


@cache
def registry() -> Mapping[str, Any]:
    """The registry as its file has it."""
    return tomllib.loads(files.read(_REGISTRY, _MAX_BYTES).decode())


def page() -> str:
    """The whole file."""
    return "\n".join([_HEAD, *_spans(), *_metrics(), *_events(), *_attributes()]) + "\n"


def _spans() -> Iterator[str]:
    found = registry()["spans"]
    yield "## Spans"
    yield ""
    yield f"All carry, where it is known: {_code(found[COMMON]['attributes'])}."
    yield f"Turns and sub-agents that have asked a model also: {_code(found[USAGE]['attributes'])}."
    yield ""
    rows = [
        (
            f"`{one}`" if span.get("counted", True) else "none",
            f"`{span.get('name', one)}`",
            span["what"],
            _code(span.get("attributes", ())),
        )
        for one, span in found.items()
        if one not in (COMMON, USAGE)
    ]
    yield from table(("operation", "name", "what", "attributes"), rows)


def _metrics() -> Iterator[str]:
    yield ""
    yield "## Metrics"
    yield ""
    rows = [
        (f"`{name}`", one["kind"], one["unit"], one["what"], _code(one.get("attributes", ())))
        for name, one in registry()["metrics"].items()
    ]
    yield from table(("metric", "kind", "unit", "what", "attributes"), rows)


def _events() -> Iterator[str]:
    yield ""
    yield "## Events"
    yield ""
    rows = [
        (f"`{name}`", one["what"], _code(one["attributes"]))
        for name, one in registry()["events"].items()
    ]
    yield from table(("event", "what", "attributes"), rows)


def _attributes() -> Iterator[str]:
    yield ""
    yield "## Attributes"
    yield ""
    of_resources = _code(registry()["resource"]["attributes"])
    yield f"Of resources: {of_resources}. Without a bound one is no metric's."
    yield ""
    rows = [
        (f"`{name}`", one["type"], _bound(one), one["what"])
        for name, one in registry()["attributes"].items()
    ]
    yield from table(("attribute", "type", "values", "what"), rows)


def _bound(attribute: Mapping[str, Any]) -> str:
    if "values" in attribute:
        return _code(attribute["values"])
    return f"at most {attribute['most']}" if "most" in attribute else ""


def _code(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)
