"""The cost of finding the next job, in work that the database counts.

Times on a busy machine are unreliable, so work is counted too: the pages that PostgreSQL reads
(`EXPLAIN ANALYZE`), or the steps of SQLite's virtual machine.
"""

import multiprocessing
import re
import secrets
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, insert

from benchmarks.output import stored_pictures
from core.artifacts.local import LocalArtifacts
from core.artifacts.store import Artifacts
from core.bases.create_model import create_model
from core.bootstrap import archive_reader, close, decoder, signatures, utc_now
from core.database.migrate import migrate
from core.database.tables import jobs
from core.database.work import Transactions, Work
from core.datasets.freeze import freeze_version
from core.datasets.manifests import ManifestEntry
from core.datasets.rows import Datasets
from core.datasets.rules import Dataset, DatasetImage, DatasetKind, DatasetVersion, Image
from core.datasets.thumbnail_rows import ensure_split
from core.evaluation.answers import Answers, ClassAnswers
from core.evaluation.queries import ClassQuery, EvalQuery
from core.exports.exporter import Samples
from core.gate.policies import ensure_default_policy
from core.gate.rows import Policies
from core.gate.rules import GatePolicy
from core.job_types.handlers import Tools
from core.job_types.run import run_next_job
from core.jobs.claim_rows import to_row
from core.jobs.claims import claimable_heads
from core.jobs.orders import ImportOrder, JobType, Queue, UpdateOrder
from core.jobs.queue import JobRequest, enqueue
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobStatus, Monitor
from core.platform import Platform
from core.principal import Principal, Role
from core.recipes.fields import DEFAULT_PROMPT, Precision
from core.recipes.rules import Recipe
from core.registry.exports import ExportFormat
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model, ServingPrecision, TensorEntry, Weights
from core.rejection.rules import Calibration
from core.settings import Settings
from core.training.trainer import Trained, TrainingSpec
from core.values import DatasetId, Digest, JobId, Json, ModelId, PolicyId, new_id
from core.vectors.embedder import FittedBridge, IndexComparison
from core.vectors.rules import SearchedSuite

# The rows of a growing queue, in several shapes.


FEW, MANY = 10, 100

# Shapes of the queue: number of models (0: one per ten jobs), and whether all jobs or just 10 wait.
SHAPES = {
    "all wait": (FEW, True),
    "all but 10 ended": (FEW, False),
    "all wait, 100 models": (MANY, True),
    "10 wait a model": (0, True),
}

NOW = datetime(2026, 3, 1, tzinfo=UTC)

POLICY = GatePolicy(id=PolicyId("gate_1"), name="bench", created_at=NOW)


def fill(transactions: Transactions, shape: str, size: int, known: list[Model]) -> None:
    """Replace the jobs by those that the shape has at this size, and add models as needed."""
    wanted, wait = SHAPES[shape]
    with transactions() as work:
        connection = work._connection
        assert connection is not None
        if not known:
            work[Policies].add(POLICY)
        while len(known) < (wanted or max(1, size // 10)):
            known.append(_add_model(work, len(known)))
        sqlite = connection.dialect.name == "sqlite"
        connection.exec_driver_sql("DELETE FROM jobs" if sqlite else "TRUNCATE jobs CASCADE")
        ended = 0 if wait else size - FEW
        connection.execute(insert(jobs), [to_row(job) for job in _imports(known, size, ended)])
        work.commit()
    with transactions() as work:
        assert work._connection is not None
        work._connection.exec_driver_sql("ANALYZE")
        work.commit()


def _add_model(work: Work, number: int) -> Model:
    model = Model(
        id=ModelId(f"model_{number:06}"),
        name=f"model-{number}",
        suites=(),
        policy=POLICY.id,
        created_at=NOW,
    )
    work[Models].add(model)
    return model


def _imports(models: list[Model], count: int, ended: int) -> Iterator[Job]:
    """Yield imports of each model in turn, the first `ended` of which have succeeded."""
    for number in range(count):
        model = models[number % len(models)].id
        yield Job(
            id=JobId(f"job_{number:06}"),
            type=JobType.IMPORT,
            model=model,
            lane=model,
            order=ImportOrder(base="bundled"),
            status=JobStatus.SUCCEEDED if number < ended else JobStatus.QUEUED,
            created_at=NOW,
        )


TRIES = 50


def grow(
    database: str, url: str, shape: str, sizes: Sequence[int]
) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield a row of the table and the query plan at each size of one growing queue."""
    migrate(url)
    known: list[Model] = []
    with closing(Transactions(url)) as transactions:
        for size in sorted(sizes):
            fill(transactions, shape, size, known)
            with transactions() as work:
                connection = work._connection
                assert connection is not None
                plan = explain(connection, sql_of(connection))
                cost = steps_of(connection) if database == "SQLite" else pages_in(plan)
                find = min(times_ms(partial(_find, connection, sql_of(connection))))
            claim = statistics.median(times_ms(partial(_claim, transactions)))
            yield (
                {
                    "database": database,
                    "rows": shape,
                    "size": size,
                    "models": len(known),
                    "work": cost,
                    "find ms, least": find,
                    "claim, give back ms": claim,
                    "index": ", ".join(sorted(set(re.findall(r"\b(?:ix|ux|pk)_jobs\w*", plan)))),
                    "scans jobs": "Seq Scan on jobs" in plan or "SCAN jobs" in plan,
                },
                plan,
            )


def growth(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with the ratio of a claim's work at the largest size to that at the smallest."""
    found = []
    for database, shape in dict.fromkeys((row["database"], row["rows"]) for row in rows):
        mine = [row for row in rows if (row["database"], row["rows"]) == (database, shape)]
        first, last = mine[0], mine[-1]
        found.append(
            {
                "database": database,
                "rows": shape,
                "models": "fixed" if SHAPES[shape][0] else f"{first['models']} to {last['models']}",
                "from, to": f"{first['size']}, {last['size']}",
                "growth": round(last["work"] / first["work"], 2),
            }
        )
    return found


def sql_of(connection: Connection) -> str:
    """Return the statement that finds the next job, with literal values."""
    query = claimable_heads(connection, tuple(Queue)).limit(1)
    query = query.with_for_update(of=jobs, skip_locked=True, key_share=True)
    text = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
    return text.replace("%%", "%") if connection.dialect.name == "sqlite" else text


def explain(connection: Connection, sql: str) -> str:
    """Return the query plan, one step per line; on PostgreSQL with its actual costs."""
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}")
        return "\n".join(f"  {row[3]}" for row in rows)
    rows = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS) {sql}")
    return "\n".join(f"  {row[0]}" for row in rows)


def pages_in(plan: str) -> int:
    """Return the number of pages that a statement read, from the plan's first line with buffers."""
    buffers = re.search(r"Buffers: (.*)", plan)
    assert buffers is not None, plan
    return sum(map(int, re.findall(r"(?:hit|read)=(\d+)", buffers[1])))


def steps_of(connection: Connection) -> int:
    """Return the number of steps that SQLite's virtual machine takes to find the next job."""
    sql, steps = sql_of(connection), [0]

    def count() -> int:
        steps[0] += 1
        return 0

    driver = cast(Any, connection.connection.dbapi_connection)
    driver.set_progress_handler(count, 1)
    driver.execute(sql).fetchall()
    driver.set_progress_handler(None, 1)
    return steps[0]


def times_ms(act: Callable[[], object]) -> list[float]:
    """Call a function TRIES times; return the milliseconds of each call."""
    took = []
    for _ in range(TRIES):
        began = time.perf_counter()
        act()
        took.append(1000 * (time.perf_counter() - began))
    return took


def _find(connection: Connection, sql: str) -> None:
    assert connection.exec_driver_sql(sql).first() is not None


def _claim(transactions: Transactions) -> None:
    with transactions() as work:
        job = work[Jobs].claim("bench", 60, 3)
        work.commit()
    assert job is not None
    with transactions() as work:
        work[Jobs].release(job.id, job.fence)
        work.commit()


# An importer, trainer, evaluator, embedder and exporter that take no time.


BYTES = 16


class NoOpTools:
    """All in one: weights are a few random bytes, and every answer is right."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    def load(self, base: str, monitor: Monitor) -> tuple[Weights, str]:
        """Store new weights; return these and a prompt template."""
        return self._publish(), DEFAULT_PROMPT.text

    def require(self, version: Digest) -> None:
        """Need nothing."""

    def compile(self, version: Digest, monitor: Monitor) -> None:
        """Leave it to torch."""

    def train(self, spec: TrainingSpec, *, resume: Digest | None, monitor: Monitor) -> Trained:
        """Report one step and store new weights."""
        monitor.advance("training", 1, 1)
        return Trained(weights=self._publish(), notes={}, environments=({},))

    def native_precisions(self) -> Collection[Precision]:
        """Return fp32 alone."""
        return (Precision.FP32,)

    def answer(
        self, version: Digest, queries: Sequence[EvalQuery], monitor: Monitor
    ) -> Sequence[Answers]:
        """Return the right answers to queries for classes, and no thresholds."""
        return [
            _right_answers(query) if isinstance(query, ClassQuery) else Calibration()
            for query in queries
        ]

    def release(self, precision: ServingPrecision) -> str | None:
        """Return none: nothing here is in another precision than fp32."""
        return None

    def formats(self) -> Collection[ExportFormat]:
        """Return all formats."""
        return tuple(ExportFormat)

    def write(
        self, version: Digest, export_format: ExportFormat, folder: Path, monitor: Monitor
    ) -> None:
        """Write one file that says what it is."""
        (folder / "export").write_text(f"{version} {export_format}")

    def check(
        self,
        version: Digest,
        export_format: ExportFormat,
        folder: Path,
        samples: Samples,
        monitor: Monitor,
    ) -> Json:
        """Return that all is equal."""
        return {"least_cosine_images": 1.0, "least_cosine_texts": 1.0}

    def embed(
        self, version: Digest, parts: Sequence[Sequence[ManifestEntry]], monitor: Monitor
    ) -> Iterator[bytes]:
        """Yield zeros, one for each image."""
        yield from (bytes(4 * len(part)) for part in parts)

    def compare(
        self, old: Digest, new: Digest, suites: Sequence[SearchedSuite], monitor: Monitor
    ) -> IndexComparison:
        """Return a comparison of nothing."""
        bridge = FittedBridge(file=b"", kind="", images=0, scores={})
        return IndexComparison(bridge=bridge, searches=(), vectors=())

    def _publish(self) -> Weights:
        digest = self._artifacts.put(secrets.token_bytes(BYTES))
        tensor = TensorEntry(
            name="logit_scale", dtype="F32", shape=(BYTES // 4,), digest=digest, size=BYTES
        )
        weights = Weights(config={"model_cfg": {}, "preprocess_cfg": {}}, tensors=(tensor,))
        self._artifacts.put(weights.to_bytes())
        return weights


def instant_tools(platform: Platform) -> Tools:
    """Return tools of which those that need torch do nothing."""
    instant = NoOpTools(platform.artifacts)
    return Tools(
        importer=instant,
        compiler=instant,
        trainer=instant,
        evaluator=instant,
        embedder=instant,
        exporter=instant,
        archives=archive_reader(platform.settings),
        decoder=decoder(platform.settings),
        signatures=signatures(platform.settings),
    )


def _right_answers(query: ClassQuery) -> ClassAnswers:
    return ClassAnswers(
        predicted=tuple(query.classes.index(entry.class_name) for entry in query.entries)
    )


# Models, a dataset version and queued updates, made with the service's own verbs.


REQUEST = JobRequest(principal=Principal(name="bench", role=Role.ADMIN))

IMAGES = 40  # of two classes

SIDE = 16  # pixels


class NoNotifier:
    """A notifier for a benchmark whose workers look for jobs all the time."""

    def notify(self, job: JobId, queue: Queue) -> None:
        """Do nothing."""


def import_models(platform: Platform, count: int) -> Sequence[Model]:
    """Create models, each with a root that is live."""
    ensure_default_policy(platform)
    ensure_split(platform)
    tools = instant_tools(platform)
    for number in range(count):
        create_model(platform, NoNotifier(), REQUEST, name=f"m{number}", base="bundled")
        run_next_job(platform, tools, owner="import", stopping=lambda: False)
    with platform.transactions(read_only=True) as work:
        return [work[Models].get(f"m{number}") for number in range(count)]


def pets(platform: Platform, images: int) -> Sequence[ManifestEntry]:
    """Store pictures of cats and dogs."""
    return stored_pictures(platform.artifacts, ("cat", "dog") * (images // 2), side=SIDE)


def freeze_images(
    platform: Platform, entries: Sequence[ManifestEntry], *, name: str = "pets"
) -> DatasetVersion:
    """Create a version of a dataset of some pictures."""
    now = platform.clock()
    dataset = Dataset(
        id=DatasetId(new_id("ds", now)), name=name, kind=DatasetKind.LABELLED, created_at=now
    )
    rows = [
        DatasetImage(
            dataset=dataset.id,
            image=Image(
                pixels=entry.pixels,
                artifact=entry.artifact,
                width=SIDE,
                height=SIDE,
                size=len(platform.artifacts.get(entry.artifact)),
            ),
            text=entry.class_name,
            file_label="picture.webp",
            added_at=now,
        )
        for entry in entries
    ]
    with platform.transactions() as work:
        work[Datasets].add(dataset)
        work[Datasets].add_images(dataset.id, rows)
        work.commit()
    return freeze_version(platform, dataset.id)


def queue_updates(
    platform: Platform, models: Sequence[Model], data: DatasetVersion, count: int
) -> Sequence[Job]:
    """Queue `count` updates, of each model in turn."""
    order = UpdateOrder(
        dataset=data.dataset, dataset_version=data.number, recipe=Recipe(), auto_promote=False
    )
    jobs = []
    with platform.transactions() as work:
        for number in range(count):
            model, now = models[number % len(models)], platform.clock()
            jobs.append(enqueue(work, REQUEST, model, JobType.UPDATE, order, now))
        work.commit()
    return jobs


# Time worker processes that work off a queue of updates whose training takes no time.


WORKERS, MODELS = 4, 20

START_S = 15.0  # enough for every worker to import its modules


@contextmanager
def opened(url: str, folder: Path) -> Iterator[Platform]:
    """Yield a platform on a database and a folder of artifacts."""
    platform = Platform(
        settings=Settings(
            home=folder, checkpoint_seconds=3600.0, max_waiting_per_model=0, max_waiting_per_key=0
        ),
        transactions=Transactions(url),
        artifacts=LocalArtifacts(folder / "artifacts"),
        clock=utc_now,
    )
    yield platform
    close(platform)


def drain(database: str, url: str, folder: Path, count: int, *, whole: bool) -> dict[str, Any]:
    """Order updates, let the workers run them, and return a row of times and counts."""
    migrate(url)
    with opened(url, folder) as platform:
        models = import_models(platform, MODELS)
        orders = queue_updates(
            platform, models, freeze_images(platform, pets(platform, IMAGES)), count
        )
        begin = time.time() + START_S
        spawning = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(WORKERS, mp_context=spawning) as pool:
            runs = [
                pool.submit(work_off, url, folder, f"w{n}", begin, whole) for n in range(WORKERS)
            ]
            took = [seconds for run in runs for seconds in run.result()]
            lasted = time.time() - begin
        with platform.transactions(read_only=True) as work:
            ended = [work[Jobs].get(job.id) for job in orders]
            versions = sum(len(work[Versions].all(model.id)) - 1 for model in models)
    return {
        "database": database,
        "what": "whole jobs" if whole else "claim and finish alone",
        "jobs": count,
        "seconds": round(lasted, 2),
        "claims per s": round(count / lasted, 1),
        "ms a job, median": round(1000 * statistics.median(took), 1),
        "succeeded": sum(job.status is JobStatus.SUCCEEDED for job in ended),
        "claims": sum(job.attempt for job in ended),
        "versions": versions,
    }


def work_off(url: str, folder: Path, name: str, begin: float, whole: bool) -> list[float]:
    """Run jobs until none waits; return the seconds that each took, including its claim.

    With `whole` false, jobs are only claimed and finished.
    """
    took: list[float] = []
    with opened(url, folder) as platform:
        tools = instant_tools(platform)
        time.sleep(max(0.0, begin - time.time()))
        while True:
            began = time.perf_counter()
            if whole:
                job = run_next_job(platform, tools, owner=name, stopping=lambda: False)
            else:
                job = _claim_and_finish(platform, name)
            if job is not None:
                took.append(time.perf_counter() - began)
            elif not _is_any_queued(platform):
                return took


def _claim_and_finish(platform: Platform, owner: str) -> Job | None:
    """Claim and finish a job: the two transactions without which no job leaves the queue."""
    with platform.transactions() as work:
        job = work[Jobs].claim(owner, 60, 3)
        work.commit()
    if job is not None:
        with platform.transactions() as work:
            work[Jobs].finish(job.succeed({}, platform.clock()), job.fence)
            work.commit()
    return job


def _is_any_queued(platform: Platform) -> bool:
    """Return whether a job is queued; it cannot be claimed while its model is busy."""
    with platform.transactions(read_only=True) as work:
        return bool(work[Jobs].page(1, None, status=JobStatus.QUEUED))
