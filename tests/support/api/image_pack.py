"""A small pack of images in place of the one of first steps."""

import json
import zipfile
from pathlib import Path

from core.first_steps.first_steps import EMOJI_FOLDER, PRODUCTS_FOLDER
from tests.support.api.image_files import picture

EACH = 6  # images of a class


def make_pack(folder: Path) -> None:
    """Write a pack: twelve emoji, and six products with an unseen image each."""
    emoji = [(f"emoji {number}", "heldout_style", number) for number in range(12)]
    products = [
        (f"product {index}", split, 100 + index * (EACH + 1) + number)
        for index in range(6)
        for number, split in enumerate(["train"] * EACH + ["test"])
    ]
    for name, rows in ((EMOJI_FOLDER, emoji), (PRODUCTS_FOLDER, products)):
        lines = []
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as pack:
            for cls, split, seed in rows:
                path = f"{split}/{seed}.png"
                pack.writestr(path, picture(seed))
                lines.append(json.dumps({"path": path, "cls": cls, "split": split}))
            pack.writestr("captions.jsonl", "\n".join(lines))
