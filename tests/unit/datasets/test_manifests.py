"""Sides of the split, manifests and what is counted of them, and how two differ."""

import hashlib
import json
from collections import Counter
from dataclasses import replace

import pytest

from core.datasets.changes import Change, ChangeKind, ClassDiff, Diff
from core.datasets.manifests import (
    SPLIT_RULE,
    DatasetStatistics,
    Manifest,
    ManifestEntry,
    Member,
    Part,
    Side,
    Split,
)
from core.datasets.rules import DatasetKind, SuiteKind
from core.errors import DatasetEmpty, TooFewPerClass
from core.values import Digest
from tests.support.factories import (
    BY_DIGEST,
    a_dataset,
    a_manifest,
    a_row,
    an_image,
    by_hash,
    digest,
    part_of,
    pixels_on,
    side_of,
)

GROUPS = [digest(n) for n in range(2000)]


def share(text: str) -> float:
    """The SHA-256 of a text as a number in [0, 1)."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()) / 2**256


# ---- Sides and parts ------------------------------------------------------------------------


def test_the_lowest_fifth_of_the_hashes_is_held_out_and_selects() -> None:
    for group in GROUPS:
        held_out, selects = share(f"side:{group}") < 0.2, share(f"part:{group}") < 0.2
        assert side_of(group) is (Side.HOLDOUT if held_out else Side.TRAIN)
        assert part_of(group) is (Part.VALIDATION if selects else Part.TEST)


def test_sides_and_parts_are_those_of_the_first_release() -> None:
    """Another side would put images that were held out into training."""
    letters = {
        (Side.TRAIN, Part.TEST): "t",
        (Side.TRAIN, Part.VALIDATION): "v",
        (Side.HOLDOUT, Part.TEST): "T",
        (Side.HOLDOUT, Part.VALIDATION): "V",
    }
    found = "".join(letters[side_of(group), part_of(group)] for group in GROUPS[:60])
    assert found == "TtttttttTtvtTtvtttVtvtvvtttvtTtttTTtttvtttvTvTTvtTvtvtTttttT"


def drawn(split: Split) -> list[tuple[Side, Part]]:
    return [(split.side_of(group), split.part_of(group)) for group in GROUPS]


def test_whoever_knows_digests_but_not_the_secret_cannot_tell_side_or_part() -> None:
    """Of the images that would be in the validation part by digest, a fifth is."""
    secret = Split(key="a secret")
    assert secret.key not in repr(secret)
    assert drawn(secret) == drawn(Split(key="a secret")) != drawn(Split(key="another"))
    for wanted in Part:
        steered = [group for group in GROUPS if part_of(group) is wanted]
        hit = sum(secret.part_of(group) is Part.VALIDATION for group in steered) / len(steered)
        assert hit == pytest.approx(0.2, abs=0.05)
    both = Counter(drawn(secret))
    assert both[Side.HOLDOUT, Part.VALIDATION] == pytest.approx(0.04 * len(GROUPS), rel=0.3)


def test_counts_of_a_draft_do_not_tell_where_an_image_will_be() -> None:
    secret = Split(key="a secret")
    agree = sum(secret.side_of(one) is secret.estimate.side_of(one) for one in GROUPS) / len(GROUPS)
    assert agree == pytest.approx(0.8**2 + 0.2**2, abs=0.04)
    draft = [(group, group, "cat") for group in GROUPS]
    counted = DatasetStatistics.of(draft, {}, secret, labelled=True)
    assert counted.sides[Side.HOLDOUT] == sum(
        secret.estimate.side_of(group) is Side.HOLDOUT for group in GROUPS
    )
    placed = secret.sides(draft, {}, labelled=True)
    known = DatasetStatistics.of(draft, placed, secret, labelled=True)
    assert known.sides == Counter(placed.values())


# ---- Manifests ------------------------------------------------------------------------------


def test_a_manifest_is_sorted_and_lists_every_caption_of_an_image_once() -> None:
    dataset = a_dataset(kind=DatasetKind.CAPTIONED)
    low, high = sorted([digest("a"), digest("b")])
    rows = [a_row(dataset, high, "two dogs"), a_row(dataset, low, "a cat")]
    rows.append(a_row(dataset, high, "a pair of dogs"))
    manifest = Manifest.of(dataset.kind, rows, {}, BY_DIGEST)
    assert manifest == Manifest.of(dataset.kind, reversed(rows), {}, BY_DIGEST)
    assert manifest.entries == (
        ManifestEntry(pixels=low, artifact=an_image(low).artifact, texts=("a cat",)),
        ManifestEntry(
            pixels=high, artifact=an_image(high).artifact, texts=("a pair of dogs", "two dogs")
        ),
    )
    assert (manifest.classes, manifest.counts()) == ((), {})


def test_a_manifest_names_the_oldest_image_that_one_looks_like() -> None:
    dataset = a_dataset()
    alone, alike = a_row(dataset, digest("a"), "cat"), a_row(dataset, digest("b"), "cat")
    older = replace(alike, image=replace(alike.image, near_duplicate_of=digest("older")))
    entries = Manifest.of(dataset.kind, [alone, older], {}, BY_DIGEST).entries
    assert {entry.pixels: entry.near_duplicate_of for entry in entries} == {
        digest("a"): None,
        digest("b"): digest("older"),
    }


def test_an_empty_dataset_has_no_manifest() -> None:
    with pytest.raises(DatasetEmpty):
        Manifest.of(DatasetKind.LABELLED, [], {}, BY_DIGEST)


def test_a_manifest_is_written_in_one_way_and_read_back() -> None:
    first = ManifestEntry(pixels=Digest("aa"), artifact=Digest("a1"), texts=("cat",))
    second = ManifestEntry(
        pixels=Digest("bb"),
        artifact=Digest("b1"),
        texts=("Œuvre",),
        near_duplicate_of=Digest("aa"),
        side=Side.HOLDOUT,
        part=Part.VALIDATION,
    )
    third = ManifestEntry(pixels=Digest("cc"), artifact=Digest("c1"), texts=("cat",), edition=2)
    manifest = Manifest(kind=DatasetKind.LABELLED, entries=(first, second, third))
    assert manifest.to_bytes().decode() == (
        '{"entries":[["aa","a1",["cat"],null,0,0],["bb","b1",["Œuvre"],"aa",1,1],'
        '["cc","c1",["cat"],null,0,0,2]],"kind":"labelled"}'
    )
    assert Manifest.from_json(json.loads(manifest.to_bytes())) == manifest


def test_images_are_counted_by_class_and_side() -> None:
    (cat, *dogs), (held_out,) = pixels_on(Side.TRAIN, 4), pixels_on(Side.HOLDOUT, 1)
    manifest = a_manifest(a_dataset(), dict.fromkeys(dogs, "dog") | {cat: "cat", held_out: "dog"})
    assert manifest.classes == ("cat", "dog")
    assert manifest.counts() == {
        "cat": {"train": 1, "holdout": 0},
        "dog": {"train": 3, "holdout": 1},
    }
    assert [entry.pixels for entry in manifest.on(Side.HOLDOUT)] == [held_out]
    assert {entry.pixels for entry in manifest.on(Side.TRAIN)} == {cat, *dogs}


def test_classes_with_fewer_than_two_training_images_are_named() -> None:
    train, (held_out,) = pixels_on(Side.TRAIN, 5), pixels_on(Side.HOLDOUT, 1)
    names = ["owl", "dog", "dog", "cat", "cat"]
    texts = dict(zip(train, names, strict=True))
    a_manifest(a_dataset(), dict(list(texts.items())[1:])).require_trainable()
    with pytest.raises(TooFewPerClass) as refusal:
        a_manifest(a_dataset(), texts | {held_out: "elk"}).require_trainable()
    assert refusal.value.message == (
        f"These classes have fewer than 2 training images: elk, owl. {SPLIT_RULE}"
    )
    assert refusal.value.facts == {"classes": {"elk": 0, "owl": 1}, "least": 2}
    assert refusal.value.pointer is None


def test_suites_of_classes_are_made_from_classes_and_others_from_captions() -> None:
    assert SuiteKind.ZERO_SHOT.dataset_kind is DatasetKind.LABELLED
    assert SuiteKind.RETRIEVAL.dataset_kind is DatasetKind.CAPTIONED


PETS = a_dataset()

ONE, TWO, THREE, FOUR = sorted(digest(n) for n in range(4))

BEFORE = a_manifest(PETS, {ONE: "cat", TWO: "cat", THREE: "dog"})

AFTER = a_manifest(PETS, {ONE: "cat", TWO: "dog", FOUR: "owl"})


def test_images_are_added_removed_and_moved_in_the_order_of_their_pixels() -> None:
    assert Diff.between(BEFORE, AFTER) == Diff(
        changes=(
            Change(pixels=TWO, before=("cat",), after=("dog",)),
            Change(pixels=THREE, before=("dog",), after=()),
            Change(pixels=FOUR, before=(), after=("owl",)),
        ),
        counts={ChangeKind.ADDED: 1, ChangeKind.REMOVED: 1, ChangeKind.MOVED: 1},
        classes={
            "cat": ClassDiff(added=0, removed=0, moved_in=0, moved_out=1),
            "dog": ClassDiff(added=0, removed=1, moved_in=1, moved_out=0),
            "owl": ClassDiff(added=1, removed=0, moved_in=0, moved_out=0),
        },
    )


def test_the_same_images_differ_in_nothing() -> None:
    found = Diff.between(BEFORE, BEFORE)
    assert (found.changes, found.classes) == ((), {})
    assert set(found.counts.values()) == {0}


def test_an_image_with_another_caption_has_moved_and_captions_are_no_classes() -> None:
    texts = a_dataset(kind=DatasetKind.CAPTIONED)
    first = Manifest.of(texts.kind, [a_row(texts, ONE, "a cat")], {}, BY_DIGEST)
    both = Manifest.of(
        texts.kind, [a_row(texts, ONE, text) for text in ("a cat", "a pet")], {}, BY_DIGEST
    )
    found = Diff.between(first, both)
    assert found.changes == (Change(pixels=ONE, before=("a cat",), after=("a cat", "a pet")),)
    assert (found.counts[ChangeKind.MOVED], found.classes) == (1, {})


SEEN, (HELD,) = pixels_on(Side.TRAIN, 3), pixels_on(Side.HOLDOUT, 1)


def member(pixels: Digest, text: str, group: Digest | None = None) -> Member:
    return pixels, group or pixels, text


def test_a_near_duplicate_is_on_the_side_of_its_group() -> None:
    rows = [
        *(member(pixels, "cat") for pixels in SEEN),
        member(HELD, "dog"),
        member(digest("like the dog"), "dog", HELD),
    ]
    assert DatasetStatistics.of(
        rows, by_hash([*SEEN, HELD]), BY_DIGEST, labelled=True
    ) == DatasetStatistics(
        sides={Side.TRAIN: 3, Side.HOLDOUT: 2},
        classes={
            "cat": {Side.TRAIN: 3, Side.HOLDOUT: 0},
            "dog": {Side.TRAIN: 0, Side.HOLDOUT: 2},
        },
        near_duplicates=1,
        groups=1,
    )


def test_a_look_alike_of_another_datasets_image_is_no_group_here() -> None:
    found = DatasetStatistics.of([member(SEEN[0], "cat", HELD)], {}, BY_DIGEST, labelled=True)
    assert (found.near_duplicates, found.groups, found.images) == (1, 0, 1)


def test_an_image_with_two_captions_counts_once() -> None:
    found = DatasetStatistics.of(
        [member(SEEN[0], "a cat"), member(SEEN[0], "a pet")], {}, BY_DIGEST, labelled=False
    )
    assert (found.images, found.classes) == (1, {})
