"""The dispatcher, with Kubernetes' own client on a small API server, and the chart's manifest."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.bootstrap import build, close, migrate
from core.fleet.rows import Heartbeats
from core.gate.rows import Policies
from core.jobs.broker import CeleryNotifier, name_of
from core.jobs.orders import EvaluateOrder, JobType, Queue
from core.jobs.queue import cancel_job
from core.jobs.rows import Jobs
from core.jobs.rules import Job
from core.platform import Platform
from core.registry.rows import Models
from core.settings import Settings
from core.values import JobId
from tests.support.deployment.chart import render
from tests.support.factories import a_job, a_job_of_no_model, a_model, a_policy
from tests.support.servers.cluster import SmallCluster, end, labels, small_cluster
from worker.cluster.dispatcher import ENDS_WITHIN_S, LONGEST_PAUSE_S, Dispatcher
from worker.cluster.jobs import LABEL, ClusterJobs, ClusterRefused


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    settings = Settings(home=tmp_path, queues=("gpu",), lease_seconds=30)
    migrate(settings)
    made = build(settings)
    yield made
    close(made)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[SmallCluster]:
    with small_cluster(tmp_path) as made:
        yield made


@pytest.fixture
def jobs(tmp_path: Path, cluster: SmallCluster) -> ClusterJobs:
    """The cluster to a dispatcher that has the chart's manifest."""
    found = render(profile="gpu", kueue={"enabled": True, "queue": "team"})
    path = tmp_path / "job.yaml"
    path.write_text(found["ConfigMap", "p-dispatcher"]["data"]["job.yaml"])
    return ClusterJobs(path, cluster.kubeconfig)


def a_dispatcher(platform: Platform, jobs: ClusterJobs) -> Dispatcher:
    return Dispatcher(platform, jobs, CeleryNotifier(platform.settings).forget)


def queued(platform: Platform, *, models: int = 1, each: int = 1) -> list[list[Job]]:
    """Some jobs of the queue `gpu` for each of some models."""
    with platform.transactions() as work:
        policy = a_policy()
        work[Policies].add(policy)
        rows = []
        for number in range(models):
            model = a_model(policy, name=f"model-{number}")
            work[Models].add(model)
            order = {"type": JobType.EVALUATE, "order": EvaluateOrder(version=1)}
            rows.append([a_job(model, **order) for _ in range(each)])
            for job in rows[-1]:
                work[Jobs].add(job)
        work.commit()
    return rows


def made(cluster: SmallCluster) -> list[str]:
    """The jobs that have a Job, in the order in which these were made."""
    return [labels(one)[LABEL] for one in cluster.jobs.values()]


def finish(platform: Platform, job: JobId) -> None:
    with platform.transactions() as work:
        claimed = work[Jobs].claim("w", 30, 3, only=job)
        assert claimed is not None
        work[Jobs].finish(claimed.succeed({}, platform.clock()), claimed.fence)
        work.commit()


def test_each_line_has_a_job_for_its_next_update_and_never_a_second(
    platform: Platform, cluster: SmallCluster, jobs: ClusterJobs
) -> None:
    first, second = queued(platform, models=2, each=2)
    for dispatcher in (a_dispatcher(platform, jobs), a_dispatcher(platform, jobs)):
        dispatcher.tick(0.0)
        dispatcher.tick(1.0)
    assert made(cluster) == [first[0].id, second[0].id]
    job = cluster.jobs[first[0].id.replace("_", "-")]
    assert job["spec"]["suspend"] is True
    assert labels(job)["kueue.x-k8s.io/queue-name"] == "team"
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["args"][-2:] == ["--job", first[0].id]

    # Two that look at once make one: the cluster refuses the second of a name.
    jobs.make(first[0].id)
    assert len(cluster.jobs) == 2

    finish(platform, first[0].id)
    end(job, "Complete")
    a_dispatcher(platform, jobs).tick(2.0)
    assert made(cluster) == [first[0].id, second[0].id, first[1].id]


def test_jobs_of_other_queues_and_jobs_of_others_in_the_cluster_are_left_alone(
    platform: Platform, cluster: SmallCluster, jobs: ClusterJobs
) -> None:
    with platform.transactions() as work:
        work[Jobs].add(a_job_of_no_model("imports"))
        work.commit()
    pod = {"containers": [{"name": "a", "image": "a"}], "restartPolicy": "Never"}
    foreign = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": pod}}}
    foreign["metadata"] = {"name": "foreign", "namespace": "default", "labels": {"app": "other"}}
    cluster.answer("POST", "/apis/batch/v1/namespaces/default/jobs", foreign)
    a_dispatcher(platform, jobs).tick(0.0)
    assert list(cluster.jobs) == ["foreign"]


def test_a_cancelled_update_takes_its_job_away_and_a_deleted_model_too(
    platform: Platform, cluster: SmallCluster, jobs: ClusterJobs
) -> None:
    [first], [second] = queued(platform, models=2)
    dispatcher = a_dispatcher(platform, jobs)
    dispatcher.tick(0.0)
    cancel_job(platform, first.id)
    dispatcher.tick(1.0)
    assert made(cluster) == [second.id]
    with platform.transactions() as work:
        work[Models].remove(second.model)
        work.commit()
    dispatcher.tick(2.0)
    assert made(cluster) == []


def test_a_pod_whose_update_has_ended_is_left_to_end_by_itself_for_a_minute(
    platform: Platform, cluster: SmallCluster, jobs: ClusterJobs
) -> None:
    [[job]] = queued(platform)
    dispatcher = a_dispatcher(platform, jobs)
    dispatcher.tick(0.0)
    [running] = cluster.jobs.values()
    running["spec"]["suspend"] = False
    finish(platform, job.id)
    dispatcher.tick(1.0)
    dispatcher.tick(ENDS_WITHIN_S)
    assert made(cluster) == [job.id]
    dispatcher.tick(1.0 + ENDS_WITHIN_S)
    assert made(cluster) == []


def test_an_update_whose_jobs_fail_gets_another_each_time_after_twice_the_pause(
    platform: Platform, cluster: SmallCluster, jobs: ClusterJobs
) -> None:
    [failing], [other] = queued(platform, models=2)
    dispatcher, now = a_dispatcher(platform, jobs), 0.0
    dispatcher.tick(now)
    waited = []
    for _ in range(7):
        end(cluster.jobs[failing.id.replace("_", "-")], "Failed", "backoff limit")
        dispatcher.tick(now)
        began = now
        while len(made(cluster)) == 2:  # its log can be read meanwhile
            now += 30
            dispatcher.tick(now)
        assert made(cluster) == [other.id]
        waited.append(now - began)
        dispatcher.tick(now)
        assert made(cluster) == [other.id, failing.id]
    assert waited == [60, 120, 240, 480, 960, LONGEST_PAUSE_S, LONGEST_PAUSE_S]


def test_the_pause_is_over_before_the_cluster_deletes_a_job_that_has_failed(
    jobs: ClusterJobs, cluster: SmallCluster
) -> None:
    jobs.make(JobId("job_1"))
    assert cluster.jobs["job-1"]["spec"]["ttlSecondsAfterFinished"] > LONGEST_PAUSE_S


def test_a_job_that_has_ended_after_its_update_keeps_its_log(
    platform: Platform, cluster: SmallCluster, jobs: ClusterJobs
) -> None:
    [[job]] = queued(platform)
    dispatcher = a_dispatcher(platform, jobs)
    dispatcher.tick(0.0)
    finish(platform, job.id)
    end(cluster.jobs[job.id.replace("_", "-")], "Complete")
    dispatcher.tick(3.0)
    assert made(cluster) == [job.id]


def test_a_running_update_whose_worker_is_lost_keeps_its_job_for_the_next_pod(
    platform: Platform, cluster: SmallCluster, jobs: ClusterJobs
) -> None:
    [[job]] = queued(platform)
    dispatcher = a_dispatcher(platform, jobs)
    dispatcher.tick(0.0)
    with platform.transactions() as work:
        assert work[Jobs].claim("lost", -1, 3, only=job.id)
        work.commit()
    dispatcher.tick(1.0)
    assert made(cluster) == [job.id]
    assert cluster.verbs.count("POST") == 1


def test_who_cannot_reach_the_cluster_does_not_count_as_a_worker(
    platform: Platform, cluster: SmallCluster, jobs: ClusterJobs
) -> None:
    queued(platform)
    dispatcher = a_dispatcher(platform, jobs)
    cluster.down = True
    with pytest.raises(ClusterRefused, match="503"):
        dispatcher.tick(0.0)
    with platform.transactions(read_only=True) as work:
        assert not work[Heartbeats].all()
    cluster.down = False
    dispatcher.tick(1.0)
    with platform.transactions(read_only=True) as work:
        [(_, facts)] = work[Heartbeats].fresh(60)
    assert facts["queues"] == ["gpu"]


def test_a_job_that_the_cluster_refuses_keeps_no_other_from_being_made(
    platform: Platform, cluster: SmallCluster, jobs: ClusterJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    [first], [second] = queued(platform, models=2)
    make = jobs.make

    def refused(job: JobId) -> None:
        if job == first.id:
            raise ClusterRefused("exceeded quota")
        make(job)

    monkeypatch.setattr(jobs, "make", refused)
    a_dispatcher(platform, jobs).tick(0.0)
    assert made(cluster) == [second.id]
    with platform.transactions(read_only=True) as work:
        assert work[Heartbeats].fresh(60)


def test_notifications_that_no_worker_receives_are_deleted(
    platform: Platform, cluster: SmallCluster, jobs: ClusterJobs
) -> None:
    notifier = CeleryNotifier(platform.settings)
    folder = platform.settings.home / "broker"
    for queue in Queue:
        notifier.notify(JobId("job_1"), queue)
    assert len(list(folder.glob("*.msg"))) == 2
    a_dispatcher(platform, jobs).tick(0.0)
    [left] = folder.glob("*.msg")
    assert name_of(Queue.HOUSEKEEPING) in left.name
    notifier.close()
