"""Images get a side by freezing, and keep it everywhere."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy import delete

from core.database.tables import split_key
from core.datasets.edit import create_dataset, move_images, remove_images
from core.datasets.freeze import freeze_version, read_manifest
from core.datasets.manifests import Manifest, Part, Side, Split
from core.datasets.receive import record_uploads
from core.datasets.rows import Datasets
from core.datasets.rules import Dataset, DatasetKind
from core.datasets.thumbnail_rows import Splits, ensure_split
from core.datasets.uploads import Receipt, Upload
from core.settings import Settings
from core.values import Digest
from tests.support.factories import an_image, digest, part_of, pixels_on, side_of
from tests.support.scene import Scene

# Of chance alone, 29 of 80 would be held out.
HELD = pixels_on(Side.HOLDOUT, 29)
PIXELS = [*pixels_on(Side.TRAIN, 51), *HELD]


def a_draft(scene: Scene, name: str, pixels: Sequence[Digest], text: str = "cat") -> Dataset:
    dataset = create_dataset(scene.platform, name, DatasetKind.LABELLED)
    send(scene, dataset, *(upload(one, text=text) for one in pixels))
    return dataset


def upload(pixels: Digest, level: int | None = None, text: str = "cat") -> Upload:
    """An image of one grey, or one that looks like no other."""
    seen = bytes([level] * 192).hex() if level is not None else digest(f"seen {pixels}") * 6
    return Upload(text=text, file_label="a.png", image=an_image(pixels), thumbnail=seen)


def send(scene: Scene, dataset: Dataset, *uploads: Upload) -> list[Receipt]:
    return record_uploads(scene.platform, dataset, uploads)


def frozen(scene: Scene, dataset: Dataset) -> Manifest:
    version = freeze_version(scene.platform, dataset.id)
    return read_manifest(scene.platform.artifacts, version.manifest)


def held_out(manifest: Manifest) -> set[Digest]:
    return {entry.pixels for entry in manifest.on(Side.HOLDOUT)}


def test_too_many_held_out_images_are_trained_on_and_stay_there(scene: Scene) -> None:
    pets = a_draft(scene, "pets", PIXELS)
    first = frozen(scene, pets)
    assert first.counts() == {"cat": {"train": 56, "holdout": 24}}
    assert held_out(first) < set(HELD)
    again = freeze_version(scene.platform, pets.id, if_changed=True)
    assert (again.number, again.counts) == (1, first.counts())
    send(scene, pets, *(upload(one) for one in pixels_on(Side.TRAIN, 151)[51:]))
    later = frozen(scene, pets)  # where all 29 would fit
    assert held_out(later) & set(PIXELS) == held_out(first)


def test_by_default_a_secret_of_the_installation_draws_sides_and_parts(scene: Scene) -> None:
    """It is made at the first start, and stays; who knows the digests cannot tell what it draws."""
    with scene.platform.transactions() as work:
        work.connection.execute(delete(split_key))
        work.commit()
    started = replace(scene.platform, settings=Settings(split="secret"))
    for _ in range(2):
        ensure_split(started)
    with scene.platform.transactions(read_only=True) as work:
        secret = work[Splits].get()
    assert (len(secret.key), Split().part_of(PIXELS[0])) == (64, part_of(PIXELS[0]))
    pixels = [digest(f"sent {number}") for number in range(200)]
    found = frozen(scene, a_draft(scene, "pets", pixels)).entries
    drawn = {entry.pixels: (entry.side, entry.part) for entry in found}
    assert drawn == {one: (secret.side_of(one), secret.part_of(one)) for one in pixels}
    assert sum(drawn[one] != (side_of(one), part_of(one)) for one in pixels) > 50
    ensure_split(replace(started, settings=scene.platform.settings))  # pinned too late
    with scene.platform.transactions(read_only=True) as work:
        assert work[Splits].get() == secret


def test_a_placed_image_is_on_its_side_in_every_dataset_and_class(scene: Scene) -> None:
    first = frozen(scene, a_draft(scene, "pets", PIXELS))
    moved = sorted(set(HELD) - held_out(first))
    others = a_draft(scene, "others", [*moved, *pixels_on(Side.TRAIN, 91)[51:]], "dog")
    assert held_out(frozen(scene, others)).isdisjoint(moved)
    with scene.platform.transactions() as work:
        work[Datasets].remove(others.id)
        work.commit()
    again = send(
        scene, create_dataset(scene.platform, "new", DatasetKind.LABELLED), upload(moved[0])
    )
    assert [one.side for one in again] == [Side.TRAIN]


def test_a_draft_places_nothing_and_its_receipts_name_no_side(scene: Scene) -> None:
    pets = create_dataset(scene.platform, "pets", DatasetKind.LABELLED)
    receipts = send(scene, pets, *(upload(one) for one in HELD))
    assert {one.side for one in receipts} == {None}
    move_images(scene.platform, pets.id, dict.fromkeys(HELD[:9], "dog"))
    remove_images(scene.platform, pets.id, HELD[9:19])
    sides = frozen(scene, pets).counts()
    assert sides == {"cat": {"train": 7, "holdout": 3}, "dog": {"train": 7, "holdout": 2}}


def test_images_that_another_dataset_places_meanwhile_keep_that_side(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    pets, others = a_draft(scene, "pets", PIXELS), a_draft(scene, "others", HELD, "dog")
    artifacts, put, first = scene.platform.artifacts, scene.platform.artifacts.put, []

    def put_late(data: bytes) -> Digest:
        monkeypatch.setattr(artifacts, "put", put)
        first.append(frozen(scene, others))
        return put(data)

    monkeypatch.setattr(artifacts, "put", put_late)
    manifest = frozen(scene, pets)
    assert manifest.sides() | first[0].sides() == manifest.sides()


def test_groups_between_which_an_image_lies_stay_on_one_side(scene: Scene) -> None:
    """Even if one of them alone would have been moved for the share of its class."""
    last = sorted(HELD, key=lambda one: digest(f"side:{one}"), reverse=True)
    first, second, between = [one for one in last if part_of(one) is Part.TEST][:3]
    rest = [one for one in PIXELS if one not in {first, second, between}]
    pets = a_draft(scene, "pets", rest)
    told = send(scene, pets, upload(first, 100), upload(second, 108), upload(between, 104))
    assert [one.side for one in told] == [None, None, Side.HOLDOUT]
    manifest = frozen(scene, pets)
    assert manifest.counts() == {"cat": {"train": 56, "holdout": 24}}
    assert {first, second, between} <= held_out(manifest)
