"""The arithmetic of the gate's calibration study: that of the gate, and of published intervals."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.calibration.inheritance import BY_VERDICTS, CHOSEN, Line, simulate_inheritance
from benchmarks.calibration.intervals import growth_table, holds, near_duplicates
from benchmarks.calibration.rates import (
    FIRST,
    IN_USE,
    INTERVALS,
    POLICY,
    Gate,
    Guard,
    newcombe,
    skewness_corrected,
    tango_score,
    verdict_rates,
    verdicts,
)
from benchmarks.calibration.sample import CAPTIONS, Outcomes, Pool, SampledCounts, design_effects
from benchmarks.calibration.sample import ROOT as BUNDLED
from benchmarks.calibration.soft import EXTREMES, SoftCounts, bounds, power
from benchmarks.gate_updates import enough, newcomer, one_class, swallowing
from core.advice.rules import images_needed
from core.gate.intervals import Flips, corrected_score, design_effect, p_below, score, soft_effect
from core.gate.kinds import MeasureKind
from core.gate.measures import Measure
from core.gate.sample_size import images_to_settle
from tests.support.evaluation.measures import measure
from tests.support.factories import a_policy

Z95 = 1.959964

LINE_POLICY = replace(POLICY, line_error=0.05)


@pytest.mark.parametrize(
    ("name", "lower", "upper"),
    [
        # Bentur et al. 2009 as worked in Fagerland, Lydersen and Laake, Statistics in Medicine
        # 33 (2014) 2850-2875: 1 and 12 unchanged, 1 gained, 7 lost; 95 %.
        ("Tango", -0.517, -0.026),
        ("Agresti-Min", -0.493, -0.029),
        ("Wald", -0.520, -0.052),
        ("Newcombe", -0.507, -0.026),
    ],
)
def test_intervals_agree_with_a_published_example(name: str, lower: float, upper: float) -> None:
    if name == "Newcombe":
        found = newcombe(21, 1, 7, Z95, right=1)
    else:
        found = INTERVALS[name](21, 1, 7, Z95)
    assert np.round(found, 3) == pytest.approx([lower, upper])


@pytest.mark.parametrize("at", [-0.06, -0.03, 0.0, 0.2])
def test_scores_over_arrays_are_the_gates_own(at: float) -> None:
    rng = np.random.default_rng(2)
    gained, lost = rng.integers(0, 30, size=50), rng.integers(0, 30, size=50)
    found = tango_score(100, gained, lost, at)
    corrected = skewness_corrected(100, gained, lost, at)
    for i, (g, left) in enumerate(zip(gained.tolist(), lost.tolist(), strict=True)):
        flips = Flips(count=100, gained=g, lost=left)
        assert found[i] == pytest.approx(score(flips, at))
        assert corrected[i] == pytest.approx(corrected_score(flips, at), abs=1e-9)


def test_rates_of_losses_alone_are_binomial() -> None:
    from scipy.stats import binom  # takes a second, which every process of the suite would need

    found_holds, found_fails = verdict_rates(
        500, churn=0.03, difference=-0.03, tolerance=0.03, level=0.005, tests=1
    )
    lost = [x for x in range(501) if p_below(Flips(count=500, gained=0, lost=x), -0.03) < 0.005]
    assert found_fails == pytest.approx(sum(binom.pmf(lost, 500, 0.03)), abs=1e-6)
    losses = [x for x in range(16) if score(Flips(count=500, gained=0, lost=x), -0.03) >= 2.5758]
    assert found_holds == pytest.approx(sum(binom.pmf(losses, 500, 0.03)), abs=1e-6)


@pytest.mark.parametrize(
    ("count", "gained", "lost", "fails"),
    [
        (600, 20, 30, False),
        (600, 2, 14, False),
        (500, 0, 4, False),
        (600, 20, 55, True),
        (600, 40, 80, True),
        (200, 0, 13, True),
    ],
)
def test_the_advised_images_decide_four_times_of_five(
    count: int, gained: int, lost: int, fails: bool
) -> None:
    doubtful = measure(count=count, gained=gained, lost=lost)
    more = images_to_settle(doubtful, alpha=0.005, tests=2)
    assert more is not None
    rates = [
        verdict_rates(
            images,
            churn=(gained + lost) / count,
            difference=doubtful.difference,
            tolerance=0.03,
            level=0.005,
        )[fails]
        for images in (count + more, (count + more) * 4 // 5)
    ]
    assert rates[1] < 0.8 <= rates[0] < 0.86


@pytest.mark.parametrize(("gain", "lost"), [(0.2, 0.1), (0.3, 0.05), (0.4, 0.0), (0.9, 0.0)])
def test_the_images_that_a_gain_needs_show_it_four_times_of_five(gain: float, lost: float) -> None:
    policy = a_policy()
    needed = images_needed(gain, policy, lost)
    assert needed is not None
    shown, _ = verdict_rates(
        needed,
        churn=gain + 2 * lost,
        difference=gain,
        tolerance=0.0,
        level=policy.gain_error,
    )
    assert shown >= 0.8


def test_captions_follow_their_images_with_the_gates_own_design_effect() -> None:
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 6, size=400)
    skills = np.repeat(rng.random((2, 400)), sizes, axis=1)
    old, new = (skills + rng.random(skills.shape)) / 2 < np.array([[0.6], [0.5]])
    before, now = (Outcomes(hits={CAPTIONS: hits}, captions=sizes, soft={}) for hits in (old, new))
    whole = Pool.of(before, now, [CAPTIONS])
    sums = (whole.shares * 400) @ whole.kinds  # every image of the pool once
    starts = np.concatenate([[0], np.cumsum(sizes)])
    clusters = [
        Flips(
            count=int(end - start),
            gained=int((new & ~old)[start:end].sum()),
            lost=int((old & ~new)[start:end].sum()),
        )
        for start, end in pairwise(starts)
    ]
    found = design_effects(sums[None], 0.005)[0]
    assert found == pytest.approx(design_effect(clusters, 0.005))
    assert found > 1.1


def test_verdicts_over_arrays_are_the_gates_own() -> None:
    rng = np.random.default_rng(5)
    seen = set()
    for effect in (1.0, 2.5):
        for guarded in (1, 4):
            guards = [
                Guard(
                    drawn=SampledCounts(
                        question="photographs",
                        images=1000,
                        count=np.full(100, 1000),
                        gained=rng.integers(0, 60, size=100),
                        lost=rng.integers(0, 120, size=100),
                        design_effect=np.full(100, effect),
                    ),
                    tolerance=0.04,
                )
                for _ in range(guarded)
            ]
            found = verdicts(guards)
            assert [Gate().verdict(guards, draw) for draw in range(100)] == found.tolist()
            seen |= set(found)
    assert len(seen) == 3


def test_verdicts_on_few_images_over_arrays_are_the_gates_own() -> None:
    rng = np.random.default_rng(6)
    gate = Gate(policy=IN_USE)

    def guard(images: int, lost: int, *, pooled: bool = False) -> Guard:
        drawn = SampledCounts(
            question="photographs",
            images=images,
            count=np.full(60, images),
            gained=rng.integers(0, 20, size=60),
            lost=rng.integers(0, lost, size=60),
            design_effect=np.ones(60),
        )
        return Guard(drawn=drawn, tolerance=0.05, pooled=pooled)

    for guards in (
        [guard(1000, 60), guard(300, 60)],
        [guard(1000, 60), guard(300, 60, pooled=True)],
        [guard(300, 30)],
    ):
        found = verdicts(guards, gate.policy)
        assert [gate.verdict(guards, draw) for draw in range(60)] == found.tolist()
        assert ("passed" in found) is (len(guards) > 1)


def test_a_loss_beyond_the_limit_passes_no_more_often_with_copies_of_images() -> None:
    rows = {row["copies"]: row for row in near_duplicates(np.random.default_rng(1))}
    assert all(row["passed %, as one"] < 0.5 for row in rows.values())
    assert rows[3]["passed %, as independent"] > 5


def test_what_a_measure_lets_pass_has_no_jump_at_the_minimum() -> None:
    rows = {row["images"]: row for row in growth_table()}
    for name in ("pool, loses 3", "one of several, loses 3", "pool, at the limit"):
        assert abs(rows[349][name] - rows[351][name]) < 0.3
    for images, row in rows.items():
        if images >= IN_USE.minimum_count:
            assert row["pool, at the limit"] < 0.4  # the first look's part of 0.5 %


@pytest.mark.parametrize("level", [0.005, 0.0005, 3e-5])
def test_simulated_lines_hold_where_the_gates_own_measure_holds(level: float) -> None:
    rng = np.random.default_rng(2)
    gained, lost = rng.integers(0, 20, 200), rng.integers(0, 30, 200)
    drawn = np.stack([gained, lost, 500 - gained - lost], axis=1)
    own = [
        Measure.of(
            MeasureKind.ZERO_SHOT,
            name="suite",
            baseline="parent",
            baseline_version=1,
            tolerance=0.03,
            images=500,
            now=[True] * g + [False] * w + [True] * s,
            before=[False] * g + [True] * w + [True] * s,
            alpha=0.005,
            level=level,
        ).holds
        for g, w, s in drawn.tolist()
    ]
    assert holds(drawn, 0.03, level).tolist() == own
    assert 0 < sum(own) < len(own)


@pytest.mark.parametrize("flips", [0.05, 0.01])
def test_the_bound_of_a_line_holds_although_children_inherit_their_parents_luck(
    flips: float,
) -> None:
    found = {
        budget.name: simulate_inheritance(
            Line(step=0.0025, most=LINE_POLICY.root_tolerance + 0.0005),
            budget,
            LINE_POLICY,
            flips=flips,
            images=2000,
            lines=300,
            updates=300,
            rng=np.random.default_rng(1),
        )
        for budget in (BY_VERDICTS, CHOSEN)
    }
    assert LINE_POLICY.line_error == 0.05
    assert found[CHOSEN.name].wrong[-1] <= LINE_POLICY.line_error
    assert found[BY_VERDICTS.name].wrong[-1] > 0.5


def test_updates_whose_newest_classes_take_a_tenth_of_all_images_do_not_pass() -> None:
    for row in swallowing(np.random.default_rng(1), draws=100):
        assert row["passed before %"] > 70
        if row["swallowed %"] >= 10:
            assert row["passed now %"] == 0
        if row["swallowed %"] == 0:
            assert row["passed now %"] > 70


def test_a_class_fails_a_version_that_lost_it_and_no_harmless_one() -> None:
    rows = list(one_class(np.random.default_rng(1), draws=20, numbers=(10,)))
    assert {row["fails %, loses nothing"] for row in rows} == {0}
    assert [row["fails %, one"] for row in rows] == [0, 100, 100, 100, 100]
    assert [row["fails %, 80 % of one"] for row in rows] == [0, 0, 100, 100, 100]


def simulated_versions() -> dict[str, Outcomes]:
    """Four equally good versions, whose margins vary with the view and, as much, the version."""
    rng = np.random.default_rng(5)
    margins = rng.normal(size=(3000, 1)) + 0.3 * rng.normal(size=(3000, 9))
    return {
        name: Outcomes(
            hits={},
            captions=np.array([]),
            soft={"images": margins + 0.3 * rng.normal(size=(3000, 9)) > 0},
        )
        for name in (BUNDLED, "one", "two", "three")
    }


def test_a_harmless_first_update_passes_as_often_as_the_exact_sum_says_and_oftener_by_views(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmarks.gate_updates.SUITES", (300, 500))
    monkeypatch.setattr("benchmarks.gate_updates.FLIPS", (0.1,))
    for row in newcomer(simulated_versions(), np.random.default_rng(1), draws=400):
        images, flips = row["test images"], row["flips %"] / 100
        exact, _ = verdict_rates(images, churn=flips, difference=0.0, tolerance=0.03)
        guards = images >= IN_USE.minimum_count
        single, by_views = (row[f"first %, {how}, alike"] for how in ("single images", "views"))
        assert single == pytest.approx(100 * exact if guards else 0, abs=8)
        assert by_views >= single


def test_the_images_that_let_80_of_100_first_updates_pass_do_so_by_the_exact_sum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmarks.gate_updates.FLIPS", (0.1,))
    (row,) = enough(simulated_versions(), np.random.default_rng(1), draws=1000)
    single = row["single images, alike"]
    exact, _ = verdict_rates(single, churn=0.1, difference=0.0, tolerance=0.03)
    assert exact == pytest.approx(0.8, abs=0.05)
    assert row["views, alike"] < single


def test_views_save_images_and_the_gate_judges_as_the_study_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmarks.calibration.soft.DRAWS", 400)
    monkeypatch.setattr("benchmarks.calibration.soft.IMAGES", (500,))
    rows = list(power(simulated_versions(), np.random.default_rng(1)))  # or SoftDisagreement
    assert all(row["2 views"] >= row["single images"] for row in rows)
    assert sum(row["2 views"] - row["single images"] > 10 for row in rows) >= 2


def test_the_bound_over_views_keeps_its_error_where_students_t_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmarks.calibration.soft.DRAWS", 2000)
    root = simulated_versions()[BUNDLED]
    rows = list(bounds({BUNDLED: root}, np.random.default_rng(1)))
    extremes = [row for row in rows if row["changes"] in EXTREMES]
    assert max(row["Tango, scaled %"] for row in extremes) < 1.5
    assert max(row["Student's t %"] for row in extremes) > 10


def test_the_studys_soft_effect_is_the_gates_own() -> None:
    changes = np.random.default_rng(3).choice([-1, -0.25, 0, 0.25, 0.75], size=300)
    kinds, number = np.unique(changes, return_counts=True)
    found = SoftCounts.of(number[None].astype(float), np.fix(kinds), kinds).soft_effect
    own = soft_effect(changes.tolist(), FIRST)
    assert found == pytest.approx(own)
