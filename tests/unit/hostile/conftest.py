from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_SCRIPT = Path(__file__).with_name("answers.py")
# For what takes a second where nobody else works.
_TIMEOUT_S = 250
_COLOUR = re.compile(r"\x1b\[[0-9;]+m")

NOW_NS = time.time_ns()


class Answer(NamedTuple):
    """What a command said."""

    words: list[str]
    code: int
    out: str
    err: str


class Place:
    """A user's directories, and commands that look at them."""

    def __init__(self, root: Path, kept: Path) -> None:
        self.root = root
        self.kept = kept  # for what is the same in all places
        self.home, self.project, self.claude = root / "home", root / "project", root / "claude"
        for directory in (self.project, self.claude / "projects", root / "tmp", root / "user"):
            directory.mkdir(parents=True)

    def environment(self) -> dict[str, str]:
        """Of a process that is to know of nothing else."""
        mine = ("ORCHWATCH_", "OTEL_", "XDG_", "CLAUDE", "TRACEPARENT", "BAGGAGE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
        return kept | {
            "ORCHWATCH_HOME": str(self.home),
            "CLAUDE_CONFIG_DIR": str(self.claude),
            "XDG_CONFIG_HOME": str(self.root / "config"),
            "HOME": str(self.root / "user"),
            "TMPDIR": str(self.root / "tmp"),
        }

    def ask(self, *commands: Sequence[str], **variables: str) -> list[Answer]:
        """Each command's answer: in words a terminal can bear, with no traceback, and in time."""
        ended = subprocess.run(
            [sys.executable, str(_SCRIPT), json.dumps(commands), str(self.kept)],
            check=False,
            cwd=self.project,
            env=self.environment() | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
        answers = [Answer(**json.loads(line)) for line in ended.stdout.splitlines()]
        assert not ended.returncode, (answers and answers[-1].words, ended.stderr)
        for answer in answers:
            shown = answer.out + answer.err
            if "always" in answer.words:
                shown = _COLOUR.sub("", shown)
            # Of a command that is run: not found, not executable.
            assert answer.code in (0, 1, 2, 3, 126, 127), answer
            assert "a bug in orchwatch" not in shown, answer
            assert "Traceback" not in shown, answer
            assert all(one.isprintable() or one == "\n" for one in shown), answer
            if answer.code:
                assert answer.err.rstrip().splitlines()[-1].startswith("orchwatch: "), answer
            if "json" in answer.words and not answer.code:
                lines = answer.out.splitlines() if "events" in answer.words else [answer.out]
                assert all(json.loads(line) is not None for line in lines), answer
        return answers

    def write(self, family: str, lines: Iterable[bytes | str]) -> None:
        """A segment of the spool."""
        spool = self.home / "spool"
        spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        header = {"orchwatch": {"segment": f"{family}-000001", "id": os.urandom(16).hex()}}
        if family != "hooks":
            header |= {"resourceSpans": []}  # type: ignore[dict-item]
        whole = [json.dumps(header) + "\n", *lines]
        (spool / f"{family}-000001.jsonl").write_bytes(
            b"".join(line if isinstance(line, bytes) else line.encode() for line in whole)
        )


@pytest.fixture
def places(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Place]:
    """Makes places of their own."""
    numbers = iter(range(1000))
    kept = tmp_path_factory.getbasetemp()
    return lambda: Place(tmp_path / str(next(numbers)), kept)


@pytest.fixture
def place(places: Callable[[], Place]) -> Place:
    return places()


@pytest.fixture
def span() -> Callable[..., dict[str, Any]]:
    """A span of OTLP/JSON; attributes as texts by key, everything else as it is given."""
    numbers = iter(range(1, 1_000_000))

    def make(
        operation: str = "state.query", attributes: dict[str, str] | None = None, **members: Any
    ) -> dict[str, Any]:
        number = next(numbers)
        given = {"orchestration.operation.name": operation, **(attributes or {})}
        return {
            "traceId": f"{number:032x}",
            "spanId": f"{number:016x}",
            "name": operation,
            "kind": 1,
            "startTimeUnixNano": str(NOW_NS - 2_000_000_000),
            "endTimeUnixNano": str(NOW_NS - 1_000_000_000),
            "attributes": [
                {"key": key, "value": {"stringValue": value}} for key, value in given.items()
            ],
            "status": {"code": 1},
            **members,
        }

    return make


@pytest.fixture
def line() -> Callable[..., str]:
    """A line of the spool that holds spans."""

    def make(*spans: dict[str, Any], service: str = "orchestration") -> str:
        resource = {
            "attributes": [{"key": "service.name", "value": {"stringValue": service}}],
        }
        scopes = [{"scope": {"name": "test"}, "spans": list(spans)}]
        return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": scopes}]}) + "\n"

    return make
