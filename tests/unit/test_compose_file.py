"""docker-compose.yml and what it mounts, read as files; `make test-compose` runs them."""

from __future__ import annotations

import configparser
import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import build
from native import Ports

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
FILE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]

# What a user need not set and .env.example therefore does not list.
FROM_THE_SHELL = {"HOME", "XDG_STATE_HOME"}
ROOT_SERVICE = "prepare"

_VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::[-+?]([^${}]*))?")
_DEFAULT_IN_CONFIG = re.compile(r"\$\{(?:env:)?([A-Z_]+):-([^}]*)\}")


def _binds(service: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """A service's mounts as (source, target, read only)."""
    found = []
    for mount in service.get("volumes", []):
        if isinstance(mount, str):
            source, target, *mode = mount.split(":")
            found.append((source, target, mode == ["ro"]))
        else:
            found.append((mount["source"], mount["target"], mount.get("read_only", False)))
    return found


def _component(name: str) -> build.Component:
    return next(component for component in build.COMPONENTS if component.name == name)


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return request.param, SERVICES[request.param]


def test_it_names_no_version_of_the_compose_language() -> None:
    assert "version" not in FILE


def test_every_service_is_hardened(service: tuple[str, dict[str, Any]]) -> None:
    _, settings = service
    assert settings["read_only"] is True
    assert settings["cap_drop"] == ["ALL"]
    assert settings["security_opt"] == ["no-new-privileges:true"]
    assert settings["mem_limit"]
    assert settings["pids_limit"]
    assert settings["logging"]["options"].keys() == {"max-size", "max-file"}
    assert "privileged" not in settings


def test_only_the_service_that_gives_directories_away_is_root(
    service: tuple[str, dict[str, Any]],
) -> None:
    name, settings = service
    user = settings["user"]
    is_root = not re.fullmatch(r"[1-9]\d*:\d+|\$\{ORCHWATCH_UID:-1000\}:.*", user)
    assert is_root == ("cap_add" in settings) == (name == ROOT_SERVICE)


def test_what_runs_once_is_not_started_again_and_everything_else_is(
    service: tuple[str, dict[str, Any]],
) -> None:
    name, settings = service
    waited_for = {
        other
        for others in SERVICES.values()
        for other, wait in others.get("depends_on", {}).items()
        if wait["condition"] == "service_completed_successfully"
    }
    assert ("restart" in settings) == (name not in waited_for)


def test_every_port_is_on_loopback_and_named_like_the_native_stacks(
    service: tuple[str, dict[str, Any]],
) -> None:
    ports = {
        f"ORCHWATCH_{field.name.upper()}_PORT": field.default for field in dataclasses.fields(Ports)
    } | {"ORCHWATCH_GRAFANA_PORT": 3000}
    for published in service[1].get("ports", []):
        host, _, container = published.removeprefix("127.0.0.1:").partition("}:")
        found = re.fullmatch(r"\$\{(\w+):-(\d+)", host)
        assert found, published
        assert int(found[2]) == ports[found[1]]
        assert container in (found[2], f"{host}}}")


def test_the_images_are_those_of_the_versions_that_are_built_natively() -> None:
    images = {
        name: settings.get("image", "").partition("@")[0] for name, settings in SERVICES.items()
    }
    collector = _component("collector").version()
    # Prometheus 3.14.0 is module v0.314.0.
    prometheus = re.sub(r"^0\.(\d)(\d\d)", r"\1.\2", _component("prometheus").version())
    assert images["collector"] == f"otel/opentelemetry-collector-contrib:{collector}"
    assert images["prometheus"] == f"prom/prometheus:v{prometheus}"
    alertmanager = _component("alertmanager").version()
    assert images["alertmanager"] == f"prom/alertmanager:v{alertmanager}"
    # The module's pseudo-version is of the 2.8 line and names no release.
    assert re.fullmatch(r"grafana/tempo:2\.8\.\d+", images["tempo"])
    assert re.fullmatch(r"grafana/grafana:12\.3\.\d+", images["grafana"])
    assert {name for name, image in images.items() if not image} == {"demo", "monitor", "prepare"}


def test_every_mounted_file_is_there_and_only_the_home_can_be_written(
    service: tuple[str, dict[str, Any]],
) -> None:
    name, settings = service
    for source, target, read_only in _binds(settings):
        if source.startswith("./"):
            assert (ROOT / source).exists()
            assert read_only
        elif source.startswith("$"):
            assert read_only == (target not in {"/orchwatch", "/claude-projects"})
            assert read_only or target == "/orchwatch" or name == ROOT_SERVICE
        else:
            assert source in FILE["volumes"]


def test_every_volume_is_given_to_the_user_who_writes_it() -> None:
    prepare = (ROOT / "compose/prepare").read_text()
    given = re.findall(r'^give "\$(\w+)" /volumes/(\w+)$', prepare, re.MULTILINE)
    environment = SERVICES[ROOT_SERVICE]["environment"]
    users = {volume: environment[variable] for variable, volume in given}
    owners = {
        source: settings["user"]
        for name, settings in SERVICES.items()
        for source, _, read_only in _binds(settings)
        if source in FILE["volumes"] and name != ROOT_SERVICE and not read_only
    }
    assert users == owners
    assert users.keys() == FILE["volumes"].keys()


@pytest.mark.parametrize(
    ("name", "config", "directories"),
    [
        ("collector", "collector/config.yaml", {"/access", "/spool", "/var/lib/otelcol"}),
        ("tempo", "tempo/tempo.yaml", {"/var/tempo"}),
    ],
)
def test_a_config_finds_its_directories_and_settings_in_its_container(
    name: str, config: str, directories: set[str]
) -> None:
    defaults = dict(_DEFAULT_IN_CONFIG.findall((ROOT / config).read_text()))
    targets = {target for _, target, _ in _binds(SERVICES[name])}
    assert {value for value in defaults.values() if value.startswith("/")} == directories
    assert directories <= targets
    environment = {key for key in SERVICES[name]["environment"] if key.startswith("ORCHWATCH_")}
    assert environment <= defaults.keys()


def test_every_setting_is_in_the_example_with_its_default() -> None:
    example = dict(re.findall(r"^#(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    used = {name: default or "" for name, default in _VARIABLE.findall(TEXT)}
    used = {name: default for name, default in used.items() if name not in FROM_THE_SHELL}
    assert used.keys() == example.keys()
    for name, default in example.items():
        if default:
            assert f"${{{name}:-{default}}}" in TEXT


def test_grafana_has_no_administrator_until_a_password_is_set() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "grafana/grafana.ini")
    assert settings["security"]["disable_initial_admin_creation"] == "true"
    assert settings["auth"]["disable_login_form"] == "true"
    assert "admin_password" not in settings["security"]
    assert settings["auth.anonymous"]["org_role"] == "Viewer"
    assert SERVICES["grafana"]["environment"] == {
        "GF_SECURITY_ADMIN_PASSWORD": "${ORCHWATCH_GRAFANA_ADMIN_PASSWORD:-}",
        "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION": "${ORCHWATCH_GRAFANA_ADMIN_PASSWORD:+false}",
        "GF_AUTH_DISABLE_LOGIN_FORM": "${ORCHWATCH_GRAFANA_ADMIN_PASSWORD:+false}",
        "GF_SERVER_ROOT_URL": "http://127.0.0.1:${ORCHWATCH_GRAFANA_PORT:-3000}/",
    }


def test_grafana_answers_by_no_other_name_than_its_configured_one() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "grafana/grafana.ini")
    assert settings["server"] == {"domain": "127.0.0.1", "enforce_domain": "true"}
    # These it answers before it looks at the name.
    assert settings["metrics"]["enabled"] == "false"
    assert settings["auth.anonymous"]["hide_version"] == "true"


def test_grafana_leads_from_an_exemplar_to_its_trace_and_from_a_span_to_its_metrics() -> None:
    provisioned = yaml.safe_load(
        (ROOT / "grafana/provisioning/datasources/orchwatch.yaml").read_text()
    )
    sources = {source["uid"]: source for source in provisioned["datasources"]}
    assert sources.keys() == {"prometheus", "tempo"}
    assert not any(source["editable"] for source in sources.values())
    assert sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"] == [
        {"name": "trace_id", "datasourceUid": "tempo"}
    ]
    tempo = sources["tempo"]["jsonData"]
    assert tempo["nodeGraph"] == {"enabled": True}
    assert tempo["streamingEnabled"] == {"search": False, "metrics": False}
    assert "serviceMap" not in tempo  # nothing writes the metrics that it asks for
    assert tempo["tracesToMetrics"]["datasourceUid"] == "prometheus"
    lent = "$__file{/var/lib/grafana/access/%s}"
    assert sources["prometheus"]["secureJsonData"] == {"basicAuthPassword": lent % "password"}
    assert sources["tempo"]["url"] == f"http://tempo:3200{lent % 'path'}"
    for source in sources.values():
        address = re.match(r"http://(\w+):(\d+)", source["url"])
        assert address
        ports = SERVICES[address[1]]["ports"]
        assert any(published.endswith(f":{address[2]}") for published in ports)


def test_images_are_pinned_by_digest_but_for_two_whose_digests_could_not_be_confirmed() -> None:
    images = {settings["image"] for settings in SERVICES.values() if "image" in settings}
    by_tag = {image for image in images if not re.search(r"@sha256:[0-9a-f]{64}$", image)}
    assert {image.partition(":")[0] for image in by_tag} == {"grafana/grafana", "grafana/tempo"}


def test_the_demo_image_is_built_from_one_pinned_image_and_hashed_packages() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    (base,) = re.findall(r"^ARG PYTHON=(\S+)", dockerfile, re.MULTILINE)
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base)
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {"${PYTHON}"}
    installs = re.findall(r"pip install (.*)", dockerfile)
    assert installs
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)


def test_the_demo_image_holds_the_packages_that_are_tested() -> None:
    assert _locked("image.txt") <= _locked("dev.txt")


def _locked(name: str) -> set[str]:
    lines = (ROOT / "requirements" / name).read_text()
    return set(re.findall(r"^[\w-]+==[^\s;]+", lines, re.MULTILINE))
