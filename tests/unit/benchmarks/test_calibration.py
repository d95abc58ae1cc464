"""The arithmetic of the gate's calibration study, and what the study relies on."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gate as bench_gate
from benchmarks.calibration import intervals as small_samples_study
from benchmarks.calibration.intervals import situations, small_samples
from benchmarks.calibration.rates import (
    FAILED,
    PASSED,
    POLICY,
    Disagreement,
    Gate,
    Guard,
    counts,
    images_needed,
    scenarios,
    shares,
    verdict_rates,
    verdicts,
)
from benchmarks.calibration.sample import (
    CAPTIONS,
    Outcomes,
    Pool,
    SampledCounts,
    design_effects,
    nulls,
    planted,
    read,
    read_all,
    save,
)
from core.gate.measures import Flips, design_effect, p_below, score


def outcomes(right: float, seed: int, images: int = 400) -> Outcomes:
    """A version that is right about a share of a pool's images and of their captions."""
    rng = np.random.default_rng(seed)
    sizes = np.random.default_rng(0).integers(1, 6, size=images)
    skill = np.repeat(rng.random(images), sizes)
    hits = {
        "photographs": rng.random(images) < right,
        CAPTIONS: (skill + rng.random(int(sizes.sum()))) / 2 < right,
    }
    return Outcomes(hits=hits, captions=sizes)


def drawn(count: int, gained: list[int], lost: list[int], effect: float = 1.0) -> SampledCounts:
    return SampledCounts(
        question="photographs",
        images=count,
        count=np.full(len(gained), count),
        gained=np.array(gained),
        lost=np.array(lost),
        design_effect=np.full(len(gained), effect),
    )


# ---- Exact rates ----------------------------------------------------------------------------


@pytest.mark.parametrize(("gain", "loss"), [(0.0, 0.03), (0.05, 0.05), (0.0, 0.0)])
def test_counts_have_all_the_probability_and_the_right_means(gain: float, loss: float) -> None:
    table = counts(700, gain, loss)
    assert table.weight.sum() == pytest.approx(1)
    assert (table.weight * table.gained).sum() == pytest.approx(700 * gain, abs=1e-4)
    assert (table.weight * table.lost).sum() == pytest.approx(700 * loss, abs=1e-4)


def test_rates_of_losses_alone_are_binomial() -> None:
    from scipy.stats import binom  # takes a second, which every process of the suite would need

    holds, fails = verdict_rates(
        500, churn=0.03, difference=-0.03, tolerance=0.03, alpha=0.005, tests=1
    )
    lost = [x for x in range(501) if p_below(Flips(count=500, gained=0, lost=x), -0.03) < 0.005]
    assert fails == pytest.approx(sum(binom.pmf(lost, 500, 0.03)), abs=1e-6)
    losses = [x for x in range(16) if score(Flips(count=500, gained=0, lost=x), -0.03) >= 2.5758]
    assert holds == pytest.approx(sum(binom.pmf(losses, 500, 0.03)), abs=1e-6)


def test_as_many_images_as_needed_have_the_power_and_fewer_do_not() -> None:
    case = {"churn": 0.1, "difference": -0.01, "tolerance": 0.03, "alpha": 0.005, "tests": 2}
    needed = images_needed(0.8, **case)  # type: ignore[arg-type]
    assert needed is not None
    assert verdict_rates(needed, **case)[0] >= 0.8  # type: ignore[arg-type]
    assert verdict_rates(needed * 19 // 20, **case)[0] < 0.8  # type: ignore[arg-type]
    assert images_needed(0.8, **{**case, "churn": 0.005}) is None  # type: ignore[arg-type]
    gains_alone = {**case, "churn": 0.02, "difference": 0.05 - 0.03}
    assert images_needed(0.8, **gains_alone) is not None  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [20, 100, 500, 2000])
def test_a_loss_at_its_tolerance_is_judged_wrongly_at_most_as_often_as_promised(n: int) -> None:
    for loss, churn in situations():
        holds, fails = verdict_rates(
            n, churn=churn, difference=-loss, tolerance=loss, alpha=POLICY.alpha, tests=2
        )
        assert holds <= 0.005
        assert fails <= 0.0075  # the corner without a single gain; half the alpha elsewhere


# ---- Draws ----------------------------------------------------------------------------------


def test_a_drawn_suite_has_its_size_and_on_average_the_pools_difference() -> None:
    before, now = outcomes(0.6, 1), outcomes(0.5, 2)
    pool = Pool.of(before, now, ["photographs"])
    suites = pool.draw(300, 4000, np.random.default_rng(3), 0.005)["photographs"]
    assert set(suites.count) == {300}
    assert set(suites.design_effect) == {1.0}
    truth = before.accuracy("photographs") - now.accuracy("photographs")
    assert pool.loss("photographs") == pytest.approx(truth)
    assert np.mean((suites.lost - suites.gained) / 300) == pytest.approx(truth, abs=0.003)


def test_captions_follow_their_images_with_the_gates_own_design_effect() -> None:
    before, now = outcomes(0.6, 1), outcomes(0.5, 2)
    whole = Pool.of(before, now, [CAPTIONS])
    sums = (whole.shares * 400) @ whole.kinds  # every image of the pool once
    starts = np.concatenate([[0], np.cumsum(before.captions)])
    old, new = before.hits[CAPTIONS], now.hits[CAPTIONS]
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


@pytest.mark.parametrize("question", ["photographs", CAPTIONS])
@pytest.mark.parametrize("loss", [0.03, 0.2])
def test_a_tilted_pool_loses_exactly_what_it_is_asked_to(question: str, loss: float) -> None:
    pool = Pool.of(outcomes(0.6, 1), outcomes(0.5, 2), [question]).reweighted(question, loss)
    assert pool.loss(question) == pytest.approx(loss)
    assert pool.shares.sum() == pytest.approx(1)
    assert (pool.shares >= 0).all()


def test_a_pool_that_only_gains_cannot_be_tilted_to_lose() -> None:
    better = Outcomes(
        hits={"photographs": np.array([True, True])}, captions=np.array([], dtype=np.int64)
    )
    worse = Outcomes(
        hits={"photographs": np.array([True, False])}, captions=np.array([], dtype=np.int64)
    )
    with pytest.raises(ValueError, match="no weight"):
        Pool.of(worse, better, ["photographs"]).reweighted("photographs", 0.1)


# ---- Verdicts -------------------------------------------------------------------------------


def test_verdicts_over_arrays_are_the_gates_own() -> None:
    rng = np.random.default_rng(5)
    gate = Gate()
    seen = set()
    for effect in (1.0, 2.5):
        for guarded in (1, 4):
            guards = [
                Guard(
                    drawn=drawn(
                        1000,
                        rng.integers(0, 60, size=100).tolist(),
                        rng.integers(0, 120, size=100).tolist(),
                        effect,
                    ),
                    tolerance=0.04,
                )
                for _ in range(guarded)
            ]
            found = verdicts(guards)
            for draw in range(100):
                assert gate.verdict(guards, draw) == found[draw]
            seen |= set(found)
    assert len(seen) == 3


def test_verdicts_with_measures_below_the_minimum_are_the_gates_own() -> None:
    rng = np.random.default_rng(6)
    policy = replace(POLICY, minimum_count=500)
    gate, seen = Gate(policy=policy), set()
    for images in (300, 800):
        sizes = (images, 60, 60)
        guards = [
            Guard(
                drawn=drawn(
                    size,
                    rng.integers(0, size // 10, size=100).tolist(),
                    rng.integers(0, size // 5, size=100).tolist(),
                ),
                tolerance=0.05,
            )
            for size in sizes
        ]
        found = verdicts(guards, policy)
        assert [gate.verdict(guards, draw) for draw in range(100)] == found.tolist()
        assert (images < 500) == (PASSED not in found)
        seen |= set(found)
    assert len(seen) == 3


def test_small_measures_at_their_tolerance_seldom_fail_and_sure_losses_mostly_do() -> None:
    images = np.arange(2000)
    root = Outcomes(hits={"photographs": images >= 0}, captions=np.array([], dtype=np.int64))
    worse = Outcomes(hits={"photographs": images >= 200}, captions=np.array([], dtype=np.int64))
    rows = list(
        small_samples({"bundled": root, "ft-11": worse}, ["photographs"], np.random.default_rng(7))
    )
    edge = [row for row in rows if "tolerance" in row["scenario"] and row["wrong"] == FAILED]
    assert len(edge) == len(small_samples_study.SUITES) + len(small_samples_study.HOLDOUTS)
    assert max(row["worst pair %"] for row in edge) <= 1.0
    beyond = [row for row in rows if "beyond" in row["scenario"]]
    assert max(row["worst pair %"] for row in beyond) <= 1.0
    sure = {(row["scenario"], row["images"]): row["failed %"] for row in rows}
    assert sure["suite that loses 10, 3 allowed", "499"] > 95
    assert sure["holdouts that lose 10, 5 allowed", "20 x 40"] > 95


def test_a_study_that_is_not_about_the_gate_stops() -> None:
    guards = [Guard(drawn=drawn(1000, [0], [200]), tolerance=0.03)]
    assert shares(guards, Gate(), checked=1)[FAILED] == 1
    other = Gate(_verdicts={})
    key = ("photographs", 1000, 1000, 0, 200, 1.0, 0.03)
    other._verdicts[(key,)] = Gate().verdict(
        [Guard(drawn=drawn(1000, [0], [0]), tolerance=0.03)], 0
    )
    with pytest.raises(Disagreement):
        shares(guards, other, checked=1)


def test_the_p_value_that_fails_is_divided_among_measures_and_gain() -> None:
    lost = next(
        lost
        for lost in range(40, 80)
        if p_below(Flips(count=1000, gained=10, lost=lost), -0.03) < POLICY.alpha
    )
    guards = [Guard(drawn=drawn(1000, [10], [lost]), tolerance=0.03)]
    assert verdicts(guards)[0] != FAILED


# ---- Versions -------------------------------------------------------------------------------


def test_outcomes_are_read_as_they_were_saved(tmp_path: Path) -> None:
    saved = outcomes(0.5, 1)
    save(tmp_path / "ft-11.npz", saved)
    found = read(tmp_path / "ft-11.npz")
    assert found.captions.tolist() == saved.captions.tolist()
    for name, hits in saved.hits.items():
        assert (found.hits[name] == hits).all()
    assert list(read_all(tmp_path)) == ["ft-11"]


def test_nulls_are_two_seeds_of_one_recipe_and_losses_are_worse_than_the_untouched() -> None:
    versions = {
        "bundled": outcomes(0.6, 0),
        "ft-11": outcomes(0.5, 1),
        "ft-12": outcomes(0.5, 2),
        "mixture-0.50": outcomes(0.3, 3),
        "noise-0.05-11": outcomes(0.9, 4),
    }
    (null,) = nulls(versions, "photographs")
    assert {null.before, null.now} == {"ft-11", "ft-12"}
    assert 0 <= null.loss <= 0.025
    losses = planted(versions, "photographs")
    assert {pair.now for pair in losses} == {"ft-11", "ft-12", "mixture-0.50"}
    assert all(pair.loss > 0.005 for pair in losses)
    for scenario in scenarios(versions, ["photographs"]):
        for pair, tolerance in scenario.cases:
            assert (pair.loss > tolerance + 1e-9) == (scenario.wrong != FAILED)


def test_a_folder_without_the_image_sets_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--data", str(tmp_path / "nowhere"), "--outcomes", str(tmp_path / "outcomes")]
    monkeypatch.setattr("sys.argv", ["gate", *flags])
    assert bench_gate.main() == 2
    assert "cifar100" in capsys.readouterr().err
