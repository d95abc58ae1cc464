"""The benchmark of trials: what it skips could not have decided, and its counts are whole."""

import numpy as np
import pytest

from benchmarks.trials.__main__ import delays, false_alarms
from benchmarks.trials.looks import decisions
from benchmarks.trials.scenarios import Canary, Scenario, Shadow


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


def test_versions_that_differ_are_told_apart_the_right_way_and_equal_ones_are_not() -> None:
    rng = np.random.default_rng(1)
    row = delays(Shadow(discordant=0.3, effect=0.2), 20, 10_000, rng)
    assert row["wrong way, %"] == 0
    assert 20 < row["median labels"] < 300
    assert false_alarms(Shadow(discordant=0.3), 20, 50, rng)["false alarms, %"] < 30
