"""The first steps of an empty service, with the pack of images that it brings."""

import io
import json
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import cache
from itertools import islice
from pathlib import Path

from core.archives.rules import ArchiveFormat
from core.bases.bases import BUNDLED
from core.bases.create_model import create_model
from core.database.work import Work
from core.datasets.edit import add_dataset
from core.datasets.freeze import freeze_version
from core.datasets.rows import Datasets
from core.datasets.rules import Dataset, DatasetKind, SuiteKind
from core.datasets.suites import create_suite
from core.datasets.uploads import require_room
from core.datasets.version_rows import Suites
from core.errors import (
    DatasetNotFound,
    ModelNotFound,
    NotFound,
    PolicyNotFound,
    SuiteNotFound,
    VersionNotFound,
)
from core.gate.policies import create_policy
from core.gate.rows import Policies
from core.gate.rules import GatePolicy
from core.imports.order import enqueue_import
from core.jobs.orders import ImportImagesOrder, JobType, UpdateOrder
from core.jobs.queue import JobRequest, notify_workers
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobNotifier
from core.platform import Platform
from core.recipes.fields import PromptTemplate
from core.recipes.rules import Recipe
from core.registry.alias_rows import Aliases
from core.registry.aliases import PRODUCTION, MoveKind
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Version
from core.training.order import order_update
from core.values import DatasetId, ModelId, PolicyId, new_id

MODEL, EMOJI, PRODUCTS, POLICY = "demo", "emoji", "products", "small-model"
OWN = "first_steps"  # in the metadata of a job: the dataset that it fills, or its step
PROMPT = PromptTemplate("this is a photo of {name} .")  # the bundled model was trained with it
REASON = (
    "A 9-million-parameter model forgets more than a large one, and 1,500 test images leave an "
    "interval of about two points either way: 6 points instead of 3 and 5. The holdout of five "
    "classes has only about 160 test images, which leave about five points either way: 10 points "
    "instead of 5, judged from 100 images on instead of 500."
)


def load_images(platform: Platform, notifier: JobNotifier, request: JobRequest) -> list[Job]:
    """Order the import of the pack's emoji and products into datasets that have no images yet.

    Raises NotFound without a pack, StorageFull or TooManyJobs.
    """
    require_room(platform)
    archives = {EMOJI: emoji_archive(), PRODUCTS: products_archive()}
    stored = {name: platform.artifacts.put(archive) for name, archive in archives.items()}
    now, jobs = platform.clock(), []
    with platform.transactions() as work:
        for name, archive in archives.items():
            dataset = _dataset(work, name, now)
            if work[Datasets].count(dataset.id):
                continue
            order = ImportImagesOrder(
                dataset=dataset.id,
                archive=stored[name],
                archive_format=ArchiveFormat.ZIP,
                archive_bytes=len(archive),
            )
            named = replace(request, metadata={OWN: name})
            jobs.append(enqueue_import(platform, work, named, order, now))
        work.commit()
    for job in jobs:
        notify_workers(notifier, job)
    return jobs


def make_model(platform: Platform, notifier: JobNotifier, request: JobRequest) -> Job:
    """Make a suite of the emoji, the small model's policy, and order the import of the model.

    What is there already is kept. Raises what `create_suite` and `create_model` raise.
    """
    with platform.transactions(read_only=True) as work:
        frozen = bool(work[Datasets].versions(work[Datasets].get(EMOJI).id))
    if not frozen:
        freeze_version(platform, EMOJI)
    _ensure_suite(platform)
    _ensure_policy(platform)
    return create_model(
        platform,
        notifier,
        replace(request, metadata={OWN: Step.MODEL.value}),
        name=MODEL,
        base=BUNDLED,
        suites=(EMOJI,),
        policy=POLICY,
    )


def teach(platform: Platform, notifier: JobNotifier, request: JobRequest) -> Job:
    """Order an update with the products by the default recipe; a person promotes its version.

    Raises what `order_update` raises.
    """
    with platform.transactions(read_only=True) as work:
        versions = work[Datasets].versions(work[Datasets].get(PRODUCTS).id)
    number = (versions[-1] if versions else freeze_version(platform, PRODUCTS)).number
    order = UpdateOrder(
        dataset=DatasetId(PRODUCTS),
        dataset_version=number,
        recipe=Recipe(),
        given={},
        auto_promote=False,
    )
    named = replace(request, metadata={OWN: Step.TEACH.value})
    return order_update(platform, notifier, named, model=MODEL, order=order)


def _dataset(work: Work, name: str, now: datetime) -> Dataset:
    try:
        return work[Datasets].get(name)
    except DatasetNotFound:
        kind = DatasetKind.LABELLED
        made = Dataset(id=DatasetId(new_id("ds", now)), name=name, kind=kind, created_at=now)
        add_dataset(work, made)
        return made


def _ensure_suite(platform: Platform) -> None:
    try:
        with platform.transactions(read_only=True) as work:
            work[Suites].get(EMOJI)
    except SuiteNotFound:
        create_suite(
            platform,
            name=EMOJI,
            kind=SuiteKind.ZERO_SHOT,
            dataset=EMOJI,
            dataset_version=1,
            prompt=PROMPT,
            mirror=True,
        )


def _ensure_policy(platform: Platform) -> None:
    try:
        with platform.transactions(read_only=True) as work:
            work[Policies].get(POLICY)
    except PolicyNotFound:
        now = platform.clock()
        policy = GatePolicy(
            id=PolicyId(new_id("gate", now)),
            name=POLICY,
            parent_tolerance=0.06,
            root_tolerance=0.06,
            holdout_tolerance=0.1,
            settled_tolerance=0.12,
            swallow_tolerance=0.15,
            minimum_count=100,
            reason=REASON,
            created_at=now,
        )
        create_policy(platform, policy)


# The progress, as the database tells it.


class Step(StrEnum):
    """A step, in order."""

    SIGN_IN = "sign_in"
    IMAGES = "images"
    MODEL = "model"
    TEACH = "teach"
    READ = "read"
    PROMOTE = "promote"
    CLASSIFY = "classify"
    ROLL_BACK = "roll_back"


TITLES = {
    Step.SIGN_IN: "Sign in",
    Step.IMAGES: "Load images",
    Step.MODEL: "Make a model",
    Step.TEACH: "Teach it five classes",
    Step.READ: "Read what changed",
    Step.PROMOTE: "Promote it",
    Step.CLASSIFY: "Classify an image",
    Step.ROLL_BACK: "Roll it back",
}

ORDER = tuple(Step)
UNRECORDED = {Step.READ, Step.CLASSIFY}  # no row tells of them: they are done with the next step


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The traces of the first steps in the database."""

    imports: Sequence[Job] = ()  # the last one of each dataset
    loaded: bool = False  # both datasets have images
    root: Version | None = None
    jobs: Sequence[Job] = ()  # the last ones that made the model and taught it in these steps
    taught: Version | None = None  # by that job, once the gate has judged it
    moved: Collection[MoveKind] = ()  # the ways in which production moved to it and back

    @property
    def done(self) -> frozenset[Step]:
        """The steps that are done: what a row tells of, and all before it."""
        facts = {
            Step.SIGN_IN: True,
            Step.IMAGES: self.loaded,
            Step.MODEL: self.root is not None and self.loaded,
            Step.TEACH: self.taught is not None,
            Step.PROMOTE: MoveKind.PROMOTED in self.moved,
            Step.ROLL_BACK: MoveKind.ROLLED_BACK in self.moved,
        }
        last = max(ORDER.index(step) for step, true in facts.items() if true)
        return frozenset(ORDER[: last + 1])

    @property
    def now(self) -> frozenset[Step]:
        """The steps that are next: one, or one without a row and the one after it."""
        rest = [step for step in ORDER if step not in self.done]
        return frozenset(rest[: 2 if rest and rest[0] in UNRECORDED else 1])

    @property
    def waits(self) -> bool:
        """True while a job of the present step has not ended."""
        return any(not job.status.done for job in (*self.imports, *self.jobs))

    def job_of(self, step: str) -> Job | None:
        """Return the job to show with a step: one that runs or has failed, or the last one."""
        types: Mapping[str, JobType] = {Step.MODEL: JobType.IMPORT, Step.TEACH: JobType.UPDATE}
        jobs = [job for job in self.jobs if job.type is types.get(step)]
        if step == Step.IMAGES:
            jobs = sorted(self.imports, key=lambda job: (job.status.done, job.result is not None))
        return jobs[0] if jobs else None


def read_progress(platform: Platform) -> Progress:
    """Return how far the first steps have come."""
    with platform.transactions(read_only=True) as work:
        imports = [
            job
            for name in (EMOJI, PRODUCTS)
            for job in work[Jobs].page(1, None, metadata=(OWN, name))
        ]
        loaded = all(_has_images(work, name) for name in (EMOJI, PRODUCTS))
        jobs = [
            job
            for step in (Step.MODEL, Step.TEACH)
            for job in work[Jobs].page(1, None, metadata=(OWN, step.value))
        ]
        try:
            model = work[Models].get(MODEL)
            root = work[Versions].get(model.id, 1)
        except (ModelNotFound, VersionNotFound):
            return Progress(imports=imports, loaded=loaded, jobs=jobs)
        taught = _taught(work, model.id, jobs)
        return Progress(
            imports=imports,
            loaded=loaded,
            root=root,
            jobs=jobs,
            taught=taught,
            moved=work[Aliases].kinds_of_moves(model.id, PRODUCTION, taught.number)
            if taught
            else (),
        )


def _taught(work: Work, model: ModelId, jobs: Sequence[Job]) -> Version | None:
    for job in jobs:
        if job.type is JobType.UPDATE and job.model == model and job.version is not None:
            with suppress(VersionNotFound):
                version = work[Versions].get(model, job.version)
                return version if version.verdict else None
    return None


class _Seen:
    """A process's memory of a database's first steps: once all are done, it asks no more."""

    all_done = False


def read_next(platform: Platform) -> Sequence[Step] | None:
    """Return the steps that are next, in order: none if all are done, None if nobody has begun."""
    reading = platform.transactions(read_only=True)
    seen = reading.cache(_Seen)
    if seen.all_done:
        return ()
    with reading as work:
        if not work[Jobs].page(1, None, metadata=(OWN, PRODUCTS)):
            return None
    rest = read_progress(platform).now
    seen.all_done = not rest
    return sorted(rest, key=ORDER.index)


def _has_images(work: Work, name: str) -> bool:
    try:
        return bool(work[Datasets].count(work[Datasets].get(name).id))
    except DatasetNotFound:
        return False


# The image pack of the demo, which the repository and the images of containers hold.

PACK = Path(__file__).parents[2] / "demo" / "pack"

EMOJI_FOLDER, PRODUCTS_FOLDER = "twemoji", "fashion_mnist"

CLASSES = 5  # of the ten products, in alphabetical order, as in the demo's first update
PER_CLASS = 200  # a fifth of them falls on the holdout side


def has_pack() -> bool:
    """Return whether this installation holds the pack."""
    return all((PACK / f"{name}.zip").is_file() for name in (EMOJI_FOLDER, PRODUCTS_FOLDER))


def emoji_archive() -> bytes:
    """Return all emoji as an archive with an image list. Raises NotFound."""
    rows = _rows(PACK, EMOJI_FOLDER)
    with _opened(PACK, EMOJI_FOLDER) as pack:
        return _archive(pack, ((row["path"], row["cls"]) for row in rows))


def products_archive() -> bytes:
    """Return the images to teach as an archive with an image list. Raises NotFound."""
    chosen = (
        (row["path"], name)
        for name in product_classes()
        for row in islice(_products(name, "train"), PER_CLASS)
    )
    with _opened(PACK, PRODUCTS_FOLDER) as pack:
        return _archive(pack, chosen)


def product_classes() -> tuple[str, ...]:
    """Return the names of the classes to teach. Raises NotFound."""
    return tuple(sorted({row["cls"] for row in _rows(PACK, PRODUCTS_FOLDER)})[:CLASSES])


def sample(index: int) -> bytes:
    """Return an image of a class to teach that no archive holds.

    Raises NotFound, and IndexError if there is no such class.
    """
    row = next(_products(product_classes()[index], "test"))
    with _opened(PACK, PRODUCTS_FOLDER) as pack:
        return pack.read(row["path"])


def _products(name: str, split: str) -> Iterator[Mapping[str, str]]:
    rows = _rows(PACK, PRODUCTS_FOLDER)
    return (row for row in rows if row["cls"] == name and row["split"] == split)


@cache
def _rows(folder: Path, name: str) -> Sequence[Mapping[str, str]]:
    with _opened(folder, name) as pack:
        return [json.loads(line) for line in pack.read("captions.jsonl").splitlines() if line]


def _opened(folder: Path, name: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(folder / f"{name}.zip")
    except FileNotFoundError as error:
        raise NotFound("This installation has no image pack.") from error


def _archive(pack: zipfile.ZipFile, images: Iterator[tuple[str, str]]) -> bytes:
    """Return a zip of some images of the pack, and of the list that gives them their classes."""
    made, lines = io.BytesIO(), []
    with zipfile.ZipFile(made, "w") as archive:
        for path, name in images:
            archive.writestr(zipfile.ZipInfo(path), pack.read(path))
            lines.append(json.dumps({"file": path, "class": name}))
        archive.writestr(zipfile.ZipInfo("images.jsonl"), "\n".join(lines))
    return made.getvalue()
