from __future__ import annotations

import fcntl
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from orchwatch.diagnosis.fleet import membership
from orchwatch.diagnosis.fleet.membership import CONFIGS, Membership
from orchwatch.errors import OrchwatchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

JOINED = Membership(url="https://gateway:4318", team="reds", own_ca=True)
TEXTS = dict.fromkeys(CONFIGS, "{}\n")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def join(what: Membership = JOINED) -> None:
    membership.write(what, token="t0", authorities=b"pem")


def files(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in (home / "fleet").rglob("*") if path.is_file()}


def test_what_was_joined_is_what_is_read() -> None:
    assert membership.read() is None
    join()
    assert membership.read() == JOINED
    assert membership.token() == "t0"
    assert JOINED.gateway.url == JOINED.url


def test_all_of_it_is_the_users_alone(home: Path) -> None:
    join()
    membership.agent_command(JOINED, "otelcol", TEXTS)
    for path in (home / "fleet").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_leaving_removes_all_of_it_and_keeps_id_and_offsets(home: Path) -> None:
    join()
    membership.agent_command(JOINED, "otelcol", TEXTS)
    (home / "fleet" / "state" / "receiver_otlpjsonfile_operations").touch()
    assert membership.leave()
    assert files(home) == {"fleet/machine-id", "fleet/state/receiver_otlpjsonfile_operations"}
    assert membership.read() is None
    assert not membership.leave()


def test_a_machine_that_joins_anew_keeps_its_id() -> None:
    def identity() -> str:
        return membership.agent_command(JOINED, "otelcol", TEXTS)[1]["ORCHWATCH_HOST_ID"]

    join()
    first = identity()
    membership.leave()
    join()
    assert identity() == first


@pytest.mark.parametrize("text", ["", "[]", "{", '{"url": 1}', "\xff", "[" * 20000])
def test_a_broken_file_is_named(home: Path, text: str) -> None:
    join()
    path = home / "fleet" / "joined.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(OrchwatchError, match=re.escape(f"{path}: is broken")):
        membership.read()


def test_a_token_that_is_gone_is_named(home: Path) -> None:
    join()
    (home / "fleet" / "token").unlink()
    with pytest.raises(OrchwatchError, match="fleet/token: No such file"):
        membership.token()


def test_what_the_agent_reads_is_seen_from_the_home(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://elsewhere")
    join()
    words, environment = membership.agent_command(JOINED, "/bin/otelcol", TEXTS)
    assert words == [
        "/bin/otelcol",
        "--config=fleet/collector/config.yaml",
        "--config=fleet/collector/agent.yaml",
    ]
    assert not any(name.startswith("OTEL_") for name in environment)
    for name in ("SPOOL_DIR", "COLLECTOR_STATE_DIR", "ACCESS_DIR", "GATEWAY_CA"):
        assert (home / environment[f"ORCHWATCH_{name}"]).exists(), name
    own = Membership(url=JOINED.url, team="", own_ca=False)
    assert membership.agent_command(own, "otelcol", TEXTS)[1]["ORCHWATCH_GATEWAY_CA"] == ""


def test_the_agent_has_every_variable_that_its_configuration_asks_for() -> None:
    join()
    _, environment = membership.agent_command(JOINED, "otelcol", TEXTS)
    text = (Path(__file__).parents[4] / "collector" / "agent.yaml").read_text()
    asked = set(re.findall(r"\$\{env:(\w+)\}", text))
    assert asked
    assert asked <= environment.keys()


def test_the_agent_does_what_the_local_stack_does_but_add_up_and_says_whose_it_is() -> None:
    directory = Path(__file__).parents[4] / "collector"
    local, agent = (
        yaml.safe_load((directory / name).read_text())["service"]["pipelines"]
        for name in ("config.yaml", "agent.yaml")
    )
    leaving = {
        name
        for name, pipeline in local.items()
        if any(one.startswith("otlp_http/") for one in pipeline["exporters"])
    }
    assert agent.keys() == leaving
    adding_up = ("delta_to_cumulative", "interval", "filter/named")
    for name, pipeline in agent.items():
        kept = [one for one in local[name]["processors"] if one not in adding_up]
        assert pipeline["processors"] == [*kept, "transform/identity"], name
        to = "otlp_http/gateway" if name.startswith("traces/") else "otlp_http/gateway_metrics"
        assert pipeline["exporters"] == [to], name
        assert pipeline.keys() == {"processors", "exporters"}


@pytest.mark.parametrize("token", ["", "  ", "two words", "ä", "a\nb", "a\x07", "x" * 2000])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(UsageError, match="the token must be"):
        membership.checked_token(token)


def test_the_space_around_a_token_is_none_of_it() -> None:
    assert membership.checked_token(" owf_1\n") == "owf_1"


@pytest.fixture
def agent(home: Path) -> Iterator[None]:
    """What an agent that runs locks."""
    join()
    offsets = home / "fleet" / "state" / "receiver_otlpjsonfile_operations"
    offsets.parent.mkdir()
    with offsets.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    ("other", "authorities"),
    [
        (replace(JOINED, url="https://elsewhere:4318"), b"pem"),
        (replace(JOINED, team="blues"), b"pem"),
        (replace(JOINED, own_ca=False), b""),
        (JOINED, b"another"),
    ],
)
def test_an_agent_that_runs_shows_a_new_token_to_no_other_gateway(
    home: Path, other: Membership, authorities: bytes
) -> None:
    with pytest.raises(OrchwatchError, match="end it before"):
        membership.write(other, token="t1", authorities=authorities)
    assert (membership.read(), membership.token()) == (JOINED, "t0")
    (home / "fleet" / "joined.json").write_text("{")
    with pytest.raises(OrchwatchError, match="end it before"):
        membership.write(JOINED, token="t1", authorities=b"pem")


@pytest.mark.usefixtures("agent")
def test_an_agent_that_runs_takes_a_new_token_and_keeps_a_machine_from_leaving() -> None:
    membership.write(JOINED, token="t1", authorities=b"pem")
    assert membership.token() == "t1"
    with pytest.raises(OrchwatchError, match="the agent runs"):
        membership.leave()
    assert membership.read() == JOINED


@pytest.mark.parametrize("text", ["", "\n", "two words\n", "\x07\n", "x" * 2000, "umlaut ä\n"])
def test_a_file_that_holds_no_token_is_named_without_what_it_holds(home: Path, text: str) -> None:
    join()
    (home / "fleet" / "token").write_text(text)
    with pytest.raises(OrchwatchError) as refused:
        membership.token()
    assert str(refused.value).endswith("holds no token; orchwatch fleet join writes it anew")


def test_of_several_lines_the_first_is_the_token_as_for_the_collector(home: Path) -> None:
    join()
    (home / "fleet" / "token").write_text("one\ntwo\n")
    assert membership.token() == "one"
