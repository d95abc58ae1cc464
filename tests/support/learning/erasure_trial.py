"""A line of three updates, one image of it erased, and a control that never had the image."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.backup.backup import restore
from core.datasets.manifests import Side
from core.erasure.order import certify, order_erasure
from core.erasure.rules import Retraining
from core.jobs.queue import JobRequest
from core.jobs.rules import Job
from core.registry.rows import Models, Versions
from core.registry.versions import Version
from core.values import Digest, sha256
from tests.support.factories import TESTER
from tests.support.learning.tiny_line import LESSONS, TinyService, files_with, images_on, thumbnail
from tests.support.notifiers import SilentNotifier

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
    tiny = TinyService(home / "home")
    try:
        taught = [
            images_on(Side.TRAIN, first + 1000 * number, TRAINING_IMAGES)
            + images_on(Side.HOLDOUT, first + 1000 * number, 2)
            for number in range(1, 4)
        ]
        classes = [names for names, _ in LESSONS]
        lessons = [tiny.lesson(*one) for one in zip(classes, taught, strict=True)]
        tiny.teach("demo", lessons)
        gone = taught[lesson][image]
        held = (gone, thumbnail(gone).encode())
        tiny.back_up(home / "back-up")
        files_before = files_with(home, *held)
        shutil.copytree(home / "back-up", home / "older")
        erasure = order_erasure(
            tiny.platform,
            SilentNotifier(),
            JobRequest(principal=TESTER),
            images=[sha256(gone)],
            reason="asked for",
            retraining=Retraining.ALL,
        )
        jobs = [tiny.run() for _ in range(1 + len(LESSONS) - lesson)]
        names = [classes[lesson][place % 2] for place in range(len(taught[lesson]))]
        left = [one for one in taught[lesson] if one != gone]
        lessons[lesson] = tiny.lesson(names[:image] + names[image + 1 :], left)
        control = tiny.teach("control", lessons)
        with tiny.platform.transactions(read_only=True) as work:
            versions = work[Versions].all(work[Models].get("demo").id)
        certificate = certify(tiny.platform, erasure.id)
        tiny.back_up(home / "back-up")
        restore(tiny.settings, home / "older", artifacts_only=True)
    finally:
        tiny.close()
    shutil.rmtree(home / "older")
    return Trial(
        jobs=jobs,
        versions=versions,
        control=control[1:],
        certificate=certificate,
        files_before=files_before,
        files=files_with(home, *held),
    )
