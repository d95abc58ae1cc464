"""Which group an arriving image joins, for ever."""

from typing import Any

import pytest
from sqlalchemy import event, text

from core.database.engine import open_engine
from core.database.work import Transactions
from core.datasets.edit import create_dataset
from core.datasets.freeze import freeze_version
from core.datasets.manifests import Manifest, ManifestEntry, Part, Side, part_of
from core.datasets.receive import record, record_uploads, search_uploads
from core.datasets.rows import Datasets, keep_images
from core.datasets.rules import Dataset, DatasetKind, Image, SuiteKind
from core.datasets.suites import create_suite
from core.datasets.thumbnail_rows import ThumbnailCache, Thumbnails
from core.datasets.uploads import Receipt, Upload
from core.datasets.version_rows import Suites
from core.values import Digest
from tests.support.factories import NOW, a_suite, an_image, digest, pixels_on
from tests.support.scene import Scene


@pytest.fixture
def dataset(scene: Scene) -> Dataset:
    return create_dataset(scene.platform, "pets", DatasetKind.LABELLED)


def looking(pixels: Digest, level: int) -> Upload:
    """An image of one grey."""
    thumbnail = bytes([level] * 192).hex()
    return Upload(text="cat", file_label="a.png", image=an_image(pixels), thumbnail=thumbnail)


def sent(scene: Scene, dataset: Dataset, *uploads: Upload) -> list[Receipt]:
    return record_uploads(scene.platform, dataset, uploads)


def test_image_that_comes_back_stays_where_it_was(scene: Scene, dataset: Dataset) -> None:
    train, holdout = pixels_on(Side.TRAIN, 1)[0], pixels_on(Side.HOLDOUT, 1)[0]
    sent(scene, dataset, looking(train, 100), looking(holdout, 103))
    other = create_dataset(scene.platform, "others", DatasetKind.LABELLED)
    again = sent(scene, other, looking(holdout, 103), looking(train, 100))
    assert [(one.pixels, one.side) for one in again] == [
        (holdout, Side.TRAIN),
        (train, Side.TRAIN),
    ]


def test_look_alike_of_a_look_alike_joins_the_same_group(scene: Scene, dataset: Dataset) -> None:
    first, *later = pixels_on(Side.TRAIN, 3)
    uploads = [
        looking(pixels, level)
        for pixels, level in zip([first, *later], (100, 104, 108), strict=True)
    ]
    receipts = sent(scene, dataset, *uploads)
    assert [one.near_duplicate_of for one in receipts] == [None, first, first]


def test_image_that_looks_like_both_sides_is_refused(scene: Scene, dataset: Dataset) -> None:
    train, between = pixels_on(Side.TRAIN, 2)
    (holdout,) = pixels_on(Side.HOLDOUT, 1)
    receipts = sent(
        scene, dataset, looking(train, 100), looking(holdout, 108), looking(between, 104)
    )
    assert [one.side for one in receipts] == [Side.TRAIN, Side.HOLDOUT, None]
    refusal = receipts[2].to_json()["error"]
    assert refusal["code"] == "split_conflict"
    with scene.platform.transactions(read_only=True) as work:
        assert work[Datasets].count(dataset.id) == {"cat": 2}
        assert work[Thumbnails].originals([between]) == {}


def test_image_that_looks_like_a_suites_and_like_another_more_is_not_learned_from(
    scene: Scene, dataset: Dataset
) -> None:
    asked, other, between = [one for one in pixels_on(Side.TRAIN, 20) if part_of(one) is Part.TEST][
        :3
    ]
    exam = create_dataset(scene.platform, "exam", DatasetKind.LABELLED)
    sent(scene, exam, looking(asked, 100))
    version = freeze_version(scene.platform, exam.id)
    create_suite(
        scene.platform,
        name="asked",
        kind=SuiteKind.ZERO_SHOT,
        dataset=exam.id,
        dataset_version=version.number,
    )
    receipts = sent(scene, dataset, looking(other, 108), looking(between, 105))
    assert [one.refusal and one.refusal.code for one in receipts] == [None, "image_in_suite"]


def test_what_came_after_the_search_is_seen_as_well(scene: Scene, dataset: Dataset) -> None:
    first, second = pixels_on(Side.TRAIN, 2)
    later = looking(second, 103)
    searched = search_uploads(scene.platform, [later])
    sent(scene, dataset, looking(first, 100))
    with scene.platform.transactions() as work:
        (copy,) = record(work, dataset, [later], searched, NOW)
        work.commit()
    assert (copy.near_duplicate_of, copy.side) == (first, Side.TRAIN)


def test_search_reads_only_what_came_since_the_last_one(
    scene: Scene, dataset: Dataset, transactions: Transactions
) -> None:
    uploads = [
        looking(pixels, level)
        for pixels, level in zip(pixels_on(Side.TRAIN, 3), (100, 150, 200), strict=True)
    ]
    sent(scene, dataset, *uploads[:2])
    known = search_uploads(scene.platform, uploads)
    asked: list[object] = []

    @event.listens_for(transactions._engine, "before_cursor_execute")
    def note(_one: Any, _cursor: Any, statement: str, values: Any, *_rest: Any) -> None:
        if "thumbnails.thumbnail" in statement:
            asked.extend(values.values() if isinstance(values, dict) else values)

    again = search_uploads(scene.platform, uploads)
    assert asked == [known.position]
    assert again == known
    sent(scene, dataset, uploads[2])
    asked.clear()
    later = search_uploads(scene.platform, uploads)
    assert asked == [known.position]
    assert later.position > known.position
    assert [len(found) for found in later.known.values()] == [1, 1, 1]


def test_search_does_not_find_what_was_rolled_back(scene: Scene, dataset: Dataset) -> None:
    one = looking(pixels_on(Side.TRAIN, 1)[0], 100)
    searched = search_uploads(scene.platform, [one])
    with scene.platform.transactions() as work:
        record(work, dataset, [one], searched, NOW)
        assert work[Thumbnails].all().near(one.thumbnail)
    assert search_uploads(scene.platform, [one]) == searched


ROWS = 5000

EXPLAIN = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN "}


def images_in_groups_of(size: int) -> list[Image]:
    """ROWS images; the first of each group is its oldest."""
    return [
        an_image(digest(n), near_duplicate_of=digest(n - n % size) if n % size else None)
        for n in range(ROWS)
    ]


def test_asking_for_groups_never_reads_through_all_images(url: str) -> None:
    made = images_in_groups_of(3)
    entries = tuple(
        ManifestEntry(pixels=image.pixels, artifact=image.artifact, texts=("cat",))
        for image in made[1:]
    )
    engine = open_engine(url)
    asked: list[tuple[str, Any]] = []
    with engine.begin() as connection:
        keep_images(connection, made)
        Thumbnails(connection, ThumbnailCache()).add([(image, "00") for image in made])
        Suites(connection).add(a_suite(), Manifest(kind=DatasetKind.LABELLED, entries=entries))
        connection.execute(text("ANALYZE"))

        @event.listens_for(connection, "before_cursor_execute")
        def note(_one: Any, _cursor: Any, statement: str, values: Any, *_rest: Any) -> None:
            asked.append((statement, values))

        known = {made[0].group, made[-1].group}
        assert Suites(connection).contains({*known, digest("unknown")}) == known
        ((statement, values),) = asked
        rows = connection.exec_driver_sql(EXPLAIN[engine.dialect.name] + statement, values)
        plan = "\n".join(str(row) for row in rows)
    engine.dispose()
    for scan in ("SCAN suite_images", "SCAN thumbnails", "Seq Scan"):
        assert scan not in plan, plan
