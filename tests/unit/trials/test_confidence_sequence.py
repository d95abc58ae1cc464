"""The sequential test of a trial: exact probabilities, and bounds against brute force."""

from itertools import product
from math import comb, exp, log

import pytest

from core.gate.intervals import Interval
from core.trials.bets import (
    CONFIDENCE,
    LIMIT,
    SIGN_LIMIT,
    STAKES,
    Hits,
    Pairs,
    always_reaches,
    independent_difference,
    last_true,
    log_capital,
    mirrored,
    paired_difference,
    rejects_independent,
)


def test_capital_after_one_value_is_the_mean_over_the_stakes() -> None:
    won = sum((1 + stake) / (1 + 0.4 * stake) for stake in STAKES) / len(STAKES)
    assert log_capital({1.0: 1}, 0.4) == pytest.approx(log(won))
    lost = sum(1 / (1 + 0.4 * stake) for stake in STAKES) / len(STAKES)
    assert log_capital({0.0: 1}, 0.4) == pytest.approx(log(lost))
    assert log_capital({0.5: 3}, 0.5) == log_capital({}, 0.5) == pytest.approx(0)


@pytest.mark.parametrize("count", [1, 7, 40])
@pytest.mark.parametrize("mean", [0.02, 0.5, 0.9])
def test_capital_is_expected_to_stay_as_it_is_at_the_true_mean_and_to_fall_above_it(
    count: int, mean: float
) -> None:
    def expected(claimed: float) -> float:
        chances = (comb(count, n) * mean**n * (1 - mean) ** (count - n) for n in range(count + 1))
        capital = (exp(log_capital({1.0: n, 0.0: count - n}, claimed)) for n in range(count + 1))
        return sum(a * b for a, b in zip(chances, capital, strict=True))

    assert expected(mean) == pytest.approx(1)
    assert expected(mean + 0.05) < 1 < expected(mean - 0.01)


def test_where_the_mean_moves_the_capital_never_exceeds_a_fair_one() -> None:
    """Claimed is the mean until then. A fair player knows the chance of each value beforehand."""
    chances = [0.05, 0.6, 0.1, 0.9, 0.3, 0.3, 0.02, 0.8]
    for came in product((0.0, 1.0), repeat=len(chances)):
        fair = [1.0] * len(STAKES)  # of each player; its expectation stays 1
        for count, (value, chance) in enumerate(zip(came, chances, strict=True), start=1):
            changes = [(1 + stake * value) / (1 + stake * chance) for stake in STAKES]
            fair = [one * change for one, change in zip(fair, changes, strict=True)]
            values = {one: came[:count].count(one) for one in (0.0, 1.0)}
            capital = exp(log_capital(values, sum(chances[:count]) / count))
            assert capital <= sum(fair) / len(fair) + 1e-12


def test_equal_versions_are_told_apart_with_at_most_the_stated_probability() -> None:
    """Exact, over all sequences of discordant pairs, looked at after each."""
    going = {(0, 0): 1.0}
    alarms = 0.0
    for _ in range(150):
        after: dict[tuple[int, int], float] = {}
        for (gained, lost), chance in going.items():
            for state in ((gained + 1, lost), (gained, lost + 1)):
                after[state] = after.get(state, 0) + chance / 2
        for gained, lost in list(after):
            values = a_shadow(labelled=gained + lost, gained=gained, lost=lost).signs
            if max(log_capital(values, 0.5), log_capital(mirrored(values), 0.5)) >= SIGN_LIMIT:
                alarms += after.pop((gained, lost))
        going = after
    assert 0.004 < alarms < 1 - CONFIDENCE


def a_shadow(*, labelled: int, gained: int, lost: int, answered: int = 10_000) -> Pairs:
    """Labels of disagreements, which are a tenth of the answers."""
    disagreed = answered // 10
    return Pairs(
        agreed=answered - disagreed,
        disagreed=disagreed,
        labelled=labelled,
        gained=gained,
        lost=lost,
    )


def test_images_that_neither_version_has_right_neither_delay_nor_hasten_a_verdict() -> None:
    few, many = (a_shadow(labelled=n, gained=30, lost=8).signs for n in (38, 1000))
    assert log_capital(few, 0.5) == pytest.approx(log_capital(many, 0.5))
    assert log_capital(few, 0.5) > SIGN_LIMIT


def test_the_difference_is_that_of_labelled_disagreements_times_their_share() -> None:
    """So labels of disagreements do not count as if they were of images drawn from all."""
    pairs = a_shadow(labelled=300, gained=180, lost=60)
    assert pairs.difference == pytest.approx(0.1 * 120 / 300)
    found = paired_difference(pairs)
    assert 0.02 < found.lower < 0.04 < found.upper < 0.07
    rest = a_shadow(labelled=300, gained=180, lost=60, answered=1_000_000)
    finer = paired_difference(rest)
    assert found.lower < finer.lower < finer.upper < found.upper  # the share is known better


def test_before_a_label_the_versions_differ_by_at_most_the_share_of_disagreements() -> None:
    found = paired_difference(Pairs(agreed=900, disagreed=100))
    assert found.lower == -found.upper
    assert 0.1 < found.upper < 0.16
    assert Pairs(agreed=900, disagreed=100).difference is None
    assert paired_difference(Pairs(disagreed=3, labelled=3, gained=3)).upper == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [((80, 100), (95, 100)), ((900, 1000), (93, 93)), ((70, 1000), (40, 90)), ((3, 9), (9, 9))],
)
def test_two_versions_are_told_apart_if_no_common_accuracy_explains_both(
    first: tuple[int, int], second: tuple[int, int]
) -> None:
    one, other = (Hits(labelled=n, right=right).values for right, n in (first, second))
    for difference in (-0.1, 0.0, 0.1):
        places = [place / 400 for place in range(401)]
        feasible = [p for p in places if 0 <= p + difference <= 1]
        least = min(
            log_capital(other, p + difference) + log_capital(mirrored(one), 1 - p) for p in feasible
        )
        assert abs(least - LIMIT) > 0.02, "the example decides nothing"
        assert rejects_independent(one, other, difference) is (least >= LIMIT)


def test_a_convex_function_is_searched_to_its_least_value() -> None:
    for place in (0.0, 0.1, 0.77, 1.0):
        assert always_reaches(2.0, lambda x, place=place: 2.0001 + 9 * (x - place) ** 2, 0, 1)
        assert not always_reaches(2.0, lambda x, place=place: 1.9999 + 9 * (x - place) ** 2, 0, 1)


def test_the_last_place_of_a_claim_is_found_from_below() -> None:
    assert last_true(lambda x: x <= 0.3, -1, 1) == pytest.approx(0.3, abs=1e-6)
    assert last_true(lambda x: x <= 0.3, -1, 1) <= 0.3
    assert last_true(lambda _: True, -1, 1) == 1
    assert last_true(lambda _: False, -1, 1) == -1


def test_without_labels_every_difference_is_possible() -> None:
    whole = Interval(lower=-1, upper=1)
    assert paired_difference(Pairs()) == whole
    assert independent_difference(Hits(), Hits()) == whole
    assert independent_difference(Hits(labelled=900, right=890), Hits()).upper > 0


@pytest.mark.parametrize("scale", [1, 30])
def test_intervals_hold_the_estimate_shrink_and_mirror(scale: int) -> None:
    answers = {"agreed": 100 * scale, "disagreed": 100 * scale, "labelled": 100 * scale}
    pairs = Pairs(**answers, gained=30 * scale, lost=10 * scale)
    swapped = Pairs(**answers, gained=10 * scale, lost=30 * scale)
    first = Hits(labelled=900 * scale, right=720 * scale)
    second = Hits(labelled=100 * scale, right=90 * scale)
    for found, other in (
        (paired_difference(pairs), paired_difference(swapped)),
        (independent_difference(first, second), independent_difference(second, first)),
    ):
        assert found.lower < 0.1 < found.upper
        assert found.upper - found.lower < (0.3, 0.06)[scale > 1]
        assert found.lower == pytest.approx(-other.upper, abs=1e-6)
        assert found.upper == pytest.approx(-other.lower, abs=1e-6)


@pytest.mark.parametrize("answered", [300, 10_000_000])
def test_zero_is_excluded_exactly_if_the_labelled_disagreements_reject_it(answered: int) -> None:
    decided = set()
    for gained in range(8, 24):
        pairs = a_shadow(labelled=gained + 6, gained=gained, lost=4, answered=answered)
        rejected = log_capital(pairs.signs, 0.5) >= SIGN_LIMIT
        assert (paired_difference(pairs).lower > 0) is rejected
        decided.add(rejected)
    assert decided == {True, False}
