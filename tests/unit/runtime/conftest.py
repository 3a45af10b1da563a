from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Records = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own for each test, and no trace to continue."""
    path = tmp_path / "home"
    monkeypatch.setenv("ORCHWATCH_HOME", str(path))
    monkeypatch.delenv("TRACEPARENT", raising=False)
    monkeypatch.delenv("BAGGAGE", raising=False)
    return path


def _lines(home: Path, family: str) -> Records:
    files = sorted((home / "spool").glob(f"{family}-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines() if line]


@pytest.fixture
def spans(home: Path) -> Callable[[], Records]:
    """The operations recorded so far, as flat dictionaries."""

    def read() -> Records:
        return [
            {
                "name": span["name"],
                "trace": span["traceId"],
                "id": span["spanId"],
                "parent": span.get("parentSpanId", ""),
                "failed": span["status"]["code"] == 2,
                **{a["key"]: next(iter(a["value"].values())) for a in span["attributes"]},
            }
            for line in _lines(home, "operations")
            for resource in line["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]

    return read
