"""Distances of a study's rows from the curve of its default, and their costs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.study import cli, figures
from benchmarks.study.cost import Cost, Spent, budget, counting, step_cost
from benchmarks.study.curve import Answered, Off, distance, off_curve, table
from benchmarks.study.plan import PlanInvalid, read, run_config_of
from core.gate.intervals import Interval
from tests.support.learning.lessons import prepared, red_and_blue, with_recipe
from tests.support.learning.tiny_clip import folder_of, tiny_clip
from tests.support.memory_artifacts import MemoryArtifacts

CURVE = np.array([0.8, 0.7, 0.6]), np.array([0.3, 0.5, 0.54])  # learned, kept
# Its balance is 0.5, 0.2 and 0.06, its A-Acc 0.55, 0.6 and 0.57.


@pytest.mark.parametrize(
    ("learned", "kept", "expected"),
    [
        (0.7, 0.5, 0.0),  # a point of the curve
        (0.75, 0.4, 0.0),  # half-way between two
        (0.72, 0.52, 0.02),  # two points more of both
        (0.66, 0.46, -0.04),
        (0.61, 0.48, 0.545 - 0.585),  # its balance of 0.13 is half-way between the last two
        (0.9, 0.2, 0.0),  # beyond the end, where the A-Acc stays 0.55
        (0.9, 0.1, -0.05),
    ],
)
def test_the_distance_is_in_points_of_the_mean_at_the_same_balance(
    learned: float, kept: float, expected: float
) -> None:
    for order in ([0, 1, 2], [2, 0, 1]):
        points = CURVE[0][order], CURVE[1][order]
        found = distance(np.array([learned]), np.array([kept]), points)
        assert found[0] == pytest.approx(expected)


def answered(learned: list[int], kept: list[int], count: int = 100) -> Answered:
    """So many of `count` images right, with one seed each."""

    def hits(numbers: list[int]) -> np.ndarray:
        return np.stack([np.arange(count) < number for number in numbers])

    return Answered(learned=hits(learned), kept=(hits(kept),))


def test_a_row_is_measured_with_the_images_and_seeds_of_the_curve() -> None:
    rows = {
        "row": answered([72, 68], [52, 48]),
        "left": answered([80, 80], [30, 30]),
        "middle": answered([70, 70], [50, 50]),
        "far": answered([95, 95], [10, 10]),
    }
    row, left, middle, far = off_curve(rows, ("left", "middle"), resamples=400)
    assert (row.learned, row.kept, row.seeds) == (pytest.approx(0.7), pytest.approx(0.5), 2)
    assert row.distance == pytest.approx(0)
    assert row.interval.lower < -0.01
    assert row.interval.upper > 0.01
    for point in (left, middle):  # of the curve itself, whatever is drawn
        assert point.distance == pytest.approx(0)
        assert point.interval.lower == pytest.approx(0)
        assert point.interval.upper == pytest.approx(0)
    assert far.beyond
    assert not row.beyond


def test_the_interval_has_the_width_of_a_paired_difference() -> None:
    """Both keep alike; one learns 10 of 400 images that the other does not, and no others.

    The distance is half the difference, whose deviation is √(p (1 − p) / 400) with p = 1/40.
    """
    rows = {"row": answered([210], [200], 400), "point": answered([200], [200], 400)}
    found = off_curve(rows, ("point",), resamples=4000)[0]
    assert found.distance == pytest.approx(1 / 80)
    deviation = (1 / 40 * 39 / 40 / 400) ** 0.5 / 2
    width = found.interval.upper - found.interval.lower
    assert width == pytest.approx(2 * 1.96 * deviation, rel=0.15)


def test_the_table_has_a_distance_its_interval_and_the_compute() -> None:
    interval = Interval(lower=-0.002, upper=0.03)
    one = Off(
        row="sam", learned=0.7, kept=0.5, distance=0.014, interval=interval, beyond=False, seeds=3
    )
    spent = {"sam": Spent(epochs=2.85, cost=Cost(flops=123_400_000_000, bytes=2**29))}
    lines = list(table({"all": [one]}, spent))
    assert lines[-2] == "| sam | 3 | 70.0 | 50.0 | +1.4 [-0.2, +3.0] | 2.85 | 123.4 | 0.50 |"
    beyond = list(table({"all": [replace(one, beyond=True)]}, {}))
    assert beyond[-2].endswith("| +1.4 [-0.2, +3.0], beyond its end |  |  |  |")


# Cost.


def test_steps_are_those_that_cost_as_much() -> None:
    reference = Cost(flops=100, bytes=10)
    assert budget(reference, reference, 6) == (6, 1.0)
    assert budget(Cost(flops=200, bytes=10), reference, 6) == (3, 1.0)
    assert budget(Cost(flops=100, bytes=8), reference, 6) == (8, 0.938)  # 7.5 epochs
    assert budget(Cost(flops=2000, bytes=100), reference, 6) == (1, 0.03)


def test_a_step_costs_its_products_and_its_memory() -> None:
    """One image of 4 patches of 8 x 8 pixels, in a vision tower of width 16 and one layer."""
    artifacts = MemoryArtifacts()
    values = {"method": "ft", "part": "image", "batch_size": 10, "epochs": 1, "precision": "fp32"}
    spec = with_recipe(red_and_blue(artifacts), **values, micro_batch=0)
    cost = step_cost(prepared(artifacts, spec), spec.recipe)
    tokens, width, images = 5, 16, 10
    forward = 2 * (
        images * 4 * width * 3 * 64  # patches
        + images * tokens * width * (3 * width + width + 8 * width)  # attention's weights, MLP
        + images * 2 * tokens * tokens * width  # scores and weighted values, over all heads
        + images * width * 16  # projection
        + images * 2 * 16  # class logits
    )
    backward = 2 * forward - 2 * images * 4 * width * 3 * 64  # no gradient of the pixels
    backward -= 2 * images * 2 * 16  # nor of the texts, which a frozen tower has
    again = 2 * images * tokens * tokens * width  # fused attention computes the scores again
    assert cost.flops - forward - backward in {0, again}
    weights = sum(p.numel() * p.element_size() for p in tiny_clip().network.parameters())
    assert cost.bytes > weights
    assert cost.compute == cost.flops * cost.bytes


@pytest.mark.parametrize("groups", [1, 4])
def test_the_gradients_of_a_convolution_cost_its_forward_pass_each(groups: int) -> None:
    layer = nn.Conv2d(8, 8, 3, padding=1, groups=groups)
    forward = 2 * (2 * 5 * 5) * 8 * (8 // groups) * 9  # two images of 5 x 5
    for known, passes in ((torch.zeros(2, 8, 5, 5), 2), (torch.zeros(2, 8, 5, 5), 3)):
        with counting() as counter:
            layer(known.requires_grad_(passes == 3)).sum().backward()
        assert counter.get_total_flops() == passes * forward


def test_two_passes_and_a_second_model_cost_more() -> None:
    artifacts = MemoryArtifacts()
    spec = red_and_blue(artifacts)
    found = {}
    for name in ("", "sam", "own_images"):
        row = run_config_of({"sentences": 6, "sentence_length": 6, "batch_size": 5}, name)
        if not name:
            row = run_config_of({**row.recipe.to_json(), "method": "vrlwf"}, "")
        run = prepared(artifacts, replace(spec, recipe=row.recipe), make_method=row.make_method)
        found[name] = step_cost(run, row.recipe)
    assert found["sam"].flops > 1.5 * found[""].flops
    assert found["own_images"].flops > found[""].flops


# The plan, and a study of several sets from its command to its tables.


@pytest.mark.parametrize("name", ["offcurve", "offcurve_lines", "offcurve_top", "top_lines"])
def test_every_point_of_the_plan_can_be_run(name: str) -> None:
    plans = read(cli.PLANS / f"{name}.toml", {})
    assert len({plan.name for plan in plans}) == len(plans) > 1
    for plan in plans:
        for row in plan.rows:
            assert row.seeded(0).recipe.precision == "bf16"
            for _, point in cli.grid_points(plan, row) if row.name in plan.grids else ():
                point.seeded(0)
    if name == "offcurve":
        tuned = {plan.name: plan.tuned for plan in plans}
        assert tuned["offcurve-figures"] == tuned["offcurve-fashion"]
        assert len(set(tuned.values())) == 4


PLAN = """
seeds = [0]
equal_to = "default"
curve = ["default", "light"]
[sets.drawn]
[sets.again]
plan = "drawn"
[recipe]
method = "vrlwf"
epochs = 4
batch_size = 40
sentences = 6
sentence_length = 6
[[rows]]
name = "default"
[[rows]]
name = "light"
recipe = { replay_weight = 1.0 }
[[rows]]
name = "sam"
compared = "sam"
"""


def test_a_study_of_several_sets_gives_its_rows_equal_compute(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures.main(tmp_path, 16)
    base = folder_of(tmp_path / "mine", tiny_clip())
    given = {"data": "figures", "classes": [*figures.LINES]}
    retained = {"name": "others", "data": "figures", "split": "test", "classes": "rest"}
    (tmp_path / "drawn.toml").write_text(
        f'prompt = "a {{name}}."\ntarget = {_toml(given)}\nretained = [{_toml(retained)}]\n'
    )
    (tmp_path / "both.toml").write_text(PLAN)
    places = ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--threads", "1"]
    command = ["one", str(tmp_path / "both.toml"), "--base", str(base), *places]
    assert cli.main([*command, "--sets", "nothing"]) == 2
    assert "both-again" in capsys.readouterr().out
    assert cli.main([*command, "--sets", "drawn"]) == 0
    assert not (tmp_path / "out/both-again").exists()
    folder = tmp_path / "out/both-drawn"
    rows = json.loads((folder / "rows.json").read_text())
    epochs = {row["row"]: row["recipe"]["epochs"] for row in rows if "recipe" in row}
    assert epochs["default"] == epochs["light"] == 4
    (sam,) = [row for row in rows if row["row"] == "sam"]
    passes = sam["recipe"]["epochs"] * sam.get("share_of_steps", 1)
    assert 1 < passes < 2.6  # of 4: two passes a step, over the same texts and images
    assert "flips/new/update" in rows[-1]["scores"]
    lines = (folder / "curve.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines if line.startswith("| ")][1:] == [
        "| default",
        "| light",
        "| sam",
    ]
    assert "off the curve" in (folder / "curve.md").read_text()
    assert "the default" in (folder / "curve.svg").read_text()


def test_a_line_may_begin_with_another_recipe() -> None:
    figures_plan, letters_plan = read(cli.PLANS / "top_lines.toml", {})[1:]
    assert (figures_plan.sessions, letters_plan.sessions) == (8, 13)
    usual, begun = (row.seeded(1) for row in figures_plan.chosen(["default", "top_first"]))
    first, second = begun.of(0).recipe, begun.of(1).recipe
    assert (first.part, first.epochs, first.seed) == ("top", 15, 1)
    assert second == usual.of(0).recipe == usual.of(1).recipe == usual.recipe
    assert begun.facts() != usual.facts()


def test_a_plan_names_rows_that_it_has(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(
        'curve = ["missing"]\nretained = []\nrows = [{name = "a"}]\n[target]\ndata = "x"'
    )
    with pytest.raises(PlanInvalid, match="'missing'"):
        read(path, {})


def _toml(values: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{name} = {json.dumps(value)}" for name, value in values.items()) + "}"


# Figures.


def test_figures_are_the_same_each_time_and_differ_from_each_other(tmp_path: Path) -> None:
    figures.main(tmp_path / "one", 4)
    figures.main(tmp_path / "two", 4)
    files = sorted((tmp_path / "one").rglob("*.png"))
    assert len(files) == 4 * len(figures.NAMES)
    found = [file.read_bytes() for file in files]
    assert found == [file.read_bytes() for file in sorted((tmp_path / "two").rglob("*.png"))]
    assert len(set(found)) == len(found)
    assert len([file for file in files if file.parts[-3] == "test"]) == len(figures.NAMES)
