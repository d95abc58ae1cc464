"""Queue, jobs, workers, versions and aliases as metrics: one scrape of any API shows all."""

import math
from collections import defaultdict
from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from core.domain.jobs.counter import BUCKETS, JOBS_ENDED, PHASE_SECONDS, CounterValue
from core.domain.jobs.job import JobStatus, Queue
from core.errors import Unavailable
from core.ports import Platform
from core.use_cases.operations.stats import ServiceStats, read_stats
from core.use_cases.operations.workers import is_fresh


class StateCollector:
    """Reads the database at each scrape; while it is away, says only that."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def describe(self) -> list[Metric]:
        """Nothing: registering must not read the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment."""
        up = GaugeMetricFamily("perennial_database_up", "1 if the database answered this scrape.")
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
        yield from _tallies(state)


def _queue(state: ServiceStats) -> Iterator[Metric]:
    jobs = GaugeMetricFamily(
        "perennial_jobs", "Unfinished jobs by type and status.", labels=["type", "status"]
    )
    age = GaugeMetricFamily(
        "perennial_oldest_queued_seconds",
        "Age of the oldest job that waits, by type.",
        labels=["type"],
    )
    for row in state.queue:
        jobs.add_metric([row.type, row.status], row.jobs)
        if row.status is JobStatus.QUEUED:
            age.add_metric([row.type], max(0.0, (state.at - row.oldest).total_seconds()))
    yield jobs
    yield age


def _running(state: ServiceStats) -> Iterator[Metric]:
    steps = GaugeMetricFamily(
        "perennial_job_steps", "Steps taken in the present phase.", labels=["job", "type", "phase"]
    )
    total = GaugeMetricFamily(
        "perennial_job_planned_steps",
        "Steps that the present phase has.",
        labels=["job", "type", "phase"],
    )
    rate = GaugeMetricFamily(
        "perennial_images_per_second", "Images trained on a second.", labels=["job", "worker"]
    )
    memory = GaugeMetricFamily(
        "perennial_device_memory_bytes",
        "Most memory of the device that the job has held.",
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
    alive = GaugeMetricFamily("perennial_workers", "Workers by state.", labels=["state"])
    memory = GaugeMetricFamily(
        "perennial_worker_memory_bytes",
        "Resident memory of the worker child.",
        labels=["worker", "host"],
    )
    states: dict[str, int] = {"idle": 0, "busy": 0, "stale": 0}
    for beat in state.heartbeats:
        fresh = is_fresh(platform.settings, beat.age_s)
        kind = str(beat.facts.get("state", "idle")) if fresh else "stale"
        states[kind] = states.get(kind, 0) + 1
        if fresh and beat.facts.get("memory_bytes"):
            memory.add_metric(
                [beat.worker, str(beat.facts.get("host", ""))], beat.facts["memory_bytes"]
            )
    for kind, count in states.items():
        alive.add_metric([kind], count)
    yield from (alive, memory, _served(state, platform))


def _served(state: ServiceStats, platform: Platform) -> Metric:
    """Whether anybody takes the jobs of each queue; workers of an earlier release took all."""
    served = GaugeMetricFamily(
        "perennial_queue_workers", "Living workers that take a queue's jobs.", labels=["queue"]
    )
    counts = dict.fromkeys(Queue, 0)
    for beat in state.heartbeats:
        if is_fresh(platform.settings, beat.age_s):
            theirs = set(beat.facts.get("queues", ())) & set(Queue)
            for queue in theirs or set(Queue):
                counts[Queue(queue)] += 1
    for queue, count in counts.items():
        served.add_metric([queue.value], count)
    return served


def _registry(state: ServiceStats) -> Iterator[Metric]:
    versions = GaugeMetricFamily(
        "perennial_versions",
        "Versions by status and the gate's verdict.",
        labels=["status", "verdict"],
    )
    for (status, verdict), count in state.versions.items():
        versions.add_metric([status, verdict], count)
    moves = CounterMetricFamily(
        "perennial_alias_moves", "Moves of aliases by kind.", labels=["kind"]
    )
    for kind, count in state.alias_moves.items():
        moves.add_metric([kind], count)
    yield from (versions, moves)


def _tallies(state: ServiceStats) -> Iterator[Metric]:
    ended = CounterMetricFamily(
        "perennial_jobs_ended", "Ended jobs by type and status.", labels=["type", "status"]
    )
    verdicts = CounterMetricFamily(
        "perennial_gate_verdicts", "Verdicts that the gate has given.", labels=["verdict"]
    )
    jobs: dict[tuple[str, str], float] = defaultdict(float)
    judged: dict[str, float] = defaultdict(float)
    for tally in state.tallies:
        if tally.name == JOBS_ENDED:
            jobs[tally.labels["type"], tally.labels["status"]] += tally.value
            judged[tally.labels["verdict"]] += tally.value
    for key, count in jobs.items():
        ended.add_metric(list(key), count)
    for verdict, count in judged.items():
        if verdict:
            verdicts.add_metric([verdict], count)
    phases = [tally for tally in state.tallies if tally.name == PHASE_SECONDS]
    yield from (ended, verdicts, _phases(phases))


def _phases(tallies: list[CounterValue]) -> Metric:
    """A histogram of the durations; `le` tallies count a bucket each, Prometheus wants sums."""
    seconds = HistogramMetricFamily(
        "perennial_job_phase_seconds",
        "Seconds that a phase took, by job type; 'queued' is the wait for the first claim.",
        labels=["type", "phase"],
    )
    sums: dict[tuple[str, str], float] = defaultdict(float)
    counts: dict[tuple[str, str], dict[float, float]] = defaultdict(lambda: defaultdict(float))
    for tally in tallies:
        key = (tally.labels["type"], tally.labels["phase"])
        if "le" in tally.labels:
            counts[key][float(tally.labels["le"])] += tally.value
        else:
            sums[key] += tally.value
    for key, found in counts.items():
        buckets, total = [], 0.0
        for bound in BUCKETS:
            total += found[bound]
            buckets.append(("+Inf" if math.isinf(bound) else str(bound), total))
        seconds.add_metric(list(key), buckets=buckets, sum_value=sums[key])
    return seconds
