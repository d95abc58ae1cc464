"""The Jobs of a Kubernetes namespace that were made for ours, by Kubernetes' own client."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes import config
from kubernetes.client import ApiClient, ApiException, BatchV1Api, Configuration
from urllib3.exceptions import HTTPError

from core.values import JobId, Json

LABEL = "perennial/job"  # of a Job: the id of the job that it was made for
ENDS = ("Complete", "Failed")  # conditions after which no pod of a Job runs
REQUEST_S = 10.0
NOT_FOUND, CONFLICT = 404, 409


class ClusterRefused(Exception):
    """The cluster does not answer, or refuses a request with an HTTP status."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class ClusterJob:
    """A Job of the cluster, as far as it matters to the job that it was made for."""

    name: str
    job: JobId
    ended: bool  # none of its pods runs, and none will
    suspended: bool = True  # it waits to be admitted, and has no pod
    reason: str = ""  # why it failed
    deleting: bool = False


class ClusterJobs:
    """Lists, makes and deletes Jobs like a manifest; each answers for one job, by its name."""

    def __init__(self, manifest: Path, kubeconfig: str | None) -> None:
        """Take the Jobs' namespace and labels, and all that pods need, from a manifest.

        The file is read again for each Job, as it changes when the chart is upgraded. Without a
        kubeconfig, the cluster is that of the pod in which this process runs. Raises OSError, or
        ClusterRefused if there is no cluster.
        """
        self._manifest = manifest
        metadata = self._read()["metadata"]
        self._namespace = metadata["namespace"]
        self._selector = ",".join(f"{name}={value}" for name, value in metadata["labels"].items())
        access = Configuration()
        try:
            if kubeconfig:
                config.load_kube_config(kubeconfig, client_configuration=access)
            else:
                config.load_incluster_config(client_configuration=access)
        except config.ConfigException as error:
            raise ClusterRefused(f"no cluster: {error}") from error
        self._api = BatchV1Api(ApiClient(access))

    def all(self) -> Sequence[ClusterJob]:
        """Return the Jobs with the manifest's labels. Raises ClusterRefused."""
        found = self._ask(
            self._api.list_namespaced_job, self._namespace, label_selector=self._selector
        )
        return [_seen(one) for one in found.items if LABEL in one.metadata.labels]

    def make(self, job: JobId) -> None:
        """Make the Job of a job, unless there is one. Raises ClusterRefused."""
        try:
            body = job_manifest(self._read(), job)
            self._ask(self._api.create_namespaced_job, self._namespace, body)
        except ClusterRefused as refusal:
            if refusal.status != CONFLICT:
                raise

    def delete(self, name: str) -> None:
        """Delete a Job and its pods, which are asked to stop. Raises ClusterRefused."""
        call = self._api.delete_namespaced_job
        try:
            self._ask(call, name, self._namespace, propagation_policy="Background")
        except ClusterRefused as refusal:
            if refusal.status != NOT_FOUND:
                raise

    def _read(self) -> Json:
        manifest: Json = yaml.safe_load(self._manifest.read_text())
        return manifest

    def _ask(self, call: Callable[..., Any], *arguments: object, **more: object) -> Any:
        try:
            return call(*arguments, _request_timeout=REQUEST_S, **more)
        except ApiException as error:
            told = f"{error.status} {error.reason}: {error.body}"
            raise ClusterRefused(told, error.status) from error
        except HTTPError as error:
            raise ClusterRefused(str(error)) from error


def job_manifest(template: Json, job: JobId) -> dict[str, Any]:
    """Return the manifest of a job's Job; the name follows from the id, so there is never a second.

    Ids of jobs are hex digits after `job_`.
    """
    made: dict[str, Any] = copy.deepcopy(dict(template))
    metadata = made["metadata"]
    metadata["name"] = job.replace("_", "-")
    metadata["labels"][LABEL] = job
    [container] = made["spec"]["template"]["spec"]["containers"]
    container["args"] += ["--job", job]
    return made


def _seen(found: Any) -> ClusterJob:
    """Return what matters of a V1Job."""
    ends = [
        one for one in found.status.conditions or () if one.type in ENDS and one.status == "True"
    ]
    return ClusterJob(
        name=found.metadata.name,
        job=JobId(found.metadata.labels[LABEL]),
        ended=bool(ends),
        suspended=bool(found.spec.suspend),
        reason=" ".join(filter(None, (one.message for one in ends))),
        deleting=found.metadata.deletion_timestamp is not None,
    )
