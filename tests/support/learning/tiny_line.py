"""A service whose worker trains a minuscule CLIP for real, taught with images of noise."""

import gzip
import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Picture

from core import bootstrap
from core.backup.backup import back_up
from core.datasets.freeze import freeze
from core.datasets.manifests import Side, side_of
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetVersion, Image
from core.datasets.thumbnail_rows import Thumbnails
from core.gate.policies import ensure_default_policy
from core.jobs.rules import Job
from core.learning.trainer import UpdateTrainer
from core.recipes.fields import Method, Precision
from core.recipes.rules import Recipe
from core.values import Digest, sha256
from tests.support.api.seeds import a_root
from tests.support.api.service import settings_of
from tests.support.factories import NOW, a_dataset, a_row
from tests.support.learning.tiny_clip import stored, tiny_clip
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
    out = io.BytesIO()
    Picture.fromarray(pixels).save(out, "WEBP", lossless=True)
    return out.getvalue()


def images_on(side: Side, first: int, number: int) -> list[bytes]:
    """Images of one side, whose pixels are told by their bytes."""
    found = (noise(seed) for seed in count(first))
    chosen: list[bytes] = []
    while len(chosen) < number:
        data = next(found)
        if side_of(sha256(data)) is side:
            chosen.append(data)
    return chosen


class TinyService(Scene):
    """A service in a home of its own; its updates train, its evaluations are scripted."""

    def __init__(self, home: Path) -> None:
        self.settings = settings_of(home)
        bootstrap.migrate(self.settings)
        built = bootstrap.build(self.settings)
        super().__init__(built.transactions, built.artifacts)
        ensure_default_policy(self.platform)
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
                work[Datasets].add_image(replace(a_row(dataset, image.pixels, name), image=image))
                work[Thumbnails].add([(image, thumbnail(data))])
            version = freeze(work, self.platform.artifacts, dataset, NOW)
            work.commit()
        return version

    def teach(self, name: str, lessons: Sequence[DatasetVersion]) -> list[Digest]:
        """Teach a new model lesson by lesson; the digests of its versions."""
        root = stored(tiny_clip(), self.platform.artifacts)
        model = a_root(self.platform, name, weights=root)
        for seed, (lesson, (_, method)) in enumerate(zip(lessons, LESSONS, strict=True)):
            self.learn(model, lesson, parent=seed + 1, recipe=recipe(method, seed))
        return [version.digest for version in self.versions(model)]

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
