"""A line of updates that train a minuscule CLIP, and a control that never had an erased image."""

import gzip
import shutil
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Picture

from core import bootstrap
from core.backup.backup import back_up, restore
from core.datasets.freeze import freeze
from core.datasets.manifests import Side
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetVersion, Image
from core.datasets.thumbnail_rows import PlacedGroups, Thumbnails, ensure_split
from core.erasure.order import certify
from core.gate.policies import ensure_default_policy
from core.jobs.rules import Job
from core.learning.trainer import UpdateTrainer
from core.recipes.fields import Method, Precision
from core.recipes.rules import Recipe
from core.registry.versions import Model, Version
from core.values import Digest, sha256
from tests.support.api.seeds import a_root
from tests.support.api.service import settings_of
from tests.support.erasures import order
from tests.support.factories import NOW, a_dataset, a_row, by_hash, side_of
from tests.support.learning.tiny_clip import stored, tiny_clip
from tests.support.pictures import encode
from tests.support.scene import Scene
from tests.support.tools import run_next

# Features of the first update stand for its images in the second, exemplars of both in the third.
LESSONS = (
    (("cat", "dog"), Method.VRLWF_FEATURES),
    (("owl", "elk"), Method.VRLWF_FEATURES),
    (("ant", "bee"), Method.REPLAY),
)

GZIP = b"\x1f\x8b"


def recipe(method: Method, seed: int) -> Recipe:
    return Recipe(
        method=method,
        epochs=1,
        batch_size=4,
        learning_rate=3e-3,
        sentences=4,
        sentence_length=6,
        feature_replay=8 if method is Method.VRLWF_FEATURES else 0,
        precision=Precision.FP32,
        seed=seed,
    )


def noise(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(256, size=(18, 20, 3), dtype=np.uint8)
    return encode(Picture.fromarray(pixels), "WEBP", lossless=True)


def images_on(side: Side, first: int, number: int) -> list[bytes]:
    """Images of one side, whose pixels are told by their bytes."""
    found = (data for data in map(noise, count(first)) if side_of(sha256(data)) is side)
    return list(islice(found, number))


class TinyService(Scene):
    """A service in a home of its own; its updates train, its evaluations are scripted."""

    def __init__(self, home: Path) -> None:
        self.settings = settings_of(home)
        bootstrap.migrate(self.settings)
        built = bootstrap.build(self.settings)
        super().__init__(built.transactions, built.artifacts)
        ensure_default_policy(self.platform)
        ensure_split(self.platform)
        self.trainer = UpdateTrainer(built.artifacts, device=torch.device("cpu"), threads=1)

    def close(self) -> None:
        """Close the database, which writes its log into its file."""
        bootstrap.close(self.platform)

    def lesson(self, classes: Sequence[str], images: Sequence[bytes]) -> DatasetVersion:
        """A dataset version of images, given to the classes in turn, with their thumbnails."""
        dataset = a_dataset()
        with self.platform.transactions() as work:
            work[Datasets].add(dataset)
            for data, name in zip(images, list(classes) * len(images), strict=False):
                digest = self.platform.artifacts.put(data)
                image = Image(pixels=digest, artifact=digest, width=20, height=18, size=len(data))
                row = replace(a_row(dataset, image.pixels, name), image=image)
                work[Datasets].add_images(dataset.id, [row])
                work[Thumbnails].add([(image, thumbnail(data))])
            work[PlacedGroups].add(by_hash(map(sha256, images)))
            version = freeze(work, self.platform.artifacts, dataset, NOW)
            work.commit()
        return version

    def teach(self, name: str, lessons: Sequence[DatasetVersion]) -> Model:
        """Teach a new model lesson by lesson."""
        root = stored(tiny_clip(), self.platform.artifacts)
        model = a_root(self.platform, name, weights=root)
        for seed, (lesson, (_, method)) in enumerate(zip(lessons, LESSONS, strict=True)):
            self.learn(model, lesson, parent=seed + 1, recipe=recipe(method, seed))
        return model

    def run(self) -> Job:
        return self.job(run_next(self.platform, self.script, trainer=self.trainer))

    def back_up(self, folder: Path) -> None:
        assert not back_up(self.settings, folder).artifacts.lost


def thumbnail(data: bytes) -> str:
    """Return a stand-in for a thumbnail: a text of its length that depends on the image."""
    return "".join(sha256(data[index:]) for index in range(6))


def files_with(folder: Path, *wanted: bytes) -> list[Path]:
    """The files below a folder that hold one of some bytes, also those that are gzipped."""
    found = []
    for path in folder.rglob("*"):
        with suppress(IsADirectoryError):
            data = path.read_bytes()
            if data.startswith(GZIP):
                data = gzip.decompress(data)
            found += [path] if any(one in data for one in wanted) else []
    return found


TRAINING_IMAGES = 7  # of each update


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The outcome of an erasure."""

    jobs: Sequence[Job]  # the erasure's, then the updates'
    versions: Sequence[Version]  # of the line, oldest first: a root, three, and what replaces them
    control: Sequence[Digest]  # of the control's versions after the root
    certificate: dict[str, Any]
    files_before: Sequence[Path]  # that held the image's bytes or its thumbnail, back-up included
    files: Sequence[Path]  # that hold them still

    @property
    def marked(self) -> list[Version]:
        """The versions that learned from the image."""
        return [version for version in self.versions if version.erasure is not None]

    @property
    def replacing(self) -> list[Version]:
        """The versions that replace them."""
        return [version for version in self.versions if version.replaces is not None]

    @property
    def equal(self) -> bool:
        """True if the line has the control's digests, by itself and by its certificate."""
        wanted = list(self.control[-len(self.marked) :])
        stated = [one["digest_after"] for one in self.certificate["versions"]]
        return [version.digest for version in self.replacing] == wanted == stated


def erase_and_compare(home: Path, *, lesson: int, image: int, first: int = 0) -> Trial:
    """Erase an image of a lesson; what is there afterwards, compared with a control.

    Lessons, from 0, have images of noise that depends on `first`. In the end, artifacts are
    restored from a back-up that was made before.
    """
    with closing(TinyService(home / "home")) as tiny:
        taught = [
            images_on(Side.TRAIN, first + 1000 * number, TRAINING_IMAGES)
            + images_on(Side.HOLDOUT, first + 1000 * number, 2)
            for number in range(1, 4)
        ]
        classes = [names for names, _ in LESSONS]
        lessons = [tiny.lesson(*one) for one in zip(classes, taught, strict=True)]
        model = tiny.teach("demo", lessons)
        gone = taught[lesson][image]
        held = (gone, thumbnail(gone).encode())
        tiny.back_up(home / "back-up")
        files_before = files_with(home, *held)
        shutil.copytree(home / "back-up", home / "older")
        erasure = order(tiny, sha256(gone))
        jobs = [tiny.run() for _ in range(1 + len(LESSONS) - lesson)]
        names = [classes[lesson][place % 2] for place in range(len(taught[lesson]))]
        left = [one for one in taught[lesson] if one != gone]
        lessons[lesson] = tiny.lesson(names[:image] + names[image + 1 :], left)
        _, *control = tiny.versions(tiny.teach("control", lessons))
        versions = tiny.versions(model)
        certificate = certify(tiny.platform, erasure.id)
        tiny.back_up(home / "back-up")
        restore(tiny.settings, home / "older", artifacts_only=True)
    shutil.rmtree(home / "older")
    return Trial(
        jobs=jobs,
        versions=versions,
        control=[version.digest for version in control],
        certificate=certificate,
        files_before=files_before,
        files=files_with(home, *held),
    )
