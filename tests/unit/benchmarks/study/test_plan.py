"""Plans of studies: what they declare, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.study.cli import PLANS, grid_points, main
from benchmarks.study.measures import beside_published
from benchmarks.study.plan import PlanInvalid, parse, read
from benchmarks.study.runner import ResultsCache, key_of
from core.errors import RecipeInvalid
from core.recipes.fields import Precision

ROWS = [{"name": "ft", "recipe": {"method": "ft"}}]


@pytest.mark.parametrize("name", ["../elsewhere", "/tmp/elsewhere", "a/b", "..", ""])
def test_a_study_stays_in_its_own_folder(name: str) -> None:
    with pytest.raises(PlanInvalid, match="names its folder"):
        parse({"name": name, "target": {"data": "x"}, "rows": ROWS})


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ({"rows": ROWS}, "'target'"),
        ({"target": {"data": "x"}}, "'rows'"),
        ({"target": {"data": "x"}, "rows": ROWS, "speed": 3}, "speed"),
        ({"target": {"data": "x"}, "rows": ROWS + ROWS}, "names are equal"),
        ({"target": {"data": "x"}, "rows": ROWS, "seeds": []}, "at least one seed"),
        ({"target": {"data": "x"}, "rows": [{"recipe": {}}]}, "a row has a name"),
        ({"target": {"data": "x", "colour": 1}, "rows": ROWS}, "colour"),
        ({"target": {"data": "x"}, "rows": [{"name": "z", "compared": "zz"}]}, "no 'zz'"),
    ],
)
def test_a_plan_that_lacks_or_adds_something_is_refused(
    declared: dict[str, Any], says: str
) -> None:
    with pytest.raises(PlanInvalid, match=says):
        parse({"name": "x", **declared})


def test_a_recipe_out_of_bounds_is_refused_before_anything_runs() -> None:
    rows = [{"name": "ft", "recipe": {"epochs": 0}}]
    with pytest.raises(RecipeInvalid):
        parse({"name": "x", "target": {"data": "x"}, "rows": rows})


def test_a_row_takes_the_common_recipe_then_tuned_then_its_own(tmp_path: Path) -> None:
    tuned = {"ft": {"values": {"learning_rate": 0.5, "epochs": 9}}}
    (tmp_path / "tuned.json").write_text(json.dumps(tuned))
    plan = parse(
        {
            "name": "x",
            "target": {"data": "x"},
            "tuned": "tuned.json",
            "recipe": {"batch_size": 7, "learning_rate": 0.1},
            "rows": [
                {"name": "ft", "recipe": {"method": "ft", "epochs": 2}},
                {"name": "long", "tuned_as": "ft"},
            ],
        },
        tmp_path,
    )
    recipe = plan.rows[0].seeded(3).recipe
    assert (recipe.batch_size, recipe.learning_rate, recipe.epochs) == (7, 0.5, 2)
    assert (recipe.method, recipe.seed) == ("ft", 3)
    assert plan.rows[1].seeded(3).recipe.epochs == 9


def test_a_row_with_several_grids_tries_each_point_once() -> None:
    grids = [{"replay_weight": [6.0, 12.0]}, {"replay_weight": [12.0, 24.0]}]
    declared = {"name": "x", "target": {"data": "x"}, "rows": ROWS}
    plan = parse({**declared, "tune": {"grid": {"ft": grids}}})
    assert [point for point, _ in grid_points(plan, plan.rows[0])] == [
        {"replay_weight": 6.0},
        {"replay_weight": 12.0},
        {"replay_weight": 24.0},
    ]


def test_the_committed_plans_read() -> None:
    new = set(read(PLANS / "cifar20.toml", {}).test.classes)
    (kept, _) = read(PLANS / "fashion.toml", {}).retained
    assert (len(new), len(kept.classes), len(new & set(kept.classes))) == (20, 80, 0)
    assert read(PLANS / "cifar20_sessions.toml", {}).sessions == 5


def test_sessions_and_command_must_agree(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["one", "cifar20_sessions"]) == 2
    assert main(["many", "cifar20"]) == 2
    assert "set at least 2 sessions" in capsys.readouterr().out


def test_a_claimed_run_is_not_begun_twice(tmp_path: Path) -> None:
    key = key_of(recipe="a")
    with ResultsCache(tmp_path).claim(key) as first, ResultsCache(tmp_path).claim(key) as second:
        assert (first, second) == (True, False)
    with ResultsCache(tmp_path).claim(key) as again:
        assert again


def test_published_scores_are_recomputed_from_their_matrix() -> None:
    matrix = [[90.0, 50.0, 40.0], [80.0, 92.0, 36.0], [70.0, 86.0, 94.0]]
    given = {
        "matrix": matrix,
        "transfer": (50 + (40 + 36) / 2) / 2,  # column means first
        "avg": sum(map(sum, matrix)) / 9,
        "last": (70 + 86 + 94) / 3,
        "bwt": ((70 - 90) + (86 - 92)) / 2,
    }
    assert all(row["agree"] for row in beside_published({"ours": given}))
    rows = beside_published({"ours": {**given, "transfer": 44.06}})
    assert [row["score"] for row in rows if not row["agree"]] == ["transfer"]


def test_the_published_command_says_what_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"matrix": [[90.0, 50.0], [80.0, 92.0]], "transfer": 50.0, "avg": 78.0}
    path = tmp_path / "matrix.json"
    path.write_text(json.dumps({"methods": {"ft": {**given, "last": 86.0, "bwt": -10.0}}}))
    assert main(["published", str(path)]) == 0
    path.write_text(json.dumps({"methods": {"ft": {**given, "last": 86.0, "bwt": -5.0}}}))
    assert main(["published", str(path)]) == 1
    assert "'score': 'bwt'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("common", "precision"), [({}, Precision.FP32), ({"precision": "bf16"}, Precision.BF16)]
)
def test_runs_that_are_compared_share_an_arithmetic_whatever_the_machine(
    common: dict[str, Any], precision: Precision
) -> None:
    plan = parse({"name": "x", "target": {"data": "x"}, "recipe": common, "rows": ROWS})
    assert {row.seeded(0).recipe.precision for row in plan.rows} == {precision}


def test_a_plan_that_leaves_precision_to_the_machine_is_refused() -> None:
    rows = [{"name": "ft", "recipe": {"precision": "auto"}}]
    with pytest.raises(RecipeInvalid, match="fp32, bf16 or fp16"):
        parse({"name": "x", "target": {"data": "x"}, "rows": rows})


def test_committed_plans_compute_in_what_their_published_tables_were_made_in() -> None:
    for path in sorted(PLANS.glob("*.toml")):
        recipes = [row.seeded(0).recipe for row in read(path, {}).rows]
        assert {recipe.precision for recipe in recipes} == {Precision.BF16}, path.name
