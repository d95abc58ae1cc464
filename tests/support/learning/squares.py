"""Folders of coloured squares, and a minuscule model beside them, for studies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from safetensors.torch import save_file

from tests.support.learning.tiny_clip import tiny_clip

NEW = {
    "red": (220, 10, 10),
    "blue": (10, 10, 220),
    "dark_green": (10, 120, 10),
    "pink": (240, 150, 170),
}
KEPT = {
    "black": (9, 9, 9),
    "white": (240, 240, 240),
    "grey": (120, 120, 120),
    "brown": (110, 70, 30),
    "orange": (250, 140, 10),
    "violet": (140, 20, 200),
}
TRAIN, TEST = 5, 14  # images a class; the test ones fall on both parts

PLAN = """
seeds = [0, 1]
base = {base!r}
tuned = "tuned.json"

[target]
data = "squares"
classes = ["red", "blue", "dark_green", "pink"]

[[retained]]
name = "others"
data = "squares"
split = "test"
classes = "rest"

[retrieval]
data = "captioned"
split = "held"

[recipe]
epochs = 2
batch_size = 8
learning_rate = 3e-3
sentences = 4
sentence_length = 5

[[rows]]
name = "ft"
recipe = {{ method = "ft" }}

[[rows]]
name = "vrlwf"
recipe = {{ method = "vrlwf" }}

[tune]
seeds = [7]

[tune.grid.vrlwf]
replay_weight = [0.5, 2.0]
"""


def build(folder: Path) -> Path:
    """Ten classes of squares, a captioned set and a model below `folder`; the plan's path."""
    for name, colour in {**NEW, **KEPT}.items():
        paint(folder / "squares" / "train" / name, colour, range(TRAIN))
        paint(folder / "squares" / "test" / name, colour, range(20, 20 + TEST))
    lines = []
    for name, colour in KEPT.items():
        for path in paint(folder / "captioned" / "held" / name, colour, range(60, 66)):
            row = {"path": str(path.relative_to(folder / "captioned")), "caption": f"a {name} tile"}
            lines.append(json.dumps(row))
    (folder / "captioned" / "captions.jsonl").write_text("\n".join(lines) + "\n")
    model = tiny_clip()
    base = folder / "model"
    base.mkdir()
    (base / "open_clip_config.json").write_text(json.dumps(model.config))
    state = {name: tensor.contiguous() for name, tensor in model.network.state_dict().items()}
    save_file(state, base / "model.safetensors")
    plan = folder / "squares.toml"
    plan.write_text(PLAN.format(base=str(base)))
    return plan


def paint(folder: Path, colour: tuple[int, int, int], shades: Sequence[int]) -> list[Path]:
    """One square a shade; no two of them are equal."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for shade in shades:
        image = Image.new("RGB", (18, 18), colour)
        image.putpixel((0, 0), (shade, shade, shade))
        paths.append(folder / f"{shade}.png")
        image.save(paths[-1])
    return paths
