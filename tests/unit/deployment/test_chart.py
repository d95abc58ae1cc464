"""The Helm chart: valid to Helm and Kubernetes, and as docker-compose.yml has it; its alerts."""

import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema.validators import validator_for

from core.settings import Settings
from core.values import JobId
from devtools.servers import find_prometheus
from tests.support.deployment import compose
from tests.support.deployment.chart import CHART, Refused, Resource, pod_of, render, run_helm
from tests.support.places import ROOT
from tests.unit.deployment.test_compose_file import GIVEN
from worker.cluster.jobs import job_manifest

PAGE = ROOT / "docs" / "how-to" / "kueue.md"
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
    "kueue": {
        **EVERYTHING,
        "kueue": {"enabled": True, "queue": "team-a", "gpus": 4, "nodeSelector": {"gpu": "h100"}},
    },
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


def job_of(form: str) -> Resource:
    """The Job of an update, as the dispatcher makes it of what the chart gives it."""
    template = rendered(form)["ConfigMap", "p-dispatcher"]["data"]["job.yaml"]
    return job_manifest(yaml.safe_load(template), JobId("job_0199c2a4e1b7d3f4a5b6c7d8e9f0"))


def test_with_kueue_a_job_is_the_pod_that_the_gpu_worker_would_be_and_no_such_worker_stays() -> (
    None
):
    assert {
        bad for version in (OLDEST, NEWEST) for bad in faults(job_of("kueue"), version)
    } == set()
    assert ("Deployment", "p-worker-gpu") not in rendered("kueue")
    assert ("Deployment", "p-worker-housekeeping") in rendered("kueue")

    ours, resident = (
        pod_of(one)["spec"]
        for one in (job_of("kueue"), rendered("everything")["Deployment", "p-worker-gpu"])
    )
    [job], [worker] = ours["containers"], resident["containers"]
    assert job.pop("args") == [*worker.pop("args"), "--job", "job_0199c2a4e1b7d3f4a5b6c7d8e9f0"]
    optional = {"PERENNIAL_SIGNING_KEY", "PERENNIAL_IMPORT_BUCKETS"}  # of imports and exports
    worker["env"] = [one for one in worker["env"] if one["name"] not in optional]
    worker.pop("readinessProbe")
    assert job == worker
    spread = "topologySpreadConstraints"  # by their labels, which differ
    assert ours | {spread: None, "restartPolicy": None, "containers": None} == (
        resident | {spread: None, "restartPolicy": None, "containers": None}
    )


def test_the_page_about_kueue_has_values_that_work_and_objects_that_kueue_accepts() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    objects, values = (list(yaml.safe_load_all(block)) for block in blocks)
    assert {one["kind"]: faults(one, NEWEST) for one in objects} == {
        "ResourceFlavor": [],
        "ClusterQueue": [],
        "LocalQueue": [],
    }
    found = render(**values[0])
    template = yaml.safe_load(found["ConfigMap", "p-dispatcher"]["data"]["job.yaml"])
    assert template["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "teaching"

    # Its quota admits the Jobs of these values, two at once.
    [_, queue, local] = objects
    [group] = queue["spec"]["resourceGroups"]
    quota = {one["name"]: one["nominalQuota"] for one in group["flavors"][0]["resources"]}
    [container] = pod_of(template)["spec"]["containers"]
    asked = container["resources"]["requests"] | container["resources"]["limits"]
    assert asked == {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "1"}
    assert quota == {"cpu": 8, "memory": "16Gi", "nvidia.com/gpu": 2}
    assert queue["metadata"]["name"] == local["spec"]["clusterQueue"]


def test_with_kueue_a_worker_of_both_queues_keeps_the_other() -> None:
    found = render(kueue={"enabled": True, "queue": "team-a"})
    assert variables(found["Deployment", "p-worker"])["PERENNIAL_QUEUES"] == '["housekeeping"]'


def test_the_dispatcher_alone_has_a_token_which_lets_it_make_see_and_delete_jobs() -> None:
    found = rendered("kueue")
    with_token = {
        name: pod_of(one)["spec"]["serviceAccountName"]
        for (kind, name), one in [*found.items(), (("Job", "an update"), job_of("kueue"))]
        if kind in WORKLOADS and pod_of(one)["spec"]["automountServiceAccountToken"]
    }
    assert with_token == {"p-dispatcher": "p-dispatcher"}
    assert found["Role", "p-dispatcher"]["rules"] == [
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "list", "delete"]}
    ]
    binding = found["RoleBinding", "p-dispatcher"]
    assert binding["roleRef"]["name"] == binding["subjects"][0]["name"] == "p-dispatcher"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"replicas": 2}, "replicas"),
        (
            {"workers": {"worker": {"queues": ["gpu"]}}},
            "no worker of the profile cpu takes the queue housekeeping",
        ),
        ({"ingress": {"enabled": True}}, "ingress.host"),
        ({"kueue": {"enabled": True}}, "kueue.queue"),
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
