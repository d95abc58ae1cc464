"""The number of a verdict by the same test images, and the luck that a version inherits."""

import pytest

from core.evaluation.looks import are_alike
from core.evaluation.spending import spending
from core.gate.levels import Spending, inherited_luck
from core.registry.inheritance import places
from core.registry.versions import Descent
from tests.support.factories import digest


def line(*parents: int, replaces: dict[int, int] | None = None) -> dict[int, Descent]:
    """A root and versions from 2 on, each of its parent."""
    made = {
        number: Descent(parent=parent, replaces=(replaces or {}).get(number))
        for number, parent in enumerate(parents, 2)
    }
    return {1: Descent(parent=None), **made}


def of_last(versions: dict[int, Descent], judged: set[int]) -> Spending:
    return spending(max(versions), versions, judged)


def test_a_line_whose_versions_pass_at_once_inherits_no_luck() -> None:
    versions = line(1, 2, 3, 4)
    assert of_last(versions, {2, 3, 4}) == Spending(verdict=4, luck=1.0)
    assert of_last(versions, {2, 3, 4, 5}) == Spending(verdict=4, luck=1.0)  # scored again


def test_a_child_pays_for_the_tries_of_its_parent_and_less_for_those_before() -> None:
    versions = line(1, 1, 1, 4, 4, 6)  # 4 is the third try of the root's, 6 the second of 4's
    assert of_last(versions, {2, 3, 4, 5, 6}).luck == pytest.approx(2 * 3**0.95)
    assert inherited_luck([2, 3]) == pytest.approx(2 * 3**0.95)
    assert inherited_luck([1, 1, 4]) == pytest.approx(4 ** (0.95**2))


def test_the_best_of_all_tries_counts_them_all_whichever_it_was() -> None:
    versions = line(1, 1, 1, 1, 2)  # 2 was the first, and chosen when 3, 4 and 5 were judged
    assert of_last(versions, {2, 3, 4, 5}).luck == 4


def test_new_images_have_seen_no_luck() -> None:
    versions = line(1, 1, 1, 4, 4, 6)
    assert of_last(versions, set()) == Spending(verdict=1, luck=1.0)
    assert of_last(versions, {5, 6}) == Spending(verdict=3, luck=2.0)


def test_versions_that_are_trained_again_stand_in_the_place_of_the_old_ones() -> None:
    # 5, 6, 7 repeat 2, 3, 4 without an erased image, and 8 goes on; 3 was the first try after 2.
    versions = line(1, 2, 3, 1, 5, 6, 7, replaces={5: 2, 6: 3, 7: 4})
    assert [places(versions)[number] for number in (5, 6, 7, 8)] == [2, 3, 4, 8]
    assert of_last(versions, {2, 3, 4, 5, 6, 7}) == Spending(verdict=7, luck=1.0)
    again = line(1, 2, 1, 4, 1, replaces={4: 2, 5: 3, 6: 4})
    assert [places(again)[number] for number in (4, 5, 6)] == [2, 3, 2]


def test_images_that_were_saved_again_are_alike() -> None:
    first = {digest(f"{n}"): digest(f"{n}") for n in range(10)}
    again = {digest(f"{n} saved again"): digest(f"{n}") for n in range(10)}
    other = {digest(f"other {n}"): digest(f"other {n}") for n in range(10)}
    some = dict([*again.items()][:4])
    assert are_alike(first, again)
    assert not are_alike(first, other)
    assert not are_alike(first, some | dict([*other.items()][:6]))
