"""A line of updates over HTTP, and its judgement by images that no verdict saw."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.lifetime.__main__ import best_joint, judged
from benchmarks.lifetime.judged import Ask
from benchmarks.lifetime.line import MODEL, Lifetime
from benchmarks.lifetime.material import KEPT, Material, read_material
from benchmarks.output import NullMonitor
from core.bootstrap import decoder
from core.datasets.manifests import Side
from core.evaluation.answers import Answers, ClassAnswers
from core.evaluation.queries import ClassQuery, EvalQuery
from core.values import Digest
from tests.support.api.image_files import picture, pictures_on
from tests.unit.client.commands.conftest import LENIENT, Site, a_site

CLASSES = ("ant", "bee", "cow", "dog", "elk", "fox", "gnu")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with a_site(tmp_path_factory.mktemp("lifetime"), "other") as made:
        yield made


def material() -> Material:
    """Seven classes, with images on both sides, and a suite."""
    sides = [iter(pictures_on(side, 12 * len(CLASSES))) for side in (Side.TRAIN, Side.HOLDOUT)]
    named = [(f"thing {n}", picture(500 + n)) for n in range(20)]
    return Material(
        taught={name: [next(side) for side in sides for _ in range(12)] for name in CLASSES},
        kept=[
            (name, picture(700 + 10 * n + k)) for n, name in enumerate(CLASSES) for k in range(9)
        ],
        named=named[4:],
        captioned=named[4:],
        kept_named=named[:4],
        kept_captioned=named[:4],
    )


def test_a_line_goes_on_where_it_was_killed_and_is_judged_by_kept_images(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: dict[Digest | None, int] = {site.learner.root: 3}

    def learning(version: Digest) -> int:
        """Each update is right about more than the one before."""
        return known.setdefault(version, min(10, 4 * len(known) + 2))

    monkeypatch.setattr(site.learner, "tenths_known", learning)
    images = material()
    lifetime = Lifetime(
        client=site.client,
        material=images,
        base="bundled",
        recipe={},
        policy={"minimum_count": 1, "alpha": 0.2, **dict.fromkeys(LENIENT, 0.2)},
        joint_epochs=(1, 2),
    )
    first = next(lifetime.updates())  # and no more, as if it was killed
    lines = {"updates": list(lifetime.updates()), "joint": list(lifetime.joint()), "judged": []}
    assert lines["updates"][0] == first
    rows = [(row["version"], row["taught"], row["moved"]) for row in lines["updates"]]
    assert rows == [(2, "ant, bee, cow, dog, elk", True), (3, "fox", True), (4, "gnu", False)]
    assert best_joint(lines)["version"] in {5, 6}

    ask: Ask = partial(site.learner.answer, monitor=NullMonitor())
    assert "failed" not in verdicts(site, ask, images, lines)

    def swallowed(digest: Digest, queries: Sequence[EvalQuery]) -> Sequence[Answers]:
        """Version 3 answers its newest class wherever that is on the list."""
        given = ask(digest, queries)
        if digest != site.client.versions.get(MODEL, 3)["digest"]:
            return given
        return [newest(query, one) for query, one in zip(queries, given, strict=True)]

    assert verdicts(site, swallowed, images, lines)[-1] == "failed"


def newest(query: EvalQuery, given: Answers) -> Answers:
    if isinstance(query, ClassQuery) and "fox" in query.classes:
        return ClassAnswers(predicted=(query.classes.index("fox"),) * len(query.entries))
    return given


def verdicts(site: Site, ask: Ask, images: Material, lines: dict[str, Any]) -> list[str]:
    with closing(decoder(site.platform.settings)) as reading:
        rows = list(judged(site.platform, reading, ask, images, lines))
    assert [row["version"] for row in rows] == [1, 2, 3, 5, 6]
    assert rows[-1]["UT-Acc images"] == 9 * len(CLASSES)
    return [row["judged"] for row in rows if "judged" in row]


def test_a_fifth_of_all_images_is_never_uploaded(tmp_path: Path) -> None:
    for n in range(60):
        place = tmp_path / "shapes" / ("train", "test")[n % 2] / ("disc", "ring")[n // 30]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{n}.png").write_bytes(picture(n % 55))  # five are there twice
    asked: dict[str, Any] = {"classes": 2, "per_class": 20, "suite": 50}
    found = read_material(["shapes"], tmp_path, tmp_path, seed=1, **asked)
    kept = {data for _, data in found.kept}
    taught = {data for images in found.taught.values() for data in images}
    assert [len(images) for images in found.taught.values()] == [16, 16]
    assert 6 <= len(kept) <= 20 // KEPT * 2
    assert not kept & taught
    assert (len(found.kept_named), len(found.named)) == (10, 40)
    assert not set(found.kept_named) & set(found.named)
    assert [data for _, data in found.captioned] == [data for _, data in found.named]
    other = read_material(["shapes"], tmp_path, tmp_path, seed=2, **asked)
    assert {data for _, data in other.kept} != kept
