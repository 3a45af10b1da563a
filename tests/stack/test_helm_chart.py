"""deploy/helm, rendered by Helm itself and held against Kubernetes' own schemas."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from tests.stack.fleet import otelcol

import build

CHART = Path(build.ROOT) / "deploy" / "helm"
COLLECTOR = CHART.parents[1] / "collector"
# The oldest that Chart.yaml takes, and the newest that there is a schema for.
VERSIONS = ("1.29.0", kubernetes_validate.latest_version())
FROM = '[{"namespaceSelector": {"matchLabels": {"orchwatch": "yes"}}}]'
EGRESS = '[{"to": [{"podSelector": {}}], "ports": [{"port": 9090, "protocol": "TCP"}]}]'
_ANYWHERE = '[{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]'
_NEEDED = (
    f'{{"requiredDuringSchedulingIgnoredDuringExecution": {{"nodeSelectorTerms": {_ANYWHERE}}}}}'
)
AFFINITY = f'{{"nodeAffinity": {_NEEDED}}}'
TOLERATIONS = '[{"key": "a", "operator": "Exists", "effect": "NoSchedule"}]'
# Every value of values.yaml as it is not by default; which of them a case has beside it.
OPTIONS: dict[str, tuple[str, ...]] = {
    "image.repository": ('"registry.example.com/otelcol"',),
    "image.tag": ('"0.159.0"',),
    "image.digest": (f'"sha256:{"a" * 64}"',),
    "image.pullPolicy": ('"Always"',),
    "image.pullSecrets": ('[{"name": "registry"}]',),
    "gateway.enabled": ("false",),
    "gateway.replicas": ("3", "gateway.autoscaling.enabled=false"),
    "gateway.tlsSecret": ('"other"',),
    "gateway.tokensSecret": ('"other"',),
    "gateway.prometheusUrl": ('"https://prometheus.example.com"',),
    "gateway.tempoOtlpUrl": ('"https://tempo.example.com"',),
    "gateway.prometheusAuthorizationSecret": ('"prometheus"',),
    "gateway.service.type": ('"LoadBalancer"',),
    "gateway.service.annotations": ('{"a/b": "c"}',),
    "gateway.storage.size": ('"8Gi"',),
    "gateway.storage.className": ('"fast"',),
    "gateway.resources": ('{"limits": {"memory": "1Gi"}}',),
    "gateway.autoscaling.enabled": ("false",),
    "gateway.autoscaling.minReplicas": ("3",),
    "gateway.autoscaling.maxReplicas": ("9",),
    "gateway.autoscaling.targetCpuPercent": ("50",),
    "gateway.disruptionBudget.enabled": ("false",),
    "gateway.networkPolicy.enabled": ("false",),
    "gateway.networkPolicy.from": (FROM,),
    "gateway.networkPolicy.egress": (EGRESS,),
    "gateway.nodeSelector": ('{"a": "b"}',),
    "gateway.tolerations": (TOLERATIONS,),
    "gateway.affinity": (AFFINITY,),
    "agent.enabled": ("false",),
    "agent.mode": ('"sidecar"',),
    "agent.gatewayUrl": ('"https://gateway.example.com"',),
    "agent.tokenSecret": ('"other"',),
    "agent.caSecret": ('"authority"',),
    "agent.caConfigMap": ('"authority"',),
    "agent.cluster": ('"east"',),
    "agent.team": ('"reds"',),
    "agent.htpasswdSecret": ('"passwords"',),
    "agent.runAsUser": ("1000",),
    "agent.hostHome": ('"/srv/orchwatch"',),
    "agent.sidecarVolume": ('"data"', 'agent.mode="sidecar"'),
    "agent.resources": ('{"limits": {"memory": "1Gi"}}',),
    "agent.networkPolicy.enabled": ("false",),
    "agent.nodeSelector": ('{"a": "b"}',),
    "agent.tolerations": (TOLERATIONS,),
    "agent.affinity": (AFFINITY,),
}
# Which say nothing where nothing of it runs.
SILENT = {"agent.sidecarVolume"}
# A chart of somebody's own, whose pod has the agent beside its program.
OWN_CHART = {
    "Chart.yaml": """
apiVersion: v2
name: own
version: 1.0.0
dependencies: [{name: orchwatch-fleet, version: 0.1.0}]
""",
    "values.yaml": "orchwatch-fleet: {gateway: {enabled: false}, agent: {mode: sidecar}}\n",
    "templates/pod.yaml": """
{{- $fleet := index .Subcharts "orchwatch-fleet" }}
apiVersion: v1
kind: Pod
metadata: {name: own}
spec:
  securityContext: {fsGroup: 10001}
  containers:
    - {name: program, image: program, volumeMounts: [{name: orchwatch, mountPath: /orchwatch}]}
    {{- include "orchwatch-fleet.agent.container" $fleet | nindent 4 }}
  volumes:
    - {name: orchwatch, emptyDir: {}}
    {{- include "orchwatch-fleet.agent.volumes" $fleet | nindent 4 }}
""",
}

Object = dict[str, Any]
_valid: dict[str, set[str]] = {}


def helm(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(build.binaries()["helm"]), *words], capture_output=True, text=True, check=False
    )


def rendered(*settings: str, chart: Path = CHART) -> list[Object]:
    words = [word for setting in settings for word in ("--set-json", setting)]
    done = helm("template", "fleet", str(chart), *words)
    assert done.returncode == 0, done.stderr
    found = [one for one in yaml.safe_load_all(done.stdout) if one]
    for one in found:
        text = json.dumps(one)
        # The schemas are read anew each time, and most of what is rendered is as it was.
        for version in set(VERSIONS) - _valid.get(text, set()):
            kubernetes_validate.validate(one, version, strict=True)
            _valid.setdefault(text, set()).add(version)
    return found


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [one for one in objects if one["kind"] == kind]


def pods(objects: list[Object]) -> list[Object]:
    """What a pod of each is."""
    own = [one["spec"] for one in of_kind(objects, "Pod")]
    return own + [
        one["spec"]["template"]["spec"]
        for kind in ("DaemonSet", "StatefulSet")
        for one in of_kind(objects, kind)
    ]


def paths(values: Object, below: str = "") -> set[str]:
    found = set()
    for key, value in values.items():
        whole = key.endswith(("Selector", "annotations", "resources", "affinity"))
        if isinstance(value, dict) and not whole:
            found |= paths(value, f"{below}{key}.")
        else:
            found.add(f"{below}{key}")
    return found


def test_the_chart_renders_as_it_is() -> None:
    found = rendered()
    kinds = sorted(one["kind"] for one in found)
    assert kinds == sorted(
        ["ConfigMap"] * 2
        + ["NetworkPolicy"] * 2
        + ["Service"] * 2
        + ["DaemonSet", "HorizontalPodAutoscaler", "PodDisruptionBudget", "StatefulSet"]
    )


def test_a_field_that_kubernetes_does_not_know_is_seen() -> None:
    (found,) = of_kind(rendered(), "StatefulSet")
    found["spec"]["template"]["spec"]["containers"][0]["readinessProb"] = {}
    for version in VERSIONS:
        with pytest.raises(kubernetes_validate.ValidationError, match="readinessProb"):
            kubernetes_validate.validate(found, version, strict=True)


@pytest.mark.parametrize("kind", ["DaemonSet", "StatefulSet"])
def test_the_collector_takes_what_the_chart_gives_it(kind: str, tmp_path: Path) -> None:
    found = rendered('agent.caConfigMap="authority"', 'agent.team="reds"')
    (workload,) = of_kind(found, kind)
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    held = {one["metadata"]["name"]: one["data"] for one in of_kind(found, "ConfigMap")}
    for directory in ("access", "config"):
        (tmp_path / directory).mkdir()
        for name, text in held[workload["metadata"]["name"]].items():
            (tmp_path / directory / name).write_text(text)
    values = {one["name"]: one.get("value", "from-the-cluster") for one in container["env"]}
    done = subprocess.run(
        [otelcol(), "validate", *(word.replace("=/", "=") for word in container["args"])],
        cwd=tmp_path,
        # Seen from here: `/access` is that of the container.
        env={"ORCHWATCH_ACCESS_DIR": "access"}
        | {name: text.removeprefix("/") for name, text in values.items()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_helm_finds_nothing_to_mend() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_value_has_a_case() -> None:
    assert paths(yaml.safe_load((CHART / "values.yaml").read_text())) == OPTIONS.keys()


@pytest.mark.parametrize("name", OPTIONS)
def test_every_value_is_taken_and_changes_what_is_rendered(name: str) -> None:
    value, *beside = OPTIONS[name]
    without = rendered(*beside)
    found = rendered(*beside, f"{name}={value}")
    assert (found == without) == (name in SILENT)


@pytest.mark.parametrize(
    "setting",
    [
        "gateway.replica=1", 'agent.mode="deployment"', 'agent.gatewayUrl="http://gateway"',
        'agent.team="two words"', "agent.runAsUser=0", 'image.digest="sha256:1"', "gateways={}",
        'gateway.tlsSecret=""', 'agent.tokenSecret=""', 'gateway.autoscaling.minReplicas="two"',
    ],
)  # fmt: skip
def test_a_value_that_means_nothing_is_refused_by_its_name(setting: str) -> None:
    done = helm("template", "fleet", str(CHART), "--set-json", setting)
    assert done.returncode != 0
    assert setting.partition("=")[0].rpartition(".")[2] in done.stderr


def test_the_configurations_are_those_of_the_collector_to_the_byte() -> None:
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(rendered(), "ConfigMap")}
    agent, gateway = maps["fleet-orchwatch-fleet-agent"], maps["fleet-orchwatch-fleet-gateway"]
    for held, name in ((agent, "config.yaml"), (agent, "agent.yaml"), (gateway, "gateway.yaml")):
        assert held[name].strip() == (COLLECTOR / name).read_text().strip()


def test_the_image_is_that_of_the_compose_file() -> None:
    services = yaml.safe_load((CHART.parents[1] / "docker-compose.yml").read_text())["services"]
    image = services["collector"]["image"].partition("@")[0]
    assert {pod["containers"][0]["image"] for pod in pods(rendered())} == {image}


def test_every_pod_runs_as_nobody_and_can_change_nothing_but_its_state() -> None:
    for pod in pods(rendered()):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        (container,) = pod["containers"]
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
        writable = {
            one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")
        }
        assert writable <= {"/fleet", "/var/lib/otelcol"}


def test_no_secret_is_part_of_the_chart() -> None:
    found = rendered()
    assert of_kind(found, "Secret") == []
    assert "owf_" not in json.dumps([one for one in found if one["kind"] != "ConfigMap"])


@pytest.mark.parametrize("mode", ["daemonset", "sidecar"])
def test_every_mount_has_its_volume_and_every_variable_its_value(mode: str, tmp_path: Path) -> None:
    found = own_chart(tmp_path) if mode == "sidecar" else rendered()
    text = "".join((COLLECTOR / name).read_text() for name in ("config.yaml", "agent.yaml"))
    for pod in pods(found):
        claims = [
            one["metadata"]["name"]
            for each in of_kind(found, "StatefulSet")
            for one in each["spec"]["volumeClaimTemplates"]
        ]
        volumes = {one["name"] for one in pod["volumes"]} | set(claims)
        for container in pod["containers"]:
            mounts = {one["name"] for one in container["volumeMounts"]}
            assert mounts <= volumes
            if container["name"] == "orchwatch-agent":
                names = {one["name"] for one in container["env"]}
                needed = {
                    part.partition("}")[0]
                    for part in text.split("${env:")[1:]
                    if ":-" not in part.partition("}")[0]
                }
                assert needed <= names


def own_chart(directory: Path) -> list[Object]:
    """The pod of a chart that depends on this one."""
    chart = directory / "own"
    for name, text in OWN_CHART.items():
        path = chart / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (chart / "charts").mkdir()
    done = helm("package", str(CHART), "--destination", str(chart / "charts"))
    assert done.returncode == 0, done.stderr
    return rendered(chart=chart)


def test_a_pod_of_another_chart_has_the_agent_beside_its_program(tmp_path: Path) -> None:
    found = own_chart(tmp_path)
    (pod,) = pods(found)
    assert [one["name"] for one in pod["containers"]] == ["program", "orchwatch-agent"]
    (held,) = of_kind(found, "ConfigMap")
    used = [one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one]
    assert used == [held["metadata"]["name"]]
    assert held["data"]["agent.yaml"].strip() == (COLLECTOR / "agent.yaml").read_text().strip()
