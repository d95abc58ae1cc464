"""Images that were added to a suite or holdout do not hide a loss on the earlier ones."""

from dataclasses import replace

import pytest

from core.gate.changes import Changes, Edition
from core.gate.judge import judge
from core.gate.measures import Measure
from core.gate.rules import Verdict
from tests.support.evaluation.measures import gain, measure
from tests.support.factories import a_policy


def changes(count: int, gained: int, lost: int) -> Changes:
    return Changes(distinct=count, count=count, gained=gained, lost=lost, design_effect=1.0)


def grown(earlier: Changes, added: Changes, tolerance: float = 0.03) -> Measure:
    """A measure of both together."""
    found = measure(
        count=earlier.count + added.count,
        gained=earlier.gained + added.gained,
        lost=earlier.lost + added.lost,
        tolerance=tolerance,
    )
    edition = Edition(number=1, earlier=earlier, added=added)
    return replace(found, editions=(edition,)).bounded(0.005, 350)


@pytest.mark.parametrize("easy", [1200, 20_000])
def test_five_points_lost_on_400_images_do_not_pass_whatever_is_added(easy: int) -> None:
    found = grown(changes(400, 8, 28), changes(easy, 0, 0))
    assert found.lower >= -0.03
    assert (found.held_back_by, found.holds) == (1, False)
    given = judge([found, gain()], a_policy())
    assert given.verdict is Verdict.INCONCLUSIVE
    assert given.measures[0].more_images is None
    assert given.reasons == (
        "Top-1 on emoji against the parent does not hold by all images together: the 400 images of "
        f"an earlier edition changed by −5.0 points, the {easy:,} added since by 0.0. The added "
        "images are no larger sample of the same thing, or chance made the earlier ones look "
        "worse: a person may decide.",
    )


def test_where_an_earlier_edition_holds_back_no_more_images_are_advised() -> None:
    found = grown(changes(400, 8, 28), changes(400, 0, 0))
    given = judge([found, gain()], a_policy())
    assert (found.lower >= -0.03, found.held_back_by) == (False, 1)
    assert given.measures[0].more_images is None
    (said,) = given.reasons
    assert "does not hold by all images together" in said


def test_a_larger_sample_of_the_same_thing_holds() -> None:
    found = grown(changes(400, 16, 20), changes(1200, 50, 56))
    assert not measure(count=400, gained=16, lost=20, minimum_count=350).holds
    assert (found.held_back_by, found.holds) == (None, True)
    assert judge([found, gain()], a_policy()).verdict is Verdict.PASSED


def test_earlier_images_within_tolerance_that_lost_significantly_more_hold_back() -> None:
    """Two points where three may be lost, of so many images that it is no chance."""
    some, many = changes(400, 12, 16), changes(4000, 120, 200)
    assert grown(some, changes(3 * 400, 36, 36)).held_back_by is None
    assert grown(many, changes(3 * 4000, 360, 360)).held_back_by == 1
    assert grown(many, changes(3 * 4000, 360, 600)).held_back_by is None
    assert grown(changes(4000, 0, 0), changes(4000, 200, 0)).held_back_by is None  # nothing lost


def test_of_few_earlier_images_less_is_asked() -> None:
    """One of ten lost is beyond the tolerance by chance; eight are not."""
    assert grown(changes(10, 0, 1), changes(1000, 0, 0)).held_back_by is None
    assert grown(changes(10, 0, 8), changes(1000, 0, 0)).held_back_by == 1


def test_one_of_several_holdouts_does_not_hide_that_its_earlier_images_are_lost() -> None:
    """In the pool, a third of 100 images is a small share, also of the earlier ones."""
    lost = replace(grown(changes(100, 0, 33), changes(600, 0, 0), 0.1), pooled=True)
    assert lost.bounded(0.005, 350).held_back_by == 1
    assert lost.bounded(0.005, 350).lower >= -0.1
    worse = replace(grown(changes(4000, 120, 200), changes(12_000, 360, 360)), pooled=True)
    assert worse.bounded(0.005, 350).held_back_by is None  # it is the pool that has to show that


def test_a_failure_is_no_less_one() -> None:
    found = grown(changes(400, 0, 100), changes(100, 0, 0))
    assert judge([found, gain()], a_policy()).verdict is Verdict.FAILED
