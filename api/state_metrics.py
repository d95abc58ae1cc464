"""Metrics of queue, jobs, workers, versions and aliases, the same from every API process."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from core.errors import Unavailable
from core.fleet.workers import is_fresh
from core.gate.rules import Verdict
from core.jobs.orders import JobType, Queue
from core.jobs.rules import BUCKETS, JOBS_ENDED, PHASE_SECONDS, CounterValue, JobStatus
from core.operations.maintenance import ServiceStats, read_stats
from core.outbox.rules import DELIVERIES_ENDED, DeliveryStatus
from core.platform import Platform
from core.registry.aliases import MoveKind

_Family = TypeVar("_Family", GaugeMetricFamily, CounterMetricFamily)


class StateCollector:
    """Collects metrics from the database at each scrape.

    While the database does not answer, it yields only `perennial_database_up`, which is 0. Counters
    start at 0: Prometheus sees no increase in one that appears with 1.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering does not read the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as of now."""
        up = GaugeMetricFamily(
            "perennial_database_up", "1 if the database responded during this scrape."
        )
        try:
            state = read_stats(self._platform)
        except Unavailable:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield from _queue(state)
        yield from _running(state)
        yield from _workers(state, self._platform)
        yield from _registry(state)
        yield from _webhooks(state)
        yield from _counters(state)


def _queue(state: ServiceStats) -> Iterator[Metric]:
    jobs = GaugeMetricFamily(
        "perennial_jobs",
        "Unfinished jobs by type, queue and status.",
        labels=["type", "queue", "status"],
    )
    age = GaugeMetricFamily(
        "perennial_oldest_queued_seconds",
        "Age of the oldest queued job, by type.",
        labels=["type", "queue"],
    )
    for row in state.queue:
        queue = JobType(row.type).queue
        jobs.add_metric([row.type, queue, row.status], row.jobs)
        if row.status is JobStatus.QUEUED:
            age.add_metric([row.type, queue], max(0.0, (state.at - row.oldest).total_seconds()))
    yield jobs
    yield age


def _running(state: ServiceStats) -> Iterator[Metric]:
    steps = GaugeMetricFamily(
        "perennial_job_steps", "Steps done in the current phase.", labels=["job", "type", "phase"]
    )
    total = GaugeMetricFamily(
        "perennial_job_planned_steps",
        "Total steps of the current phase.",
        labels=["job", "type", "phase"],
    )
    rate = GaugeMetricFamily(
        "perennial_images_per_second", "Training images per second.", labels=["job", "worker"]
    )
    memory = GaugeMetricFamily(
        "perennial_device_memory_bytes",
        "Peak device memory of the job.",
        labels=["job", "worker"],
    )
    for row in state.running:
        worker = row.owner.rpartition(":")[0]
        steps.add_metric([row.job, row.type, row.phase], row.progress.step)
        total.add_metric([row.job, row.type, row.phase], row.progress.total)
        if "images_per_second" in row.progress.terms:
            rate.add_metric([row.job, worker], row.progress.terms["images_per_second"])
        if "device_mib" in row.progress.terms:
            memory.add_metric([row.job, worker], row.progress.terms["device_mib"] * 2**20)
    yield from (steps, total, rate, memory)


def _workers(state: ServiceStats, platform: Platform) -> Iterator[Metric]:
    memory = GaugeMetricFamily(
        "perennial_worker_memory_bytes",
        "Resident memory of the worker child.",
        labels=["worker", "host"],
    )
    states = {"idle": 0, "busy": 0, "stale": 0}
    queues = {queue.value: 0 for queue in Queue}
    for heartbeat in state.heartbeats:
        fresh = is_fresh(platform.settings, heartbeat.age_s)
        name = str(heartbeat.facts.get("state", "idle")) if fresh else "stale"
        states[name] = states.get(name, 0) + 1
        if not fresh:
            continue
        for queue in queues.keys() & set(heartbeat.facts.get("queues", ())):
            queues[queue] += 1
        if heartbeat.facts.get("memory_bytes"):
            host = str(heartbeat.facts.get("host", ""))
            memory.add_metric([heartbeat.worker, host], heartbeat.facts["memory_bytes"])
    workers = GaugeMetricFamily("perennial_workers", "Workers by state.", labels=["state"])
    of_queue = GaugeMetricFamily(
        "perennial_queue_workers", "Live workers that serve a queue.", labels=["queue"]
    )
    yield from (_counted(workers, states), memory, _counted(of_queue, queues))


def _counted(family: _Family, values: Mapping[str, float]) -> _Family:
    """Return a metric with these values by its only label."""
    for label, value in values.items():
        family.add_metric([label], value)
    return family


def _registry(state: ServiceStats) -> Iterator[Metric]:
    versions = GaugeMetricFamily(
        "perennial_versions",
        "Versions by status and the gate's verdict.",
        labels=["status", "verdict"],
    )
    for (status, verdict), count in state.versions.items():
        versions.add_metric([status, verdict], count)
    moves = CounterMetricFamily("perennial_alias_moves", "Alias moves by kind.", labels=["kind"])
    kinds = {kind.value: state.alias_moves.get(kind, 0) for kind in MoveKind}
    yield from (versions, _counted(moves, kinds))


def _webhooks(state: ServiceStats) -> Iterator[Metric]:
    age = (state.at - state.outbox.oldest).total_seconds() if state.outbox.oldest else 0.0
    yield GaugeMetricFamily(
        "perennial_webhook_deliveries_pending",
        "Deliveries that have not been made yet.",
        value=state.outbox.pending,
    )
    yield GaugeMetricFamily(
        "perennial_webhook_oldest_pending_seconds",
        "Age of the oldest of them.",
        value=max(0.0, age),
    )
    ended = CounterMetricFamily(
        "perennial_webhook_deliveries", "Ended deliveries by status.", labels=["status"]
    )
    counts = dict.fromkeys((DeliveryStatus.DELIVERED.value, DeliveryStatus.FAILED.value), 0.0)
    for counter in state.counters:
        if counter.name == DELIVERIES_ENDED:
            counts[counter.labels["status"]] = counter.value
    yield _counted(ended, counts)


def _counters(state: ServiceStats) -> Iterator[Metric]:
    ended = CounterMetricFamily(
        "perennial_jobs_ended", "Ended jobs by type and status.", labels=["type", "status"]
    )
    verdicts = CounterMetricFamily(
        "perennial_gate_verdicts", "Verdicts given by the gate.", labels=["verdict"]
    )
    ends = [status.value for status in JobStatus if status.done]
    jobs = {(kind.value, status): 0.0 for kind in JobType for status in ends}
    judged = {verdict.value: 0.0 for verdict in Verdict}
    for counter in state.counters:
        if counter.name == JOBS_ENDED:
            key = (counter.labels["type"], counter.labels["status"])
            jobs[key] = jobs.get(key, 0.0) + counter.value
            verdict = counter.labels["verdict"]
            judged[verdict] = judged.get(verdict, 0.0) + counter.value
    for names, count in jobs.items():
        ended.add_metric(list(names), count)
    judged.pop("", None)  # of jobs without a verdict
    phases = [counter for counter in state.counters if counter.name == PHASE_SECONDS]
    yield from (ended, _counted(verdicts, judged), _phase_seconds(phases))


def _phase_seconds(counters: list[CounterValue]) -> Metric:
    """Return a histogram of the phases' durations.

    Each counter with an `le` label counts one bucket; Prometheus wants cumulative buckets.
    """
    seconds = HistogramMetricFamily(
        "perennial_job_phase_seconds",
        "Duration of a phase in seconds, by job type; 'queued' is the wait for the first claim.",
        labels=["type", "phase"],
    )
    sums: dict[tuple[str, str], float] = defaultdict(float)
    counts: dict[tuple[str, str], dict[float, float]] = defaultdict(lambda: defaultdict(float))
    for counter in counters:
        key = (counter.labels["type"], counter.labels["phase"])
        if "le" in counter.labels:
            counts[key][float(counter.labels["le"])] += counter.value
        else:
            sums[key] += counter.value
    for key, found in counts.items():
        buckets, total = [], 0.0
        for bound in BUCKETS:
            total += found[bound]
            buckets.append(("+Inf" if math.isinf(bound) else str(bound), total))
        seconds.add_metric(list(key), buckets=buckets, sum_value=sums[key])
    return seconds
