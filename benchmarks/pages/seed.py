"""Rows and artifacts of a service in use, written past its rules: versions, jobs, images, audit.

Each group of twenty updates is a line of its own that begins at the root. Every update has a frozen
dataset, a report, and answers about its suite and about the holdouts of its line.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random
from typing import Any

from sqlalchemy import Connection, Table, insert, select, update

from benchmarks.output import entry_of
from core.access.keys import create_key
from core.audit.rows import AuditTrail
from core.audit.rules import Action, Change
from core.database.engine import open_engine
from core.database.tables import (
    alias_moves,
    aliases,
    dataset_images,
    dataset_versions,
    datasets,
    deliveries,
    job_events,
    jobs,
    models,
    thumbnails,
    verdicts,
    versions,
    webhooks,
)
from core.database.tables import images as image_rows
from core.datasets.manifests import Manifest, ManifestEntry, Part, Side
from core.datasets.rules import DatasetKind, Suite, SuiteKind
from core.datasets.version_rows import Suites
from core.evaluation.answers import ClassAnswers, answers_to_json
from core.evaluation.exams import ScoredSuite, entries_in, suite_query
from core.evaluation.holdouts import holdout_query
from core.evaluation.queries import ClassQuery
from core.evaluation.report import Report, Scores, Transfer
from core.evaluation.rows import AnswerCache
from core.evaluation.summary import summarise
from core.gate.judge import judge
from core.gate.kinds import MeasureKind
from core.gate.measures import Measure
from core.gate.rules import GatePolicy
from core.jobs.orders import EvaluateOrder, UpdateOrder, order_to_json
from core.platform import Platform
from core.principal import Role
from core.recipes.fields import DEFAULT_PROMPT
from core.recipes.rules import Recipe
from core.registry.alias_rows import Aliases
from core.registry.aliases import PRODUCTION
from core.registry.configure import configure_model
from core.registry.version_rows import Versions
from core.registry.versions import Version
from core.rejection.rules import Calibration
from core.trials.rows import Trials, TrialSamples
from core.trials.rules import CoursePoint, Sample, Trial, TrialMode
from core.values import (
    DatasetId,
    Digest,
    JobId,
    ModelId,
    PolicyId,
    PredictionId,
    SuiteId,
    TrialId,
    canonical_json,
    sha256,
)
from core.vectors.rows import IndexReports
from core.vectors.rules import DIGITS, MOST_POINTS, EmbeddingMap, IndexReport, MappedImage

# Made-up images, answers and reports, each a function of its name or number alone.


BEGAN = datetime(2026, 4, 1, tzinfo=UTC)

LINE = 20  # updates of a line

RIGHT = 0.85  # share of right answers, of every version


def digest_of(name: str) -> Digest:
    """Return a digest that depends on a name alone."""
    return sha256(name.encode())


def entries_of(name: str, count: int, classes: Sequence[str]) -> tuple[ManifestEntry, ...]:
    """Return images of classes in turn, sorted as a manifest is."""
    entries = [
        entry_of(
            digest_of(f"{name} {number}"),
            digest_of(f"file of {name} {number}"),
            classes[number % len(classes)],
        )
        for number in range(count)
    ]
    return tuple(sorted(entries, key=lambda entry: entry.pixels))


def answers_of(query: ClassQuery, seed: int) -> ClassAnswers:
    """Return answers of which most are right."""
    draw = Random(seed)
    names = {name: index for index, name in enumerate(query.classes)}
    return ClassAnswers(
        predicted=tuple(
            names[entry.class_name] if draw.random() < RIGHT else draw.randrange(len(names))
            for entry in query.entries
        )
    )


def report_of(number: int, parent: int) -> Report:
    """Return the report on a version, whose numbers differ a little from version to version."""
    policy = GatePolicy(id=PolicyId("gate_default"), name="default", created_at=BEGAN)
    draw = Random(number)
    measures = [
        _measure(MeasureKind.ZERO_SHOT, "kept", "parent", parent, lost=draw.randrange(10, 40)),
        _measure(MeasureKind.ZERO_SHOT, "kept", "root", 1, lost=draw.randrange(10, 60)),
        _measure(MeasureKind.GAIN, f"version {number}", "parent", parent, lost=0, gained=600),
    ]
    judgement = judge(measures, policy)
    scores = {"ut_micro": 0.9, "ut_macro": 0.9, "zero_shot": 0.85, "average": 0.87}
    roles = (("candidate", number), ("parent", parent), ("root", 1))
    return Report(
        rejection=Calibration(),
        model="demo",
        version=number,
        digest=digest_of(f"version {number}"),
        parent=parent,
        parent_digest=digest_of(f"version {parent}"),
        root=1,
        root_digest=digest_of("version 1"),
        recipe={},
        dataset="products",
        dataset_version=1,
        update_classes=(f"class {number}", "cup"),
        classes=(f"class {number}", "cup"),
        prompt="a photo of {name}.",
        policy={name: value for name, value in vars(policy).items() if name != "created_at"},
        verdict=judgement.verdict,
        summary=summarise(("cup",), judgement, policy.minimum_count),
        reasons=judgement.reasons,
        measures=judgement.measures,
        scores=tuple(Scores(role=role, version=one, **scores) for role, one in roles),
        retention=1.0,
        zero_shot_change=0.0,
        transfer=Transfer(),
        tasks=(),
        matrix=(),
        changes=(),
        lists=(),
        taken=(),
        recalls=(),
        judged_before=number,
        near_duplicates=0,
        images={"kept": 2000},
    )


def _measure(
    kind: MeasureKind, name: str, baseline: str, version: int, *, lost: int, gained: int = 25
) -> Measure:
    still = 2000 - lost - gained
    return Measure.of(
        kind,
        name=name,
        baseline=baseline,
        baseline_version=version,
        tolerance=0.03,
        images=2000,
        now=[True] * gained + [False] * lost + [True] * still,
        before=[False] * gained + [True] * lost + [True] * still,
        alpha=0.005,
    )


# A made-up map of embeddings, with as many points as a map may have.


def add_map(
    platform: Platform, model: ModelId, version: int, suite: str, images: int, job: str
) -> None:
    """Store the report of a version on the index of the one before, with a map of a suite."""
    report = {"maps": [_map(suite, images).to_json()]}
    with platform.transactions() as work:
        work[IndexReports].put(
            IndexReport(
                model=model,
                version=version,
                baseline=version - 1,
                report=platform.artifacts.put(canonical_json(report)),
                bridge=digest_of("bridge"),
                sources=(),
                job=JobId(job),
                created_at=BEGAN,
            )
        )
        work.commit()


def _map(suite: str, images: int) -> EmbeddingMap:
    draw = Random(suite)
    points = [
        tuple(round(draw.gauss(number % 10, 1.0), DIGITS) for _ in range(4))
        for number in range(MOST_POINTS)
    ]
    return EmbeddingMap(
        suite=suite,
        count=images,
        explained=(0.4, 0.2),
        images=tuple(
            MappedImage(
                pixels=Digest(digest_of(f"{suite} {number}")),
                class_name=f"class {number % 50}",
                before=(a, b),
                now=(c, d),
            )
            for number, (a, b, c, d) in enumerate(points)
        ),
    )


# Numbered rows of the tables that pages list.


Row = Mapping[str, Any]

CHUNK = 1000  # rows written at a time

DATASET_ID, WEBHOOK = "ds_products", "hook_pages"

# Half of the jobs and events pass each filter, so that few of them fill a page as many do.
FILTERED = 2

_ORDERS = (
    order_to_json(EvaluateOrder(version=1)),
    order_to_json(UpdateOrder(dataset=DatasetId(DATASET_ID), dataset_version=1, recipe=Recipe())),
)


def write(connection: Connection, table: Table, rows: Iterator[Row]) -> None:
    """Insert rows."""
    while chunk := list(islice(rows, CHUNK)):
        connection.execute(insert(table), [dict(row) for row in chunk])


def job(made: Row, number: int) -> Row:
    """Return a job that has ended, otherwise like one that the service has made."""
    copied = {name: value for name, value in made.items() if name != "position"}
    at, is_update = BEGAN + timedelta(minutes=number), number % 3 > 0
    failed = number % FILTERED == 1
    return {
        **copied,
        "id": f"job_{number:08}",
        "type": "update" if is_update else "evaluate",
        "order": _ORDERS[is_update],
        "status": "failed" if failed else "succeeded",
        "result": None if failed else {"version": number, "verdict": "passed"},
        "error": {"code": "out_of_memory", "message": "Too little memory."} if failed else None,
        "events": 400,
        "created_at": at,
        "started_at": at,
        "finished_at": at + timedelta(minutes=4),
    }


def event(job_id: str, step: int) -> Row:
    """Return an event of a job's progress."""
    data = {"phase": "training", "step": step, "total": 400, "loss": 1 / step, "ce": 0.5 / step}
    at = BEGAN + timedelta(seconds=step)
    return {"job": job_id, "sequence": step, "kind": "progress", "data": data, "at": at}


def image(number: int) -> Row:
    """Return an image."""
    pixels = digest_of(f"image {number}")
    size = {"width": 224, "height": 224, "size": 9000}
    return {"pixels": pixels, "artifact": digest_of(pixels), **size}


def thumbnail(number: int) -> Row:
    """Return what near-duplicates of an image are found by."""
    return {"pixels": digest_of(f"image {number}"), "thumbnail": "0" * 384}


def dataset_image(number: int) -> Row:
    """Return an image's class in the large dataset."""
    names = {"slot": "", "text": f"class {number % 50}", "file_label": f"{number}.jpg"}
    return {
        "dataset": DATASET_ID,
        "pixels": digest_of(f"image {number}"),
        "added_at": BEGAN,
        **names,
    }


def dataset(name: str, dataset_id: str) -> Row:
    """Return a labelled dataset."""
    kind = {"kind": "labelled", "last_version": 1, "created_at": BEGAN}
    return {"id": dataset_id, "name": name, **kind}


def dataset_version(of: Row) -> Row:
    """Return the version of a dataset that a version of a model was trained on."""
    names = of["update_classes"]
    return {
        "dataset": of["dataset"],
        "number": 1,
        "manifest": of["manifest"],
        "classes": names,
        "counts": {name: {"train": 16, "holdout": 4} for name in names},
        "images": 40,
        "near_duplicates": 0,
        "created_at": of["created_at"],
    }


def move(model: ModelId, number: int) -> Row:
    """Return a promotion of a version, after one of the version two before it."""
    return {
        "model": model,
        "alias": "production",
        "revision": 1 + number // 2,
        "kind": "promoted",
        "from_version": max(1, number - 2),
        "to_version": number,
        "reason": "passed the gate",
        "actor": "key-1",
        "at": BEGAN + timedelta(hours=number),
    }


def verdict_on(version: Row) -> Row:
    """Return the verdict on a version beside its parent."""
    return {
        "model": version["model"],
        "version": version["number"],
        "beside": version["parent"],
        "policy": "gate_default",
        "asked_digest": digest_of("suites"),
        "suites": [],
        "updates": [],
        "verdict": version["verdict"],
        "report": version["report"],
        "images": 1000,
        "job": version["job"],
        "at": version["created_at"],
    }


def webhook() -> Row:
    """Return a webhook whose deliveries wait."""
    rest = {"events": ["job.failed"], "description": "build server", "secret": "whsec_"}
    return {
        "id": WEBHOOK,
        "url": "https://ci.example.com",
        "paused": True,
        "created_at": BEGAN,
        **rest,
    }


def delivery(number: int) -> Row:
    """Return a delivery that has arrived."""
    names = {"event": f"evt_{number}", "type": "job.failed", "object": f"job_{number}"}
    state = {"status": "delivered", "attempts": 1, "fence": 1, "response_status": 204}
    at = {"created_at": BEGAN + timedelta(minutes=number)}
    payload = {"type": "job.failed", "data": {"job": f"job_{number}"}}
    return {
        "id": f"dlv_{number:08}",
        "webhook": WEBHOOK,
        "payload": payload,
        **names,
        **state,
        **at,
    }


def change(number: int, now: datetime) -> Change:
    """Return a change that an audit event records."""
    is_move = number // FILTERED % FILTERED == 1
    return Change(
        actor=f"key-{number % FILTERED}",
        key=None,
        action=Action.ALIAS_MOVED if is_move else Action.JOB_ORDERED,
        subject="models/demo/aliases/production" if is_move else f"jobs/job_{number:08}",
        after={"version": number},
        reason="nightly",
        at=now,
    )


# A made-up trial that runs, with a course and samples, as many as its page shows.


LABELS = 1000

COURSE, SAMPLES = 30, 100


def add_trial(platform: Platform, model: ModelId) -> None:
    """Let version 1 be tried as a shadow, unless it is already."""
    trial = Trial(
        id=TrialId("trial_pages"),
        model=model,
        alias=PRODUCTION,
        mode=TrialMode.SHADOW,
        current=2,
        candidate=1,
        started_by="key-1",
        started_at=BEGAN,
    )
    with platform.transactions() as work:
        if work[Trials].running(model):
            return
        work[Trials].start(trial, work[Aliases].get(model, PRODUCTION))
        labels = dict.fromkeys(("labelled_current", "labelled_candidate"), LABELS)
        right = {"right_current": LABELS * 8 // 10, "right_candidate": LABELS * 83 // 100}
        told = {"gained": LABELS // 10, "lost": LABELS * 7 // 100, "sampled": SAMPLES}
        told |= {"agreed": 8 * LABELS, "disagreed": 2 * LABELS, "labelled_disagreed": LABELS // 5}
        work[Trials].count(trial.id, labels | right | told)
        work[Trials].note_course([_point(trial, number) for number in range(COURSE)])
        for number in range(SAMPLES):
            work[TrialSamples].add(_sample(trial, number))
        work.commit()


def _point(trial: Trial, number: int) -> CoursePoint:
    labels = int(1.25**number) + number
    reach = labels**-0.5
    return CoursePoint(
        trial=trial.id, labels=labels, estimate=0.03, lower=0.03 - reach, upper=reach, at=BEGAN
    )


def _sample(trial: Trial, number: int) -> Sample:
    return Sample(
        trial=trial.id,
        pixels=digest_of(f"sample {number}"),
        artifact=digest_of(f"stored sample {number}"),
        prediction=PredictionId(f"pred_{number:06}"),
        answer=f"class {number % 50}",
        shadow_answer=f"class {number % 50 + 1}",
        at=BEGAN,
        size=20_000,
    )


MODEL, SUITE, DATASET = "demo", "kept", "products"

SUITE_IMAGES, KEYS = 2500, 50

_CLASSES = tuple(f"class {number}" for number in range(50))


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The numbers of rows in a database."""

    versions: int = 1
    jobs: int = 1
    images: int = 0
    audit: int = 0


class Seed:
    """The database and the store of a service, which grow."""

    def __init__(self, platform: Platform, database: str) -> None:
        self._platform = platform
        self._engine = open_engine(database)
        self._sizes = Sizes()
        with self._engine.connect() as connection:
            self._model = connection.execute(select(models.c.id)).scalar_one()
            self._job = dict(connection.execute(select(jobs)).one()._mapping)
            self._root = dict(connection.execute(select(versions)).one()._mapping)
        self._suite = self._make_suite()
        for number in range(KEYS):
            create_key(platform, name=f"key-{number}", role=Role.VIEWER)
        with self._engine.begin() as connection:
            connection.execute(insert(datasets), [dataset(DATASET, DATASET_ID)])
            connection.execute(insert(webhooks), [webhook()])

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def grow(self, sizes: Sizes) -> None:
        """Add rows until there are so many."""
        before, self._sizes = self._sizes, sizes
        with self._engine.begin() as connection:
            numbers = range(before.images, sizes.images)
            write(connection, image_rows, map(image, numbers))
            write(connection, thumbnails, map(thumbnail, numbers))
            write(connection, dataset_images, map(dataset_image, numbers))
            connection.execute(update(datasets).values(revision=datasets.c.revision + 1))
            numbers = range(before.jobs, sizes.jobs)
            write(connection, jobs, (job(self._job, number) for number in numbers))
            write(connection, deliveries, (delivery(number) for number in numbers))
        self._grow_line(range(before.versions + 1, sizes.versions + 1))
        now = self._platform.clock()
        with self._platform.transactions() as work:
            for number in range(before.audit, sizes.audit):
                work[AuditTrail].add(change(number, now))
            work.commit()
        if self._engine.dialect.name == "postgresql":  # as it does by itself after a while
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as one:
                one.exec_driver_sql("VACUUM ANALYZE")

    def _grow_line(self, numbers: range) -> None:
        put = self._platform.artifacts.put
        made: list[dict[str, Any]] = []
        for number in numbers:
            entries = entries_of(f"update {number}", 40, (f"class {number}", "cup"))
            manifest = put(Manifest(kind=DatasetKind.LABELLED, entries=entries).to_bytes())
            made.append(self._version_row(number) | {"manifest": manifest})
        with self._engine.begin() as connection:
            names = [dataset(f"update-{row['number']}", f"ds_{row['number']:06}") for row in made]
            write(connection, datasets, iter(names))
            write(connection, dataset_versions, map(dataset_version, made))
            for row in made:
                del row["manifest"]
            write(connection, versions, iter(made))
            write(connection, verdicts, map(verdict_on, made))
            last = numbers[-1]
            connection.execute(update(models).values(last_version=last))
            moves = [move(self._model, number) for number in numbers if number % 2 == 0]
            write(connection, alias_moves, iter(moves))
            live = {"version": moves[-1]["to_version"], "revision": moves[-1]["revision"]}
            connection.execute(update(aliases).values(**live))
            events = (event(job_of(last), step) for step in range(1, 401))
            write(connection, job_events, events)
        self._answer(last)
        self._answer(last - 1)
        add_map(self._platform, self._model, last, SUITE, SUITE_IMAGES, job_of(last))
        add_trial(self._platform, self._model)

    def _version_row(self, number: int) -> dict[str, Any]:
        first = first_of_line(number)
        parent = 1 if number == first else number - 1
        report = report_of(number, parent)
        learned = [f"class {one}" for one in range(first, number + 1)]
        return {
            **self._root,
            "number": number,
            "status": "promoted" if number % 2 == 0 else "candidate",
            "digest": digest_of(f"version {number}"),
            "parent": parent,
            "job": job_of(number),
            "recipe": Recipe().to_json(),
            "dataset": f"ds_{number:06}",
            "dataset_version": 1,
            "update_classes": [f"class {number}", "cup"],
            "classes": [*learned, "cup"],
            "verdict": report.verdict.value,
            "report": self._platform.artifacts.put(report.to_bytes()),
            "created_at": BEGAN + timedelta(hours=number),
        }

    def _answer(self, number: int) -> None:
        """Store what a version answered about its suite and the holdouts of its line."""
        with self._platform.transactions() as work:
            found = work[Versions].get(self._model, number)
            for query in (self._suite, *self._holdouts(number)):
                answers = answers_to_json(answers_of(query, seed=number))
                stored = self._platform.artifacts.put(canonical_json(answers))
                work[AnswerCache].add(found.digest, query.digest, stored)
            work.commit()

    def _holdouts(self, number: int) -> Iterator[ClassQuery]:
        with self._platform.transactions(read_only=True) as work:
            for learner in range(max(2, first_of_line(number)), number + 1):
                version: Version = work[Versions].get(self._model, learner)
                entries = entries_of(f"update {learner}", 40, (f"class {learner}", "cup"))
                held = tuple(one for one in entries if one.side is Side.HOLDOUT)
                if asked := entries_in(Part.TEST, held):
                    query = holdout_query(version, asked)
                    assert isinstance(query, ClassQuery)
                    yield query

    def _make_suite(self) -> ClassQuery:
        manifest = Manifest(
            kind=DatasetKind.LABELLED, entries=entries_of("suite", SUITE_IMAGES, _CLASSES)
        )
        stored = self._platform.artifacts.put(manifest.to_bytes())
        suite = Suite(
            id=SuiteId("suite_pages"),
            name=SUITE,
            kind=SuiteKind.ZERO_SHOT,
            manifest=stored,
            source=stored,
            classes=manifest.classes,
            images=SUITE_IMAGES,
            prompt=DEFAULT_PROMPT,
            mirror=False,
            created_at=BEGAN,
        )
        with self._platform.transactions() as work:
            work[Suites].add(suite, manifest)
            work.commit()
        configure_model(self._platform, MODEL, suites=[suite.id], policy=None)
        query = suite_query(ScoredSuite(suite=suite, manifest=manifest), Part.TEST)
        assert isinstance(query, ClassQuery)
        return query


def first_of_line(number: int) -> int:
    """Return the first version of the line that a version is in."""
    return (number - 1) // LINE * LINE + 1


def job_of(version: int) -> str:
    """Return the id of the job that made a version."""
    return f"job_{version:08}"
