from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and an empty working directory to find no configuration in."""
    for variable in ("TRACEPARENT", "BAGGAGE"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("CONFIG", "INSTRUMENT", "WATCHING_SINCE"):
        monkeypatch.delenv(f"ORCHWATCH_{variable}", raising=False)
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


@pytest.fixture
def spans(home: Path) -> Callable[[], list[dict[str, Any]]]:
    """What was recorded, in order; attributes as a plain dictionary of texts."""

    def read() -> list[dict[str, Any]]:
        found = []
        for segment in sorted((home / "spool").glob("operations-*.jsonl")):
            for line in segment.read_text().splitlines():
                for resource in json.loads(line)["resourceSpans"]:
                    for scope in resource["scopeSpans"]:
                        found += scope["spans"]
        for span in found:
            span["attributes"] = {
                pair["key"]: str(next(iter(pair["value"].values()))) for pair in span["attributes"]
            }
        return found

    return read
