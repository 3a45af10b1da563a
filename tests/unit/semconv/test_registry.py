"""The registry, the module of names, and what uses them, agree."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import orchwatch
from orchwatch import semconv
from orchwatch.mixin.telemetry_page import COMMON, USAGE, registry
from orchwatch.semconv import mapping

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(orchwatch.__file__).parent
HERE = "semconv"
# Parts of ids, which never change, whatever a span is called one day.
IDS = {"agents/sessions/ids.py", "agents/sessions/spans.py"}

NAMES = {
    value for name, value in vars(semconv).items() if name.isupper() and isinstance(value, str)
} | set(semconv.USAGE_OF_MODELS.values())
FORMER = {
    *semconv.FORMER_NAMES.values(),
    semconv.FORMER_TOKEN_USAGE,
    semconv.FORMER_TOKEN_TYPE,
} - {semconv.GEN_AI_USAGE_CACHE_CREATION_TOKENS}  # written beside its new name


def registered() -> set[str]:
    found = registry()
    spans = set(found["spans"]) - {COMMON, USAGE}
    return {*found["attributes"], *spans, *found["metrics"], *found["events"]}


def lists() -> Iterator[tuple[str, list[str]]]:
    """Where attributes are named: by what, and which."""
    found = registry()
    yield "resource", found["resource"]["attributes"]
    for table in ("spans", "metrics", "events"):
        for name, one in found[table].items():
            yield name, one.get("attributes", [])


def test_what_is_in_the_registry_has_a_name_in_the_module() -> None:
    for name in registered():
        stem = name.removesuffix(".*")
        assert stem in NAMES or f"{stem}." in NAMES, name


def test_every_name_of_the_module_is_in_the_registry() -> None:
    of_prefixes = {name.removesuffix("*") for name in registered() if name.endswith(".*")}
    for name in NAMES - FORMER:
        if "." in name and "/" not in name:
            assert name in registered() | of_prefixes, name


def test_every_attribute_is_used_and_registered() -> None:
    used = {attribute for _, attributes in lists() for attribute in attributes}
    assert used == set(registry()["attributes"])


def test_what_is_called_otherwise_today_is_not_written_by_its_former_name() -> None:
    assert set(semconv.FORMER_NAMES) <= set(registry()["attributes"])
    assert not FORMER & registered()


def test_other_programs_spans_get_names_of_the_registry() -> None:
    table = mapping.load()
    spans = registry()["spans"]
    for kind in table.kinds.values():
        if kind.operation:
            assert kind.operation in spans
        if kind.genai and kind.operation != semconv.API_ERROR:
            named = next(
                one for one in spans.values() if one.get("name", "").split(" {")[0] == kind.genai
            )
            field = f" {{{kind.named_by}}}" if kind.named_by else ""
            assert named["name"] == f"{kind.genai}{field}"


def test_former_names_are_read_of_other_programs_too() -> None:
    table = mapping.load()
    for name, former in semconv.FORMER_NAMES.items():
        assert former in table.attributes[name]


def test_every_attribute_of_a_metric_is_bounded() -> None:
    for name, metric in registry()["metrics"].items():
        for attribute in metric.get("attributes", ()):
            bound = registry()["attributes"][attribute]
            assert "values" in bound or "most" in bound, (name, attribute)


def test_types_and_kinds_are_those_of_otlp() -> None:
    found = registry()
    kinds = {"counter", "updowncounter", "gauge", "histogram"}
    assert {one["kind"] for one in found["metrics"].values()} <= kinds
    types = {"string", "int", "double", "boolean", "string[]", "int[]", "double[]"}
    assert {one["type"] for one in found["attributes"].values()} <= types
    for name, one in found["attributes"].items():
        assert not {"values", "most"} <= one.keys(), name


def test_lines_of_otlp_are_written_in_one_place_that_says_which_conventions_they_follow() -> None:
    found = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if re.search(r'"resource(Spans|Metrics|Logs|\{signal\})":\[\{', path.read_text())
    ]
    assert found == ["recording/otlp_json.py"]


def test_no_name_is_spelled_out_beside_the_module() -> None:
    wanted = {name for name in registered() | FORMER if "." in name}
    found = [
        (str(path.relative_to(PACKAGE)), node.lineno, node.value)
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != HERE and str(path.relative_to(PACKAGE)) not in IDS
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in wanted
    ]
    assert found == []
