"""Intervals against published examples, and what the gate relies on beyond them."""

from math import comb, sqrt
from random import Random

import pytest

from core.gate.intervals import (
    Flips,
    corrected_score,
    design_effect,
    p_below,
    paired_interval,
    proportion_interval,
    score,
    sixth_of_skewness,
    soft_effect,
)


def flips(count: float, gained: float, lost: float) -> Flips:
    return Flips(count=count, gained=gained, lost=lost)


@pytest.mark.parametrize(
    ("pairs", "alpha", "lower", "upper"),
    [
        # Cavo et al. 2012, as worked in Fagerland, Lydersen and Laake, Statistical Analysis of
        # Contingency Tables, chapter 8 (Tango's interval, 95 %).
        (flips(161, 6, 16), 0.025, -0.1240, -0.0054),
        # PropCIs::scoreci.mp(41, 48, 549), 90 %.
        (flips(549, 48, 41), 0.05, -0.0157, 0.0414),
    ],
)
def test_paired_interval_agrees_with_published_examples(
    pairs: Flips, alpha: float, lower: float, upper: float
) -> None:
    interval = paired_interval(pairs, alpha)
    assert interval.lower == pytest.approx(lower, abs=6e-5)
    assert interval.upper == pytest.approx(upper, abs=6e-5)


@pytest.mark.parametrize("count", [5, 50, 1000])
def test_without_flips_the_bounds_have_a_closed_form(count: int) -> None:
    bound = 1.959964**2 / (count + 1.959964**2)
    interval = paired_interval(flips(count, 0, 0), 0.025)
    assert interval.lower == pytest.approx(-bound, abs=1e-6)
    assert interval.upper == pytest.approx(bound, abs=1e-6)


def test_bounds_end_at_one() -> None:
    interval = paired_interval(flips(30, 30, 0), 0.025)
    assert 0.7 < interval.lower < interval.upper == 1.0


def test_bounds_lie_z_standard_deviations_away() -> None:
    pairs = flips(1470, 40, 95)
    interval = paired_interval(pairs, 0.005)
    assert score(pairs, interval.lower) == pytest.approx(2.5758293, abs=1e-5)
    assert score(pairs, interval.upper) == pytest.approx(-2.5758293, abs=1e-5)


def test_swapping_gains_and_losses_mirrors_the_interval() -> None:
    one, other = paired_interval(flips(90, 12, 5)), paired_interval(flips(90, 5, 12))
    assert one.lower == pytest.approx(-other.upper)
    assert one.upper == pytest.approx(-other.lower)


@pytest.mark.parametrize("tests", [2, 6, 22, 42])
@pytest.mark.parametrize("count", [20, 100, 300, 499])
@pytest.mark.parametrize("loss", [0.03, 0.05])
def test_measures_on_which_nothing_was_gained_do_not_fail_too_often_together(
    loss: float, count: int, tests: int
) -> None:
    level = 0.005 / tests
    failing = [n for n in range(count + 1) if p_below(flips(count, 0, n), -loss) < level]
    wrong = sum(comb(count, n) * loss**n * (1 - loss) ** (count - n) for n in failing)
    assert 1 - (1 - wrong) ** tests < 0.006


def test_correction_is_nothing_where_gains_and_losses_are_alike() -> None:
    assert corrected_score(flips(300, 20, 20), 0.0) == score(flips(300, 20, 20), 0.0)
    assert corrected_score(flips(300, 9, 30), 0.0) == score(flips(300, 9, 30), 0.0)


def test_the_score_is_zero_when_nothing_differs() -> None:
    assert score(flips(10, 0, 0), 0.0) == 0.0
    assert p_below(flips(10, 0, 0), 0.0) == pytest.approx(0.5)


def test_a_difference_beyond_reach_is_infinitely_far() -> None:
    assert score(flips(10, 0, 0), 1.0) == float("-inf")
    assert score(flips(10, 0, 0), -1.0) == float("inf")
    assert sixth_of_skewness(flips(10, 0, 0), 1.0) == 0.0
    assert p_below(flips(10, 0, 0), 1.0) == 0.0


@pytest.mark.parametrize(("count", "loss"), [(10, 0.03), (10, 0.2), (500, 0.05), (4, 0.9)])
def test_without_flips_the_score_and_its_skewness_are_those_of_a_binomial(
    count: int, loss: float
) -> None:
    """Under a loss of such a rate the likeliest way is that nothing is ever gained."""
    variance = count * loss * (1 - loss)
    assert score(flips(count, 0, 0), -loss) == pytest.approx(count * loss / sqrt(variance))
    assert score(flips(count, 0, 0), loss) == pytest.approx(-count * loss / sqrt(variance))
    skewness = -(1 - 2 * loss) / sqrt(variance)
    assert 6 * sixth_of_skewness(flips(count, 0, 0), -loss) == pytest.approx(skewness)


@pytest.mark.parametrize("pairs", [flips(300, 9, 30), flips(90, 12, 5), flips(40, 0, 7)])
@pytest.mark.parametrize("at", [-0.2, -0.03, 0.05, 0.3])
def test_skewness_is_that_of_gains_and_losses_at_the_rates_that_the_score_takes(
    pairs: Flips, at: float
) -> None:
    """The score's own standard deviation tells the rates; the third moment is summed up."""
    deviation = (pairs.gained - pairs.lost - pairs.count * at) / score(pairs, at)
    flipping = deviation**2 / pairs.count + at**2
    shares = {1: (flipping + at) / 2, -1: (flipping - at) / 2, 0: 1 - flipping}
    third = pairs.count * sum(share * (step - at) ** 3 for step, share in shares.items())
    assert sixth_of_skewness(pairs, at) == pytest.approx(third / deviation**3 / 6)
    found, sixth = corrected_score(pairs, at), sixth_of_skewness(pairs, at)
    assert found + sixth * (found**2 - 1) == pytest.approx(score(pairs, at))


def test_proportion_interval_agrees_with_wilsons_formula() -> None:
    # Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3.
    for hits, count, lower, upper in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        interval = proportion_interval(hits, count, 0.025)
        assert interval.lower == pytest.approx(lower, abs=6e-5)
        assert interval.upper == pytest.approx(upper, abs=6e-5)


def test_bounds_of_a_proportion_stay_between_none_and_all() -> None:
    for count in range(1, 300):
        assert 0.0 <= proportion_interval(0, count).lower < 1e-12
        assert 1 - 1e-12 < proportion_interval(count, count).upper <= 1.0


def test_single_answers_have_no_design_effect() -> None:
    singles = [flips(1, 1, 0)] * 3 + [flips(1, 0, 1)] * 5 + [flips(1, 0, 0)] * 92
    assert design_effect(singles) == pytest.approx(1.0)


def test_design_effect_is_the_ratio_of_variances_after_the_worst_case_is_added() -> None:
    # 100 captions of 50 images, 60 gained. Between images: 20 (1 - 1.2)^2 + 20 (2 - 1.2)^2
    # + 10 (0 - 1.2)^2 = 28; of independent captions: 60 - 100 * 0.6^2 = 24.
    images = [flips(2, 1, 0)] * 20 + [flips(2, 2, 0)] * 20 + [flips(2, 0, 0)] * 10
    prior = 1.959964**2
    expected = (28 + 2 * prior) / (24 + prior)
    assert design_effect(images, 0.025) == pytest.approx(expected, rel=1e-6)


def test_clustered_interval_covers_what_the_plain_one_misses() -> None:
    random, plain_misses, misses, rounds = Random(7), 0, 0, 400
    for _ in range(rounds):
        images = [random.choices((5, -5, 0), (1, 1, 8))[0] for _ in range(120)]
        groups = [flips(5, max(0, d), max(0, -d)) for d in images]
        total = flips(600, sum(g.gained for g in groups), sum(g.lost for g in groups))
        plain = paired_interval(total, 0.05)
        honest = paired_interval(total.scaled(1 / design_effect(groups, 0.05)), 0.05)
        plain_misses += not plain.lower <= 0 <= plain.upper
        misses += not honest.lower <= 0 <= honest.upper
    assert misses / rounds < 0.13  # nominal 0.10
    assert plain_misses / rounds > 0.3


def test_soft_flips_that_all_change_wholly_or_not_at_all_count_as_single_ones() -> None:
    for changes in ([0.0] * 40, [1.0] * 3 + [-1.0] * 3 + [0.0] * 34):
        assert soft_effect(changes, 0.005) == pytest.approx(1.0)


def test_small_changes_vary_less_than_whole_ones_but_few_of_them_prove_little() -> None:
    def effect(images: int) -> float:
        return soft_effect([0.125, -0.125, 0.0, 0.0] * (images // 4), 0.005)

    assert effect(40_000) == pytest.approx(0.125, abs=0.002)
    assert 0.125 < effect(400) < effect(40) < 1.0
