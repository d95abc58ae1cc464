"""Blame: which update cost a class its accuracy."""

from collections.abc import Mapping, Sequence

from core.blame.rules import Blame, blame
from core.evaluation.answers import ClassAnswers
from core.evaluation.queries import ClassQuery, NamedQuery, asks_for
from core.evaluation.results import AnswersByQuery
from core.gate.intervals import Flips, paired_interval, proportion_interval
from core.gate.kinds import MeasureKind
from core.recipes.fields import DEFAULT_PROMPT
from core.registry.versions import Version
from tests.support.evaluation.evaluations import ROOT, entries, taught

SECOND = taught(ROOT, 2, ("cat",))

THIRD = taught(SECOND, 3, ("dog",))

FOURTH = taught(THIRD, 4, ("owl",))

LINE = (ROOT, SECOND, THIRD, FOURTH)


def query(name: str, *texts: str, images: str = "", holdout: bool = False) -> NamedQuery:
    asked = ClassQuery(
        entries=entries(images or name, [(text,) for text in texts]),
        classes=("cat", "dog", "sun"),
        prompt=DEFAULT_PROMPT,
    )
    return NamedQuery(name=name, holdout=holdout, query=asked)


def answers(rows: Mapping[NamedQuery, Mapping[int, Sequence[int]]]) -> AnswersByQuery:
    """Return the answers of versions, given by query and number."""
    by_number = {version.number: version.digest for version in LINE}
    return {
        (by_number[number], named.query.digest): ClassAnswers(predicted=tuple(predicted))
        for named, versions in rows.items()
        for number, predicted in versions.items()
    }


def blamed(name: str, rows: Mapping[NamedQuery, Mapping[int, Sequence[int]]]) -> Blame:
    return blame(LINE, name, list(rows), answers(rows), alpha=0.03)


SUITE = query("zoo", *["Cat"] * 10, *["dog"] * 10)

DOGS = [1] * 10

FALLING = {
    SUITE: {
        1: [0] * 8 + [1] * 2 + DOGS,
        2: [0] * 10 + DOGS,
        3: [0] * 4 + [1] * 6 + DOGS,
        4: [1] * 3 + [0] * 2 + [1] * 5 + DOGS,
    }
}


def test_the_update_after_which_a_class_fell_most_is_named() -> None:
    found = blamed("cat", FALLING)
    assert [(s.parent, s.version, s.gained, s.lost) for s in found.steps] == [
        (1, 2, 2, 0),
        (2, 3, 0, 6),
        (3, 4, 1, 3),
    ]
    interval = paired_interval(Flips(count=10, gained=0, lost=6), 0.03 / 3)
    assert found.fell == found.steps[1]
    assert (found.fell.difference, found.fell.images) == (-0.6, 10)
    assert (found.fell.lower, found.fell.upper) == (interval.lower, interval.upper)
    assert found.fell.clear
    assert not found.steps[2].clear


def test_of_many_steps_each_has_to_be_surer() -> None:
    """Of 100 images 9 are lost at the last step: clear where it is one of two, not of ten."""
    line = [ROOT]
    for number in range(2, 12):
        line.append(taught(line[-1], number, (f"class {number}",)))

    def clear(versions: Sequence[Version]) -> bool:
        named = query("zoo", *["cat"] * 100)
        given: AnswersByQuery = {
            (version.digest, named.query.digest): ClassAnswers(predicted=(0,) * 91 + (last,) * 9)
            for version in versions
            for last in [int(version == line[-1])]
        }
        *_, last = blame(versions, "cat", [named], given, alpha=0.005).steps
        assert last.lost == 9
        return last.clear

    assert clear(line[-3:])
    assert not clear(line)


def test_a_class_that_never_lost_has_no_such_update() -> None:
    found = blamed("dog", FALLING)
    assert [step.difference for step in found.steps] == [0, 0, 0]
    assert found.fell is None


def test_the_curve_has_each_version_with_an_interval() -> None:
    (curve,) = blamed("cat", FALLING).curves
    assert (curve.kind, curve.name) == (MeasureKind.ZERO_SHOT, "zoo")
    assert [(s.version, s.images, s.right) for s in curve.scores] == [
        (1, 10, 8),
        (2, 10, 10),
        (3, 10, 4),
        (4, 10, 2),
    ]
    first, interval = curve.scores[0], proportion_interval(8, 10, 0.03)
    assert (first.accuracy, first.lower, first.upper) == (0.8, interval.lower, interval.upper)


def test_versions_without_an_answer_are_left_out_and_make_no_step() -> None:
    holdout = query("version 2", *["cat"] * 4, holdout=True)
    found = blamed("cat", {holdout: {2: [0] * 4, 4: [1] * 4}})
    assert [score.version for score in found.curves[0].scores] == [2, 4]
    assert (found.steps, found.fell) == ((), None)


def test_an_image_of_two_queries_counts_once_in_a_step() -> None:
    suite = query("zoo", *["cat"] * 4)
    holdout = query("version 2", *["cat"] * 6, images="zoo", holdout=True)  # the same and 2 more
    rows = {suite: {1: [0] * 4, 2: [1] * 4}, holdout: {1: [0] * 6, 2: [0] * 6}}
    (step,) = blamed("cat", rows).steps
    assert (step.images, step.lost) == (6, 4)  # the first query counts


def test_a_query_without_the_class_has_no_curve() -> None:
    other = query("sky", "sun", "sun")
    found = blamed("cat", {other: {1: [2, 2], 2: [2, 2]}, **FALLING})
    assert [curve.name for curve in found.curves] == ["zoo"]
    assert not asks_for(other, "cat")
    assert asks_for(SUITE, "CAT")


def test_names_that_the_policy_calls_the_same_are_one_class() -> None:
    """Images of both count, and either name is right."""
    suite = query("zoo", *["cat"] * 4, *["kitten"] * 4, *["dog"] * 2)
    sun = [2, 2]  # "sun" is what the policy calls a cat, too
    given = answers({suite: {1: [0] * 8 + [1, 1], 2: sun * 4 + [1, 1], 3: [1] * 8 + [1, 1]}})
    meanings = {"cat": "cat", "kitten": "cat", "sun": "cat"}
    found = blame(LINE, "Kitten", [suite], given, alpha=0.03, meanings=meanings)
    (curve,) = found.curves
    assert [(one.images, one.right) for one in curve.scores] == [(8, 8), (8, 8), (8, 0)]
    assert found.fell is not None
    assert (found.fell.version, found.fell.lost) == (3, 8)
    without = blame(LINE, "kitten", [suite], given, alpha=0.03)
    assert [(one.images, one.right) for one in without.curves[0].scores] == [(4, 0), (4, 0), (4, 0)]
    assert asks_for(suite, "SUN", meanings)
    assert not asks_for(suite, "sun")
