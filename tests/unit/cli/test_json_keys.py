"""docs/json.md has every key that a command writes, and no other."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.analysis.test_change_points import history, narrow
from tests.unit.analysis.test_forecasts import fill
from tests.unit.analysis.test_token_use import used
from tests.unit.analysis.test_tuning import KEPT
from tests.unit.diagnosis.test_audit import Servers
from tests.unit.reporters.test_status_line import snapshot

import orchwatch
from orchwatch import count, operation
from orchwatch.analysis import benchmark_runs, snapshot_file, tuning
from orchwatch.analysis.health import Alert
from orchwatch.cli.main import COMMANDS, main
from orchwatch.diagnosis.fleet import membership
from orchwatch.diagnosis.fleet import tokens as fleet_tokens
from orchwatch.diagnosis.fleet.membership import Membership
from orchwatch.recording import otlp_services
from orchwatch.runtime import settings
from orchwatch.runtime.session_state import SessionStateManager
from orchwatch.runtime.settings import Tuned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.conftest import Record

ALERT = Alert(
    id="state.query",
    title="State queries",
    severity="warning",
    value=0.09,
    threshold=0.075,
    unit="s",
    recommendation="look",
)
DOCS = Path(orchwatch.__file__).parents[2] / "docs" / "json.md"
KEPT_KEYS = Path(__file__).parents[2] / "golden" / "json_keys.txt"
SECTIONS = re.compile(r"^## (.+?)$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
SESSIONS = Path(__file__).parents[2] / "data" / "claude"
# Keys of these are names of what was measured.
MAPS = {
    "operations", "levels", "metrics", "attributes", "resource", "emitted", "dropped", "uncounted",
    "forgotten", "surplus", "tools", "failed_tools", "skipped", "settings", "unreadable",
}  # fmt: skip
_SHORT = ("--component", "event", "--concurrent", "1", "--rate", "0")
# What is asked besides, one after the other: some keys are there only then.
ASKED = {
    "audit": ([], ["--session", "s"]),
    "bench run": (["--component", "event", "--iterations", "6"],),
    "bench load": ([*_SHORT, "--duration", "1"],),
    "bench stress": ([*_SHORT, "--duration", "0.1"],),
    "baseline show": (["main"],),
    "baseline compare": (["main"],),
    "claude import": ([str(SESSIONS)], [str(SESSIONS)]),
    "import": ([str(SESSIONS)], [str(SESSIONS)]),
    # Whatever the machine has to do, which would be an alert.
    "report": (["--since", "all", "--until", "0s"],),
    "sql": (["FROM ended_operations"],),
    "state": (["latest", "$.session.status"],),
    "status-line": ([], []),
    "tune": (["--component", "event", "--knob", "batch_size", "--iterations", "10"],),
    "trace diff": (["1h..0s", "1h..0s"],),
}


def documented() -> dict[str, set[str]]:
    found = {}
    for command, text in SECTIONS.findall(DOCS.read_text()):
        firsts = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
        found[command] = {key for first in firsts for key in re.findall("`(.+?)`", first)}
        found[command].add("*.schema_version" if command == "trace" else "schema_version")
    return found


def versions() -> dict[str, int]:
    found = {}
    for command, text in SECTIONS.findall(DOCS.read_text()):
        (version,) = re.findall(r"^Schema version ([0-9]+)\.$", text, re.MULTILINE)
        found[command] = int(version)
    return found


def keys(value: Any, path: str = "", *, named: bool = False) -> Iterator[str]:
    if isinstance(value, dict) and named:
        for entry in value.values() or [None]:
            yield from keys(entry, f"{path}.*".lstrip("."))
    elif isinstance(value, dict) and value:
        for key, entry in value.items():
            yield from keys(entry, f"{path}.{key}".lstrip("."), named=key in MAPS)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for entry in value:
            yield from keys(entry, f"{path}.*".lstrip("."))
    else:
        yield path


def fleet() -> None:
    """A machine that has joined one, and a gateway's tokens."""
    place = Membership(url="http://127.0.0.1:9", team="reds", own_ca=False)
    membership.write(place, token="t", authorities=b"")
    fleet_tokens.add(fleet_tokens.default_path(), "laptop")


@pytest.fixture
def servers(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    assert home  # which forgets where servers are
    with Servers() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in ("TEMPO", "PROMETHEUS"):
            monkeypatch.setenv(f"ORCHWATCH_{name}_URL", server.url)
        yield
        server.shutdown()


@pytest.mark.parametrize("command", documented())
@pytest.mark.usefixtures("servers")
def test_the_documented_keys_are_those_of_the_output(
    command: str, home: Path, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    if command in ("forecast", "report"):
        fill(record, lambda minute: 20 + minute % 3, 60)
    count("cache.evictions", 3)
    otlp_services.begin("shop", "http://localhost:4318")
    if command == "state":
        SessionStateManager(home / "sessions", "s").close()
    if command.startswith("fleet"):
        fleet()
    if command == "tokens":
        used(record, "gpt-5")
    if command.startswith("tune "):
        settings.keep(home, {KEPT.knob: Tuned(KEPT.after, None)})
        tuning.append(home, KEPT)
    if command.startswith("baseline"):
        for run in history(narrow, 0, 20):
            benchmark_runs.append(home, run)
        assert main(["baseline", "save", "main"]) == 0
        capsys.readouterr()
    with operation("agent.turn", {"session.id": "s"}), operation("hook.process"):
        pass
    who = {"session.id": "s", "gen_ai.agent.name": "a", "x": "y"}
    with operation("tool.execute", who) as one:
        one.add_event("asked", {"x": "y"})
        one.fail("ValueError")
    found: set[str] = set()
    for words in ASKED.get(command, ([],)):
        assert main([*command.split(), *words, "--format", "json"]) in (0, 3)
        out = capsys.readouterr().out
        documents = out.splitlines() if command == "events" else [out]
        answers = [json.loads(document) for document in documents]
        found |= {key for answer in answers for key in keys(answer)}
        objects = [
            one for answer in answers for one in (answer if command == "trace" else [answer])
        ]
        assert {one["schema_version"] for one in objects} == {versions()[command]}
        if command == "status-line":  # now as the monitor leaves it, with an alert
            snapshot_file.write(str(home), snapshot(alerts=[asdict(ALERT)]))
    assert found == documented()[command]


def test_every_command_that_writes_json_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    grouped = {
        "kpi": ("list", "set"),
        "bench": ("run", "load", "stress"),
        "baseline": ("save", "show", "compare", "list", "history"),
        "fleet": (
            "join",
            "run",
            "status",
            "resend",
            "leave",
            "token add",
            "token list",
            "token revoke",
        ),
    }
    commands = [name for name in COMMANDS if name not in (*grouped, "claude")]
    commands += [f"{name} {action}" for name, actions in grouped.items() for action in actions]
    for name in [*commands, "claude import", "claude install", "claude uninstall"]:
        assert main([*name.split(), "--help"]) == 0
        usage = capsys.readouterr().out
        writes_json = "--format" in usage and "json" in usage
        assert (name in documented()) == writes_json, name


def test_keys_are_what_they_were_or_their_version_is_another() -> None:
    """A key may be added to this file; one that goes, or means something else, needs a version."""
    lines = KEPT_KEYS.read_text().splitlines()[1:]
    now = [
        f"{command} {versions()[command]}: {key}"
        for command, keys_ in documented().items()
        for key in keys_
    ]
    assert sorted(now) == lines
