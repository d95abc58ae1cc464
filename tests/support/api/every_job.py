"""Jobs of every type, ordered as clients order them, and brought to each of their ends.

What needs torch is scripted; every result is what the type's own handler writes.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from core.datasets.rules import DatasetVersion
from core.errors import OutOfMemory
from core.job_types.handlers import Tools
from core.job_types.run import run_next_job
from core.jobs.monitor import JobMonitor
from core.jobs.orders import JobType
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus
from core.registry.versions import Model
from core.values import JobId
from perennial.client import Client
from perennial.requests import ImageFile
from tests.support.api.archives import zipped
from tests.support.api.image_files import picture
from tests.support.api.seeds import a_candidate, a_root, some_weights
from tests.support.api.served import Served
from tests.support.evaluation.judged import judged_by
from tests.support.scene import Scene
from tests.support.tools import tools_of

MODEL, COPY, PICTURES = "pets", "copy", "pictures"

Look = Callable[[str, JobStatus], object]  # at a job, by its id, and its status

Order = Callable[["Shop", int], str]  # the id of the job; each number orders another thing


ENDS = (JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.SUCCEEDED)


@dataclass
class Shop:
    """A service with what jobs of every type need."""

    served: Served
    scene: Scene
    folder: Path
    model: Model
    kept: DatasetVersion  # of a suite
    to_teach: DatasetVersion  # with classes that nobody knows
    pixels: list[str]  # that may be erased
    tools: Tools
    jobs: dict[tuple[JobType, JobStatus], list[str]] = field(default_factory=dict)

    @property
    def client(self) -> Client:
        return self.served.client

    def file(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def bundle(self) -> Path:
        """A signed bundle of version 2."""
        path = self.folder / "bundle.tar"
        if not path.exists():
            self.client.exports.order(MODEL, 2, "bundle")
            self.work()
            self.client.exports.download(MODEL, 2, "bundle", to=path)
        return path

    def work(self) -> None:
        platform, tools = self.served.platform, self.tools
        assert run_next_job(platform, tools, owner="w", stopping=lambda: False) is not None


@contextmanager
def a_shop(served: Served, folder: Path) -> Iterator[Shop]:
    """A service with a model whose version 2 forgot its suite, and one that has its root alone."""
    scene = Scene(served.platform.transactions, served.platform.artifacts)
    model = scene.model(MODEL)
    a_root(served.platform, COPY)
    judged_by(scene, model, holdout_tolerance=0.5)
    kept = scene.frozen("cat", "dog", each=40, offset=100)
    scene.suite(model, kept, "kept")
    scene.script.wrong.add(some_weights(served.platform, 101).digest)  # what is trained first
    scene.update(model, scene.frozen("owl", "elk", offset=200, forms=10_000))
    assert scene.run().status is JobStatus.SUCCEEDED
    scene.script.wrong.add(scene.version(model, 1).digest)  # whoever learns more now has gained
    to_teach = scene.frozen("ant", "bee", offset=220)
    served.client.datasets.create(PICTURES)
    files = [("cup", ImageFile(file_name=f"{n}.png", data=picture(900 + n))) for n in range(6)]
    pixels = [one["pixels"] for one in served.client.datasets.upload(PICTURES, files)]
    shop = Shop(
        served=served,
        scene=scene,
        folder=folder,
        model=model,
        kept=kept,
        to_teach=to_teach,
        pixels=[*filter(None, pixels)],
        tools=tools_of(scene.script, served.platform.settings),
    )
    scene.script.embedder.lost = 0.03
    yield shop
    shop.tools.decoder.close()


def _update(shop: Shop) -> str:
    data = shop.to_teach
    job = shop.client.jobs.order_update(
        model=MODEL, dataset=data.dataset, dataset_version=data.number
    )
    return job["id"]


def _evaluate(shop: Shop) -> str:
    version = a_candidate(shop.served.platform, shop.model)  # which has not been asked yet
    return shop.client.jobs.order_evaluation(model=MODEL, version=version.number)["id"]


def _import_images(shop: Shop, number: int) -> str:
    files = {f"mug/{seed}.png": picture(950 + 2 * number + seed) for seed in range(2)}
    archive = shop.file(f"{number}.zip", zipped(files | {"mug/none.png": b"no image"}))
    return shop.client.datasets.import_images(PICTURES, archive)["id"]


def _blame(shop: Shop) -> str:
    return shop.client.jobs.order_blame(model=MODEL, version=2, by="random", groups=2)["id"]


def _reembed(shop: Shop) -> str:
    return shop.client.vectors.order(MODEL, 2, shop.kept.dataset, shop.kept.number)["id"]


def _erase(shop: Shop, pixels: str) -> str:
    return shop.client.erasures.order([pixels], reason="asked for", retrain="none")["job"]


ORDERS: Mapping[JobType, Order] = {
    JobType.IMPORT: lambda shop, n: shop.client.models.create(f"made-{n}")["id"],
    JobType.UPDATE: lambda shop, _: _update(shop),
    JobType.EVALUATE: lambda shop, _: _evaluate(shop),
    JobType.IMPORT_IMAGES: _import_images,
    JobType.BLAME: lambda shop, _: _blame(shop),
    JobType.EXPORT: lambda shop, _: shop.client.exports.order(MODEL, 2, "onnx")["id"],
    JobType.IMPORT_VERSION: lambda shop, _: shop.client.bundles.send(COPY, shop.bundle())["id"],
    JobType.COMPARE_INDEX: lambda shop, _: shop.client.vectors.compare(MODEL, 2)["id"],
    JobType.REEMBED: lambda shop, _: _reembed(shop),
    JobType.ERASE: lambda shop, n: _erase(shop, shop.pixels[n]),
}


def bring_to_every_end(shop: Shop, look: Look) -> None:
    """Order jobs of every type, bring one to each end, and look at them whenever they change."""
    for job_type, order in ORDERS.items():
        for number, end in enumerate(ENDS):
            _bring(shop, job_type, order(shop, number), end, look)


def _bring(shop: Shop, job_type: JobType, job: str, end: JobStatus, look: Look) -> None:
    look(job, JobStatus.QUEUED)
    with _reporting(lambda: _reach(shop, job, end, look)):
        shop.work()
    with shop.served.platform.transactions(read_only=True) as work:
        ended = work[Jobs].get(JobId(job))
    assert (ended.type, ended.status) == (job_type, end), ended
    look(job, end)
    shop.jobs.setdefault((job_type, end), []).append(job)


def _reach(shop: Shop, job: str, end: JobStatus, look: Look) -> None:
    """Do to a job that reports progress what leads to its end."""
    look(job, JobStatus.RUNNING)
    if end is JobStatus.FAILED:
        raise OutOfMemory
    if end is JobStatus.CANCELLED:
        shop.client.jobs.cancel(job)
        look(job, JobStatus.CANCELLING)


@contextmanager
def _reporting(do: Callable[[], object]) -> Iterator[None]:
    """Do something when the next job has reported its progress for the first time."""
    advance, done = JobMonitor.advance, False

    def advance_and_do(self: JobMonitor, *given: Any, **named: Any) -> None:
        nonlocal done
        advance(self, *given, **named)
        if not done:
            done = True
            do()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JobMonitor, "advance", advance_and_do)
        yield
