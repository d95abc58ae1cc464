"""Whole studies of coloured squares: what they write, and what they do not run twice."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.study.cli import main
from core.errors import TrainingDiverged
from core.learning.trainer import UpdateTrainer
from core.training.trainer import Trained, TrainingSpec
from tests.support.learning.squares import build


class Place:
    """A folder with a plan, and the command run in it."""

    def __init__(self, folder: Path) -> None:
        self.plan = build(folder)
        self.data = folder
        self.out = folder / "out"

    def run(self, command: str, *options: str) -> int:
        where = ["--data", str(self.data), "--out", str(self.out), "--threads", "1"]
        return main([command, str(self.plan), *where, *options])

    def runs(self) -> dict[str, int]:
        """When each finished run was written."""
        return {path.name: path.stat().st_mtime_ns for path in self.out.glob("runs/*.json")}

    def rows(self, name: str = "squares") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((self.out / name / "rows.json").read_text())
        return found


@pytest.fixture(scope="module")
def taught_once(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("once"))
    assert place.run("one") == 0
    return place


@pytest.fixture(scope="module")
def taught_twice(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("twice"))
    assert place.run("many", "--sessions", "2", "--seeds", "0") == 0
    return place


def test_the_table_has_the_untouched_model_and_every_row(taught_once: Place) -> None:
    with (taught_once.out / "squares" / "table.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [(row["row"], row["seeds"]) for row in table] == [
        ("untouched", "0"),
        ("ft", "2"),
        ("vrlwf", "2"),
    ]
    before, tuned, _ = table
    assert float(before["retained/others/retention mean"]) == 1
    assert float(tuned["gain mean"]) == pytest.approx(
        float(tuned["ut_acc mean"]) - float(before["ut_acc mean"])
    )
    change = float(tuned["retained/others mean"]) - float(before["retained/others mean"])
    assert float(tuned["retained/others/change mean"]) == pytest.approx(change)
    assert float(tuned["a_acc mean"]) == pytest.approx(
        (float(tuned["ut_acc mean"]) + float(tuned["retained/others mean"])) / 2
    )
    assert float(before["index/image_cosine mean"]) == pytest.approx(1)
    assert float(tuned["index/image_cosine mean"]) < 1


def test_the_page_names_part_recipes_and_the_comparison(taught_once: Place) -> None:
    page = (taught_once.out / "squares" / "table.md").read_text()
    assert "4 new classes in 1 session(s), 20 training images; scored on the test part" in page
    assert '- `ft`: `{"epochs": 2, "batch_size": 8' in page
    assert "## Against `ft` (95 % intervals)" in page
    assert (taught_once.out / "squares" / "tradeoff.svg").is_file()


def test_what_is_there_is_not_run_again(
    taught_once: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    before = taught_once.runs()
    plot = (taught_once.out / "squares" / "tradeoff.svg").read_bytes()
    assert taught_once.run("one") == 0
    assert "4 runs, 4 finished" in capsys.readouterr().out
    assert taught_once.runs() == before
    assert (taught_once.out / "squares" / "tradeoff.svg").read_bytes() == plot


def test_another_recipe_is_another_run(taught_once: Place) -> None:
    before = taught_once.runs()
    changed = '{"method": "ft", "epochs": 1, "batch_size": 8}'
    assert taught_once.run("one", "--name", "changed", "--row", f"ft={changed}") == 0
    assert before.items() < taught_once.runs().items()
    assert {row["seed"] for row in taught_once.rows("changed")[1:]} == {0, 1}


def test_the_validation_part_is_another_exam(taught_once: Place) -> None:
    assert taught_once.run("one", "--part", "validation", "--rows", "ft", "--seeds", "0") == 0
    page = (taught_once.out / "squares-validation" / "table.md").read_text()
    assert "scored on the validation part" in page
    assert [row["row"] for row in taught_once.rows("squares-validation")] == ["untouched", "ft"]


def test_sessions_give_a_matrix_and_every_score_of_it(taught_twice: Place) -> None:
    untouched, tuned, _ = taught_twice.rows()
    (early, _), (later, last) = tuned["matrix"]
    scores = tuned["scores"]
    assert scores["bwt_standard"] == pytest.approx(later - early)
    assert scores["bwt_reference"] == pytest.approx((later - early) / 2)
    assert scores["last"] == pytest.approx((later + last) / 2)
    assert scores["ut_acc"] == scores["last"]
    page = (taught_twice.out / "squares" / "table.md").read_text()
    assert "| UT-Acc micro | UT-Acc macro |" in page
    assert f"| ft | 1 | {100 * scores['new']:.1f} | {100 * scores['ut_acc']:.1f} |" in page
    assert scores["new"] != scores["ut_acc"]
    assert scores["transfer_by_columns"] == scores["transfer_by_rows"] == tuned["matrix"][0][1]
    unlearned = untouched["scores"]["sessions/macro"][1]
    assert scores["fwt"] == pytest.approx(tuned["matrix"][0][1] - unlearned)
    assert [record["classes"] for record in tuned["sessions"]] == [
        ["red", "blue"],
        ["dark green", "pink"],
    ]
    for plot in ("sessions.svg", "matrix_ft.svg", "matrix_vrlwf.svg"):
        assert (taught_twice.out / "squares" / plot).is_file()


def test_a_chain_that_was_stopped_ends_in_the_same_version(taught_twice: Place) -> None:
    versions = [r["version"] for r in taught_twice.rows()[1]["sessions"]]
    last = taught_twice.rows()[1]["sessions"][-1]["key"]
    (taught_twice.out / "runs" / f"{last[:32]}.json").unlink()
    options = ("--sessions", "2", "--seeds", "0", "--rows", "ft")
    assert taught_twice.run("many", *options) == 0
    assert [r["version"] for r in taught_twice.rows()[1]["sessions"]] == versions
    assert not list((taught_twice.out / "work").iterdir())


def test_a_remainder_of_classes_is_refused(
    taught_twice: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert taught_twice.run("many", "--sessions", "3") == 2
    assert "4 classes do not make 3 equal sessions" in capsys.readouterr().out


def test_tuning_writes_the_best_values_where_the_plan_reads_them(
    taught_once: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert taught_once.run("tune") == 0
    chosen = json.loads((taught_once.data / "tuned.json").read_text())
    assert chosen["vrlwf"]["values"]["replay_weight"] in {0.5, 2.0}
    assert taught_once.run("one", "--name", "tuned", "--rows", "vrlwf", "--seeds", "0") == 0
    tuned = next(row for row in taught_once.rows("tuned") if row["row"] == "vrlwf")
    assert tuned["recipe"]["replay_weight"] == chosen["vrlwf"]["values"]["replay_weight"]
    capsys.readouterr()
    validation = ("--part", "validation", "--name", "again", "--rows", "vrlwf", "--seeds", "7")
    assert taught_once.run("one", *validation) == 0
    assert "1 runs, 1 finished" in capsys.readouterr().out  # tuning asked no test image
    (taught_once.data / "tuned.json").unlink()


def test_tuning_with_a_seed_of_the_study_is_refused(
    taught_once: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert taught_once.run("tune", "--seeds", "1") == 2
    assert "tune with others" in capsys.readouterr().out


def test_a_run_that_diverges_is_told_and_the_others_go_on(
    taught_once: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = UpdateTrainer.train

    def unlucky(self: UpdateTrainer, spec: TrainingSpec, **options: Any) -> Trained:
        if spec.recipe.epochs == 3:
            raise TrainingDiverged(step=5, terms={"loss": 1.0})
        return train(self, spec, **options)

    monkeypatch.setattr(UpdateTrainer, "train", unlucky)
    rows = ("--row", 'wild={"epochs": 3}', "--row", 'tame={"method": "ft", "epochs": 4}')
    assert taught_once.run("one", "--name", "wild", "--seeds", "0", *rows) == 0
    assert [row["row"] for row in taught_once.rows("wild")] == ["untouched", "tame"]
    page = (taught_once.out / "wild" / "table.md").read_text()
    assert "Failed: wild, seed 0: The loss or a gradient became NaN or infinite." in page


def test_an_interrupted_study_goes_on_from_the_last_finished_run(
    taught_once: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = UpdateTrainer.train
    trained: list[str] = []

    def stopped(self: UpdateTrainer, spec: TrainingSpec, **options: Any) -> Trained:
        trained.append(spec.recipe.method)
        if trained == ["ft", "vrlwf"]:
            raise KeyboardInterrupt
        return train(self, spec, **options)

    monkeypatch.setattr(UpdateTrainer, "train", stopped)
    options = ("--name", "stopped", "--per-class", "3", "--seeds", "0")
    assert taught_once.run("one", *options) == 130
    assert "to continue after the last finished run" in capsys.readouterr().out
    assert taught_once.run("one", *options) == 0
    assert trained == ["ft", "vrlwf", "vrlwf"]
    assert [row["row"] for row in taught_once.rows("stopped-3")] == ["untouched", "ft", "vrlwf"]
