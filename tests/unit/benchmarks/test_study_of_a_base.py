"""`study one --base BASE` alone: a base's default recipe on the repository's own images."""

import json
import zipfile
from pathlib import Path

import open_clip
import pytest

from benchmarks.study import cli
from benchmarks.study.measured import HEADS
from tests.support.learning.tiny_clip import CONFIG, folder_of, tiny_clip

TAUGHT = ("bag", "coat", "sandal")


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A few images of each of the repository's zips."""
    folder = tmp_path / "pack"
    folder.mkdir()
    for archive in cli.PACK.glob("*.zip"):
        with zipfile.ZipFile(archive) as whole, zipfile.ZipFile(folder / archive.name, "w") as few:
            lines = whole.read("captions.jsonl").decode().splitlines()
            rows = [json.loads(line) for line in lines]
            names = {name: [r for r in rows if name in Path(r["path"]).parts] for name in TAUGHT}
            groups = list(names.values()) if "fashion" in archive.name else [rows]
            chosen = [row for group in groups for row in [*group[:8], *group[-12:]]]
            for row in chosen:
                few.writestr(row["path"], whole.read(row["path"]))
            few.writestr("captions.jsonl", "\n".join(json.dumps(row) for row in chosen))
    monkeypatch.setattr(cli, "PACK", folder)
    return folder


def rows_of(text: str) -> list[dict[str, str]]:
    """The rows of a Markdown table, by the names of its columns."""
    lines = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in text.splitlines()]
    assert tuple(lines[0]) == HEADS
    return [dict(zip(HEADS, line, strict=True)) for line in lines[2:]]


def measured(out: Path, base: str, *more: str) -> list[dict[str, str]]:
    """The table that the command writes for a base."""
    assert cli.main(["one", "--base", base, "--out", str(out), *more]) == 0
    (table,) = (out / "preset").glob("*/measured.md")
    return rows_of(table.read_text())


@pytest.mark.usefixtures("pack")
def test_a_folder_is_measured_by_its_default_recipe_beside_fine_tuning(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "mine", tiny_clip())
    untouched, default, ft = measured(tmp_path / "out", str(folder))
    assert [row["row"] for row in (untouched, default, ft)] == ["untouched", "default", "ft"]
    assert {row["base"] for row in (untouched, default, ft)} == {"mine"}
    for row in (default, ft):
        assert row["seeds"] == "0, 1, 2"
        assert all(row[head] for head in HEADS)
        assert row["peak GiB"].endswith("(whole process)")
        assert "torch" in row["machine"]
        assert float(row["computed GiB"]) > 0
    assert default["learned %"] != untouched["learned %"]
    assert default["kept %"] != "" != default["R@1 image to text %"]
    assert float(default["computed GiB"]) >= float(ft["computed GiB"])


@pytest.mark.usefixtures("pack")
def test_random_weights_are_named_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = open_clip.get_model_config
    tiny = lambda name: CONFIG["model_cfg"] if name == "tiny" else known(name)  # noqa: E731
    monkeypatch.setattr(open_clip, "get_model_config", tiny)
    rows = measured(tmp_path / "out", "tiny:random", "--seeds", "0")
    assert {row["base"] for row in rows} == {"tiny, random weights (dry run)"}
    assert cli.main(["one", "--base", "ViT-B-16-SigLIP:random", "--out", str(tmp_path)]) == 2
    assert "tokenizer of its own" in capsys.readouterr().out
    assert cli.main(["one", "--base", "nothing:random", "--out", str(tmp_path)]) == 2
    assert "no architecture 'nothing'" in capsys.readouterr().out
