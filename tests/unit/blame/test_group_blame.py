"""Changes of a class without a group of images, and the group that is blamed for them."""

from collections.abc import Sequence

from core.blame.rules import Answered, ClassBlame, blame_groups, classes_that_fell, of_classes
from core.datasets.image_lists import ImageGroup
from core.evaluation.answers import ClassAnswers
from core.evaluation.queries import ClassQuery, NamedQuery, RetrievalQuery
from core.gate.intervals import Flips, paired_interval
from core.recipes.fields import DEFAULT_PROMPT
from tests.support.evaluation.evaluations import entries
from tests.support.factories import an_entry, digest

CLASSES = ("cat", "dog", "owl")


def query(images: str, *texts: str) -> ClassQuery:
    return ClassQuery(
        entries=entries(images, [(text,) for text in texts]), classes=CLASSES, prompt=DEFAULT_PROMPT
    )


def given(*predicted: int) -> ClassAnswers:
    return ClassAnswers(predicted=predicted)


def a_group(name: str, images: int) -> ImageGroup:
    kept = [
        an_entry(pixels=digest(f"{name} {n}"), artifact=digest(n), texts=("cat",))
        for n in range(images)
    ]
    return ImageGroup(name=name, entries=tuple(kept))


GROUPS = (a_group("first", 3), a_group("second", 1), a_group("third", 5))

CATS = query("zoo", *["cat"] * 20)


def blamed(own: int, *without: int, alpha: float = 0.03) -> ClassBlame:
    """Return the blame of cats, from how many of 20 are right with all images and without each."""

    def right(count: int) -> Answered:
        return [(CATS, given(*[0] * count, *[1] * (20 - count)))]

    groups = GROUPS[: len(without)]
    return blame_groups(
        "Cat", groups, own=right(own), without=[right(count) for count in without], alpha=alpha
    )


def test_the_group_without_which_a_class_gains_most_comes_first() -> None:
    found = blamed(4, 3, 18, 6)
    assert [(one.group, one.name) for one in found.groups] == [
        (2, "second"),
        (3, "third"),
        (1, "first"),
    ]
    worst = found.groups[0].change
    assert (worst.right_before, worst.right, worst.gained, worst.lost) == (4, 18, 14, 0)
    assert worst.difference == 0.7
    assert (found.images, found.right) == (20, 4)
    assert [one.clear for one in found.groups] == [True, False, False]
    assert found.summary == (
        "Look at group 2 first: without 1 training image (second), 18 of 20 test images of 'Cat' "
        "are right instead of 4."
    )


def test_the_groups_share_the_error_so_that_one_of_many_is_not_blamed_by_chance() -> None:
    found = blamed(4, 3, 18, 6)
    bounds = paired_interval(Flips(count=20, gained=14, lost=0), 0.01)
    change = found.groups[0].change
    assert (change.lower, change.upper) == (bounds.lower, bounds.upper)
    alone = paired_interval(Flips(count=20, gained=4, lost=0), 0.05)
    assert alone.lower > 0
    assert not blamed(4, 4, 8, 4, alpha=0.05).groups[0].clear


def test_a_gain_that_may_be_chance_blames_no_group_clearly() -> None:
    assert blamed(4, 3, 4, 6).summary == (
        "No group is clearly to blame: without 5 training images (third), 6 of 20 test images of "
        "'Cat' are right instead of 4, which may be chance."
    )


def test_no_group_is_to_blame_if_none_is_better_left_out() -> None:
    found = blamed(4, 4, 1)
    assert (
        found.summary == "No group is to blame: 'Cat' gains nothing if any one of them is left out."
    )
    assert [one.group for one in found.groups] == [1, 2]


def test_an_image_of_two_queries_counts_once() -> None:
    again = query("zoo", *["cat"] * 2)
    own: Answered = [(CATS, given(*[1] * 20)), (again, given(0, 0))]
    found = blame_groups("cat", GROUPS[:2], own=own, without=[own, own], alpha=0.01)
    assert (found.images, found.right) == (20, 0)


def test_other_classes_are_not_asked_about_but_still_compete() -> None:
    mixed = query("zoo", "cat", "dog", "CAT", "owl")
    ((asked, answers),) = of_classes(mixed, given(0, 1, 2, 2), ["Cat"])
    assert [entry.class_name for entry in asked.entries] == ["cat", "CAT"]
    assert (asked.classes, answers.predicted) == (CLASSES, (0, 2))
    assert of_classes(mixed, given(0, 1, 2, 2), ["bee"]) == ()


def fallen(before: Sequence[int], now: Sequence[int]) -> tuple[str, ...]:
    parent, version = digest("parent"), digest("version")
    asked = NamedQuery(name="zoo", query=query("zoo", "cat", "dog", "dog", "owl", "owl"))
    captions = NamedQuery(name="art", query=RetrievalQuery(entries=entries("art", [("a",)])))
    answers = {
        (parent, asked.query.digest): given(*before),
        (version, asked.query.digest): given(*now),
    }
    return classes_that_fell([captions, asked], answers, parent=parent, version=version)


def test_classes_that_fell_come_worst_first() -> None:
    assert fallen([0, 1, 1, 2, 2], [1, 1, 0, 2, 2]) == ("cat", "dog")
    assert fallen([0, 1, 0, 2, 2], [0, 0, 1, 2, 2]) == ()  # one lost, one gained


def test_what_only_one_version_has_answered_does_not_count() -> None:
    asked = NamedQuery(name="zoo", query=CATS)
    answers = {(digest("version"), CATS.digest): given(*[1] * 20)}
    assert (
        classes_that_fell([asked], answers, parent=digest("parent"), version=digest("version"))
        == ()
    )


def test_groups_are_blamed_by_names_that_the_policy_calls_the_same() -> None:
    asked = query("zoo", *["cat"] * 3, *["kitten"] * 3, *["dog"] * 2)
    meanings = {"cat": "cat", "kitten": "cat", "owl": "cat"}
    own, without = given(0, 0, 2, 1, 1, 1, 1, 1), given(0, 0, 0, 0, 2, 2, 1, 1)
    (kept,) = of_classes(asked, own, ["Kitten"], meanings)
    assert [entry.class_name for entry in kept[0].entries] == ["cat"] * 3 + ["kitten"] * 3
    found = blame_groups(
        "cat",
        GROUPS[:1],
        own=[(asked, own)],
        without=[[(asked, without)]],
        alpha=0.03,
        meanings=meanings,
    )
    assert (found.images, found.right, found.groups[0].change.right) == (6, 3, 6)
    answers = {
        (digest("parent"), asked.digest): without,
        (digest("version"), asked.digest): own,
    }
    named = NamedQuery(name="zoo", holdout=False, query=asked)
    fallen = classes_that_fell(
        [named], answers, parent=digest("parent"), version=digest("version"), meanings=meanings
    )
    assert fallen == ("cat",)
