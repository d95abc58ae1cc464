"""An update that a cluster runs, as a real dispatcher and real workers do, preempted and killed."""

import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
import torch
from pydantic import SecretStr

from core.clip.machine import find_devices
from core.fleet.rows import Heartbeats
from core.job_types.run import run_next_job
from core.jobs.rows import Jobs
from core.jobs.rules import Job
from core.values import JobId
from tests.nightly.faults import line
from tests.nightly.faults.points import KILL, Points
from tests.support.api.served import Served, serving
from tests.support.api.service import KEY
from tests.support.deployment.chart import render
from tests.support.processes import Site, wait_for, wait_for_exit
from tests.support.servers.cluster import SmallCluster, conditions, small_cluster
from worker.tools import build_tools

START_S = 180.0  # a worker child loads torch, and the machine may be busy

LATER = {"PERENNIAL_CHECKPOINT_SECONDS": "0", "PERENNIAL_LEASE_SECONDS": "4"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    home = tmp_path / "home"
    home.mkdir()
    made = Site(
        home,
        admin_key=SecretStr(KEY),
        embedded=False,
        migrate_on_start=False,
        min_free_bytes=1,
        sweep_seconds=0.2,
        root_folders=(home,),
    )
    yield made
    made.close()


@pytest.fixture
def points(tmp_path: Path) -> Points:
    return Points(tmp_path / "points")


@pytest.fixture
def cluster(site: Site, points: Points, tmp_path: Path) -> Iterator[SmallCluster]:
    secrets = {"PERENNIAL_DATABASE_URL": site.settings.database}
    secrets["PERENNIAL_BROKER_URL"] = site.settings.broker
    folder = tmp_path / "cluster"
    folder.mkdir()
    with small_cluster(folder, secrets=secrets, variables=points.environment) as made:
        yield made


def manifest(site: Site, folder: Path) -> Path:
    """The manifest that the chart gives the dispatcher, for Jobs on the CPU."""
    settings = {
        "PERENNIAL_ARTIFACTS_URL": str(site.settings.artifacts),
        "PERENNIAL_MIN_FREE_BYTES": "1",
        "PERENNIAL_SWEEP_SECONDS": "0.2",
        **LATER,
    }
    given = {"enabled": True, "queue": "team", "gpus": 0, "threads": 1}
    found = render(kueue=given, settings=settings)
    path = folder / "job.yaml"
    path.write_text(found["ConfigMap", "p-dispatcher"]["data"]["job.yaml"])
    return path


def find(site: Site, job: JobId) -> Job:
    with site.platform.transactions(read_only=True) as work:
        return work[Jobs].get(job)


def ordered(served: Served, path: str, body: dict[str, object]) -> JobId:
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = httpx.post(f"{served.url}{path}", json=body, headers=headers, trust_env=False)
    assert answer.status_code == 202, answer.text
    return JobId(answer.json()["id"])


@contextmanager
def a_worker_here(site: Site) -> Iterator[Callable[[JobId], Job]]:
    """A worker's tools in this process, which has loaded torch; they run a job to its end."""
    mode, threads = torch.get_deterministic_debug_mode(), torch.get_num_threads()
    tools = build_tools(site.platform, find_devices(site.settings.device))

    def run(job: JobId) -> Job:
        run_next_job(site.platform, tools, owner="here", stopping=lambda: False, only=job)
        return find(site, job)

    with closing(tools.decoder):
        yield run
    torch.set_deterministic_debug_mode(mode)
    torch.set_num_threads(threads)


def test_an_update_that_is_preempted_and_then_loses_its_node_ends_as_one_that_was_not(
    site: Site, points: Points, cluster: SmallCluster, tmp_path: Path
) -> None:
    line.prepare(site.platform, site.settings.home / "base")
    with serving(site.settings) as served:
        # The model is imported, and an update runs that nobody disturbs.
        line.upload(served.client)
        with a_worker_here(site) as run:
            body = line.model_body(site.settings.home / "base")
            run(ordered(served, "/v1/models", body))
            undisturbed = line.digest_of(
                site.platform, run(ordered(served, "/v1/jobs", line.body()))
            )
        line.reset(site.platform, undisturbed)

        # The same update again: it waits in the cluster until it is admitted.
        path = str(manifest(site, tmp_path))
        queues = {"PERENNIAL_QUEUES": '["gpu"]', "KUBECONFIG": cluster.kubeconfig}
        dispatcher = site.start("worker.cluster", path, **queues)
        job = ordered(served, "/v1/jobs", line.body())
    wait_for(lambda: cluster.jobs, seconds=START_S)
    [name] = cluster.jobs
    assert find(site, job).attempt == 0

    # Preempted with a checkpoint, it gives the job back and waits again.
    points.arm("checkpoint.after", signal=signal.SIGTERM, whole=True)
    assert cluster.admit() == name
    wait_for(lambda: points.struck_at("checkpoint.after"), seconds=START_S)
    cluster.preempt(name)
    assert cluster.pods[name][-1].exit_code == 1, cluster.logs()
    assert find(site, job).status == "queued"
    cluster.control()
    assert len(cluster.pods[name]) == 1

    # Admitted again it goes on, and loses its node.
    points.arm("checkpoint.after", signal=KILL, whole=True)
    assert cluster.admit() == name
    wait_for(lambda: points.struck_at("checkpoint.after"), seconds=START_S)
    cluster.pods[name][-1].lose_node()
    assert find(site, job).status == "running"

    # The next pod waits for the lease to expire, and ends what the others have begun.
    cluster.control()
    wait_for(lambda: cluster.pods[name][-1].exit_code is not None, seconds=START_S)
    cluster.control()
    ended = find(site, job)
    assert line.digest_of(site.platform, ended) == undisturbed, cluster.logs()
    told = line.kinds(site.platform, ended)
    assert [told.count(kind) for kind in ("claimed", "released", "done")] == [3, 1, 1]
    assert [pod.exit_code for pod in cluster.pods[name]] == [1, -KILL, 0]
    assert [one["type"] for one in conditions(cluster.jobs[name])] == ["Complete"]
    assert list(cluster.jobs) == [name]

    # Nobody is left who counts as a worker.
    dispatcher.terminate()
    assert wait_for_exit(dispatcher) == 0
    with site.platform.transactions(read_only=True) as work:
        assert work[Heartbeats].all() == []
