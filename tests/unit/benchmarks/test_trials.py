"""The benchmark of trials: what it skips could not have decided, and its counts are whole."""

import numpy as np
import pytest

from benchmarks.trials import (
    CallersCanary,
    Canary,
    Scenario,
    Shadow,
    decisions,
    delays,
    false_alarms,
)


@pytest.mark.parametrize(
    "scenario",
    [
        Canary(share=0.3, accuracy=0.7, effect=0.2),
        Canary(share=0.5, accuracy=0.9, effect=-0.3),
        Shadow(discordant=0.4, effect=0.15),
    ],
)
def test_no_look_that_is_skipped_could_have_decided(scenario: Scenario) -> None:
    looks = scenario.looks(np.arange(20, 200, 20), 4, np.random.default_rng(3))
    decided = [
        next((look for look in range(9) if looks.decides(run, look)), None) for run in range(4)
    ]
    assert [found and found[0] for found in decisions(looks)] == decided
    assert any(decided)


def test_of_few_callers_one_label_each_counts_for_one_arm() -> None:
    sizes, rng = np.arange(1, 1001), np.random.default_rng(5)
    every = CallersCanary(callers=10, once=False).looks(sizes, 50, rng)
    once = CallersCanary(callers=10, once=True).looks(sizes, 50, rng)
    assert (every.n1 + every.n2 == sizes).all()
    assert (once.n1 + once.n2)[:, -1].tolist() == [10] * 50
    assert (once.s1 <= once.n1).all()
    assert (once.s2 <= once.n2).all()
    found = [sum(one is not None for one in decisions(looks)) for looks in (every, once)]
    assert found[0] > 10  # what counting each label would find between equal versions
    assert found[1] == 0


def test_versions_that_differ_are_told_apart_the_right_way_and_equal_ones_are_not() -> None:
    rng = np.random.default_rng(1)
    row = delays(Shadow(discordant=0.3, effect=0.2), 20, 10_000, rng)
    assert row["wrong way, %"] == 0
    assert 20 < row["median labels"] < 300
    assert false_alarms(Shadow(discordant=0.3), 20, 50, rng)["false alarms, %"] < 30
