"""Changes between two versions of a dataset."""

from core.datasets.manifests import Change, ChangeKind, ClassDiff, Diff, Manifest
from core.datasets.rules import DatasetKind
from tests.support.factories import a_dataset, a_manifest, a_row, digest

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


def test_the_way_back_is_the_reverse() -> None:
    there, back = Diff.between(BEFORE, AFTER), Diff.between(AFTER, BEFORE)
    assert [(c.pixels, c.after, c.before) for c in back.changes] == [
        (c.pixels, c.before, c.after) for c in there.changes
    ]
    assert back.classes["dog"] == ClassDiff(added=1, removed=0, moved_in=0, moved_out=1)


def test_the_same_images_differ_in_nothing() -> None:
    found = Diff.between(BEFORE, BEFORE)
    assert (found.changes, found.classes) == ((), {})
    assert set(found.counts.values()) == {0}


def test_an_image_with_another_caption_has_moved_and_captions_are_no_classes() -> None:
    texts = a_dataset(kind=DatasetKind.CAPTIONED)
    first = Manifest.of(texts.kind, [a_row(texts, ONE, "a cat")])
    both = Manifest.of(texts.kind, [a_row(texts, ONE, text) for text in ("a cat", "a pet")])
    found = Diff.between(first, both)
    assert found.changes == (Change(pixels=ONE, before=("a cat",), after=("a cat", "a pet")),)
    assert (found.counts[ChangeKind.MOVED], found.classes) == (1, {})
