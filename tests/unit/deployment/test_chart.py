"""The Helm chart: valid to Helm and Kubernetes, and as docker-compose.yml has it; its alerts."""

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from jsonschema.validators import validator_for

from core.settings import Settings
from devtools.servers import find_prometheus
from tests.support.deployment import compose
from tests.support.deployment.chart import CHART, Refused, Resource, pod_of, render, run_helm
from tests.unit.deployment.test_compose_file import GIVEN

SCHEMAS = Path(__file__).with_name("schemas")
EQUAL = {f"PERENNIAL_{name}" for name in ("QUEUES", "THREADS", "RANKS", "DEVICE", "HOME")}
OLDEST, NEWEST = "1.34", "1.37"  # of Kubernetes
EVERYTHING: dict[str, Any] = {
    "profile": "gpu",
    "image": {
        "prefix": "registry.example/team/",
        "tag": "1.2.3",
        "pullSecrets": [{"name": "pull"}],
    },
    "api": {"autoscaling": {"enabled": True}, "tag": "1.2.2"},
    "inference": {"device": "cuda", "gpus": 1, "replicas": 3},
    "workers": {
        "worker-gpu": {
            "autoscaling": {"enabled": True},
            "nodeSelector": {"gpu": "h100"},
            "gpus": 4,
        },
        "worker-housekeeping": {"autoscaling": {"enabled": True}},
    },
    "backup": {"schedule": "0 2 * * *", "claim": "backups"},
    "ingress": {"enabled": True, "className": "nginx", "host": "a.example", "tlsSecret": "tls"},
    "networkPolicy": {
        "enabled": True,
        "clients": [{"namespaceSelector": {}}],
        "dependencies": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}],
    },
    "monitoring": {
        "serviceMonitor": {"enabled": True, "keySecret": "viewer"},
        "rules": {"enabled": True, "labels": {"release": "prometheus"}},
        "dashboard": {"enabled": True},
    },
}
FORMS: dict[str, dict[str, Any]] = {
    "cpu": {},
    "gpu": {"profile": "gpu"},
    "everything": EVERYTHING,
}
WORKLOADS = {"Deployment", "StatefulSet", "Job", "CronJob"}
# By the services of docker-compose.yml.
NAMES = {
    "api": ("Deployment", "p-api"),
    "inference": ("StatefulSet", "p-inference"),
    "migrate": ("Job", "p-migrate"),
    "worker": ("Deployment", "p-worker"),
    "worker-gpu": ("Deployment", "p-worker-gpu"),
    "worker-housekeeping": ("Deployment", "p-worker-housekeeping"),
}


@cache
def rendered(form: str) -> dict[tuple[str, str], Resource]:
    return render(**FORMS[form])


def container(resource: Resource) -> Resource:
    (found,) = pod_of(resource)["spec"]["containers"]
    return dict(found)


def variables(resource: Resource) -> dict[str, Any]:
    env = container(resource)["env"]
    assert len(env) == len({one["name"] for one in env})
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in env}


def faults(resource: Resource, version: str) -> list[str]:
    """Return the faults that the schemas of Kubernetes, or of its kind, find in a resource."""
    own = SCHEMAS / f"{resource['kind']}.json"
    if own.exists():
        schema = json.loads(own.read_text())
        return [error.message for error in validator_for(schema)(schema).iter_errors(resource)]
    try:
        kubernetes_validate.validate(resource, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [error.message]
    return []


@pytest.mark.parametrize("form", FORMS)
def test_helm_and_kubernetes_find_no_fault(form: str) -> None:
    assert "0 chart(s) failed" in run_helm("lint", "--strict", str(CHART), values=FORMS[form])
    found = rendered(form)
    for version in (OLDEST, NEWEST):
        assert {name: bad for name, one in found.items() if (bad := faults(one, version))} == {}


@pytest.mark.parametrize("service", NAMES)
def test_a_workload_is_as_compose_has_it(service: str) -> None:
    wanted = compose.services(GIVEN)[service]
    found = rendered("cpu").get(NAMES[service]) or rendered("gpu")[NAMES[service]]
    ours, spec = container(found), pod_of(found)["spec"]
    assert ours["args"] == wanted["command"]
    assert ours["image"] == f"{wanted['image']}:0.1.0"
    limits = wanted["deploy"]["resources"]["limits"]
    memory = limits["memory"].replace("g", "Gi").replace("m", "Mi")
    assert (ours["resources"]["limits"]["cpu"], ours["resources"]["limits"]["memory"]) == (
        limits["cpus"],
        memory,
    )
    asked = {
        name: value
        for name, value in variables(found).items()
        if not (isinstance(value, dict) and value["secretKeyRef"].get("optional"))
    }
    optional = {"PERENNIAL_S3_ENDPOINT", "PERENNIAL_WEBHOOK_PRIVATE", "PERENNIAL_IMPORT_BUCKETS"}
    credentials = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}  # or a role's
    extra = {"PERENNIAL_DEVICE"} if service == "inference" else set()
    assert asked.keys() == wanted["environment"].keys() - optional - credentials | extra
    for name in {"HOME", *EQUAL} & wanted["environment"].keys():
        assert asked[name] == wanted["environment"][name]
    grace = wanted.get("stop_grace_period", "30s")
    assert f"{spec.get('terminationGracePeriodSeconds', 30)}s" == grace


def test_a_secret_goes_to_the_processes_that_need_it_and_to_no_other() -> None:
    holders: dict[str, set[str]] = {}
    for (kind, name), one in rendered("everything").items():
        for variable, value in variables(one).items() if kind in WORKLOADS else ():
            if isinstance(value, dict):
                assert value["secretKeyRef"]["name"] == "perennial"
                holders.setdefault(variable, set()).add(name)
    everyone = {name for kind, name in rendered("everything") if kind in WORKLOADS}
    with_buckets = {"p-api", "p-worker-gpu", "p-worker-housekeeping"}
    assert holders == {
        "PERENNIAL_DATABASE_URL": everyone,
        "PERENNIAL_BROKER_URL": everyone,
        "AWS_ACCESS_KEY_ID": everyone,
        "AWS_SECRET_ACCESS_KEY": everyone,
        "PERENNIAL_ADMIN_KEY": {"p-api"},
        "PERENNIAL_INFERENCE_KEY": {"p-api", "p-inference"},
        "PERENNIAL_SIGNING_KEY": with_buckets,
        "PERENNIAL_IMPORT_BUCKETS": with_buckets,
    }


def test_pods_run_without_privileges_and_are_given_settings_that_there_are() -> None:
    known = {f"PERENNIAL_{name.upper()}" for name in Settings.model_fields}
    for (kind, _), one in rendered("everything").items():
        if kind in WORKLOADS:
            assert {name for name in variables(one) if name.startswith("PERENNIAL_")} <= known
            pod = pod_of(one)["spec"]
            assert pod["automountServiceAccountToken"] is False
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert container(one)["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"replicas": 2}, "replicas"),
        (
            {"workers": {"worker": {"queues": ["gpu"]}}},
            "no worker of the profile cpu takes the queue housekeeping",
        ),
        ({"ingress": {"enabled": True}}, "ingress.host"),
        ({"backup": {"schedule": "0 2 * * *"}}, "backup.claim"),
        ({"monitoring": {"serviceMonitor": {"enabled": True}}}, "keySecret"),
    ],
    ids=str,
)
def test_values_that_cannot_work_are_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused, match=told):
        render(**values)


RULES = CHART / "monitoring" / "alerts.yaml"

TESTS = Path(__file__).with_name("alerts.yaml")


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(
        [find_prometheus("promtool"), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_valid() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)


def test_alerts_fire_when_something_is_wrong_and_only_then(tmp_path: Path) -> None:
    tests = tmp_path / "tests.yaml"
    tests.write_text(TESTS.read_text().replace("RULES", str(RULES)))
    promtool("test", "rules", tests)
