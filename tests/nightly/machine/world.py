"""A service in one folder, and all that anybody may do to it."""

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from core.database.migrate import migrate
from core.database.work import Work
from core.datasets.freeze import read_manifest
from core.datasets.manifests import Manifest
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetVersion
from core.erasure.rows import Erasures
from core.erasure.rules import Erasure
from core.job_types.run import run_next_job
from core.jobs.needs import Retention
from core.jobs.rows import Jobs
from core.jobs.rules import Job
from core.platform import Platform
from core.registry.alias_rows import Aliases
from core.registry.aliases import Alias, AliasMove
from core.registry.configure import configure_model
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version
from core.settings import Settings
from core.upkeep.gc import collect_garbage
from core.values import Digest
from tests.nightly.machine.steps import Process, SteppedArtifacts, SteppedTransactions
from tests.nightly.machine.tools import TinyTools
from tests.support.evaluation.judged import judged_by
from tests.support.factories import NOW, TESTER
from tests.support.scene import Scene
from tests.support.tools import tools_of

ALIAS, POLICY, SUITE = "production", "strict", "asked"
ALIASES = (ALIAS, "staging")
LOOSE = "loose"
POLICIES, SUITES = (POLICY, LOOSE), ((SUITE,), (SUITE, "more"), ("more",))

# So many classes that one answer to all images would not do.
SKY = ("sun", "moon", "star", "comet", "cloud", "rain", "snow", "hail", "fog", "dew")
KITCHEN = ("mug", "pot", "pan", "cup", "jar", "lid", "fork", "bowl", "dish", "sieve")
LESSONS = (("cat", "dog"), ("cow", "ant"), ("owl", "elk"), ("cod", "eel"), ("gnu", "yak"))

GRACE = timedelta(hours=12)

DAY = timedelta(days=1)


class World:
    """One service: its rows, its bytes, its clock and its living processes."""

    def __init__(self) -> None:
        self.folder = Path(shutil.copytree(_template(), tempfile.mkdtemp(), dirs_exist_ok=True))
        self.transactions = SteppedTransactions(_url(self.folder))
        self.artifacts = SteppedArtifacts(self.folder / "artifacts")
        self.day = 0
        settings = Settings(
            home=self.folder,
            checkpoint_seconds=0.0,
            lease_seconds=1e6,
            max_waiting_per_model=0,
            max_waiting_per_key=0,
        )
        self.platform = Platform(
            settings=settings,
            transactions=self.transactions,
            artifacts=self.artifacts,
            clock=lambda: NOW + self.day * DAY,
        )
        self.living: list[Process] = []
        self._named = 0
        self._manifests: dict[Digest, Manifest] = {}

    def close(self) -> None:
        """Let every process die, and nothing stay."""
        for process in self.living:
            process.die()
        self.transactions.close()
        shutil.rmtree(self.folder)

    # ---- Processes --------------------------------------------------------------------------

    def start(self, kind: str, work: Callable[[Process], object]) -> Process:
        """A process that rests before its first step."""
        self._named += 1
        process = Process(f"{kind}{self._named}:", lambda: work(process))
        self.living.append(process)
        return process

    def start_worker(self) -> Process:
        """A worker that was notified: it claims a job and runs it to its end."""
        tools = tools_of(TinyTools(self.platform, run=f"{self._named}"))
        return self.start(
            "worker",
            lambda process: run_next_job(
                self.platform, tools, owner=process.name, stopping=lambda: process.stopping
            ),
        )

    def start_collection(self, keep_last: int | None) -> Process:
        """A garbage collection; with a number, it may give up all but the newest versions."""
        retention = None
        if keep_last is not None:
            retention = Retention(keep_last=keep_last, made_before=NOW + 999 * DAY)
        return self.start(
            "gc", lambda _: collect_garbage(self.platform, TESTER, grace=GRACE, retention=retention)
        )

    def a_day_passes(self) -> None:
        """Everything grows old, but what living processes have put and may be about to name."""
        self.day += 1
        young = {digest for process in self.living for digest in process.put}
        for found in self.artifacts.stored():
            if found.digest not in young:
                self.artifacts.grow_older(found, DAY.total_seconds())

    # ---- What the rows say ------------------------------------------------------------------

    def reading(self) -> Work:
        return self.platform.transactions(read_only=True)

    @property
    def lessons(self) -> list[DatasetVersion]:
        """The version of each lesson that holds no erased image."""
        with self.reading() as work:
            return [
                version
                for dataset in work[Datasets].page(99, None)
                for version in work[Datasets].versions(dataset.id)
                if version.replaced_by is None and set(version.classes) in map(set, LESSONS)
            ]

    def manifest(self, version: DatasetVersion) -> Manifest:
        """The manifest of a dataset version; each is read once."""
        if version.manifest not in self._manifests:
            self._manifests[version.manifest] = read_manifest(self.artifacts, version.manifest)
        return self._manifests[version.manifest]

    def models(self) -> Sequence[Model]:
        """Oldest first."""
        with self.reading() as work:
            return sorted(work[Models].page(99, None), key=lambda model: model.name)

    def jobs(self) -> Sequence[Job]:
        """All jobs ever, oldest first."""
        with self.reading() as work:
            return work[Jobs].page(10_000, None)[::-1]

    def versions(self, model: Model) -> Sequence[Version]:
        """Oldest first."""
        with self.reading() as work:
            return work[Versions].all(model.id)

    def erasures(self) -> Sequence[Erasure]:
        """Oldest first."""
        with self.reading() as work:
            return work[Erasures].page(99, None)

    def spares(self) -> Sequence[tuple[DatasetVersion, str]]:
        """Dataset versions that nobody learns from, each with images of one class."""
        with self.reading() as work:
            frozen = [
                version
                for dataset in work[Datasets].page(99, None)
                for version in work[Datasets].versions(dataset.id)
            ]
        return [
            (one, one.classes[0])
            for one in frozen
            if len(one.classes) == 1 and one.replaced_by is None
        ]

    def alias(self, model: Model, name: str = ALIAS) -> tuple[Alias | None, Sequence[AliasMove]]:
        with self.reading() as work:
            return work[Aliases].find(model.id, name), work[Aliases].history(model.id, name)

    def claim_of(self, process: Process) -> Job | None:
        """The job that a process has claimed and not given back, whoever holds it now."""
        with self.reading() as work:
            held = work[Jobs].held(process.name)
            return work[Jobs].get(held[0].id) if held else None


@contextmanager
def quick_and_repeatable() -> Iterator[None]:
    """No waiting for disks, and phases last as long in every run."""
    ticks = iter(range(1_000_000_000))
    time = SimpleNamespace(monotonic=lambda: next(ticks) * 0.3)
    with mock.patch("os.fsync"), mock.patch("core.jobs.monitor.time", time):
        yield


@cache
def _template() -> Path:
    """A service with a suite, a policy, lessons and a model, to copy."""
    folder = Path(tempfile.mkdtemp(prefix="perennial-machine-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    migrate(_url(folder))
    transactions = SteppedTransactions(_url(folder))
    scene = Scene(transactions, SteppedArtifacts(folder / "artifacts"))
    asked = scene.frozen(*SKY, each=6, offset=1000)
    for number, lesson in enumerate(LESSONS):
        scene.frozen(*lesson, each=8, offset=100 * number, forms=1000)  # each its own bytes
    for number, (name, _) in enumerate((("sun", ""), ("mug", ""), ("sun", ""), *LESSONS)):
        scene.frozen(name, each=6, offset=1400 + 20 * number)
    model = scene.model("m0")
    scene.suite(model, asked, SUITE)
    scene.suite(model, scene.frozen(*KITCHEN, each=6, offset=1200), "more")
    limits = [f"{what}_tolerance" for what in ("parent", "root", "holdout", "settled", "swallow")]
    judged_by(scene, model, name=LOOSE, wanted_gain=-1.0, **dict.fromkeys(limits, 1.0))
    judged_by(scene, model, name=POLICY, alpha=0.1, **dict.fromkeys(limits, 0.25))
    configure_model(scene.platform, model.name, suites=[SUITE], policy=POLICY, reason="a test")
    transactions.close()
    return folder


def _url(folder: Path) -> str:
    return f"sqlite:///{folder / 'perennial.db'}"
