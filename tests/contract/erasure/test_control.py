"""A line that is trained again after an erasure is the line that never had the image."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.domain.datasets.split import Side
from core.domain.erasure.erasure import Retraining
from core.domain.erasure.status import ErasureStatus
from core.domain.jobs.job import JobStatus
from core.domain.registry.version import Version
from core.domain.values import sha256
from core.use_cases.erasure.certify import certify
from core.use_cases.erasure.order_erasure import order_erasure
from core.use_cases.jobs.queue import JobRequest
from tests.support.factories import TESTER
from tests.support.learning.tiny_line import (
    LESSONS,
    TinyService,
    files_with,
    images_on,
    thumbnail,
)
from tests.support.silent_notifier import Silence


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[TinyService]:
    service = TinyService(tmp_path / "home")
    yield service
    service.close()


def test_a_line_without_an_erased_image_is_the_line_that_never_had_it(
    tiny: TinyService, tmp_path: Path
) -> None:
    taught = [
        images_on(Side.TRAIN, 1000 * number, 7) + images_on(Side.HOLDOUT, 1000 * number, 2)
        for number in range(1, 4)
    ]
    classes = [names for names, _ in LESSONS]
    lessons = [tiny.lesson(*one) for one in zip(classes, taught, strict=True)]
    before = tiny.teach("demo", lessons)
    image = taught[0][2]
    held = (image, thumbnail(image).encode())
    tiny.back_up(tmp_path / "back-up")
    assert {path.parts[-4] for path in files_with(tmp_path, image)} == {"home", "back-up"}
    assert files_with(tmp_path / "home", held[1])

    erasure = order_erasure(
        tiny.platform,
        Silence(),
        JobRequest(principal=TESTER),
        images=[sha256(image)],
        reason="asked for",
        retraining=Retraining.ALL,
    )
    jobs = [tiny.run() for _ in range(1 + len(LESSONS))]
    assert [job.status for job in jobs] == [JobStatus.SUCCEEDED] * 4, [job.error for job in jobs]

    left = [one for one in taught[0] if one != image]
    names = [classes[0][index % 2] for index in range(len(taught[0])) if index != 2]
    controls = [tiny.lesson(names, left), *lessons[1:]]
    control = tiny.teach("control", controls)
    with tiny.platform.transactions(read_only=True) as work:
        model = work.models.get("demo")
    versions = tiny.versions(model)
    assert [version.replaces for version in versions] == [None] * 4 + [2, 3, 4]
    assert [version.digest for version in versions[4:]] == control[1:]
    assert set(control[1:]).isdisjoint(before)
    assert [_kept(version) for version in versions[4:]] == [_kept(one) for one in versions[1:4]]

    certificate = certify(tiny.platform, erasure.id)
    assert certificate["status"] is ErasureStatus.DONE
    assert [one["digest_after"] for one in certificate["versions"]] == control[1:]
    assert all(one["exact"] for one in certificate["versions"])
    assert [one["in_store"] for one in certificate["images"]] == [False]

    tiny.back_up(tmp_path / "back-up")
    tiny.close()
    assert files_with(tmp_path, *held) == []


def _kept(version: Version) -> object:
    """What a repetition has in common with what it repeats."""
    return version.recipe, version.classes, version.prompt, version.environment
