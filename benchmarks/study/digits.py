"""Write scikit-learn's handwritten digits as an image folder: `python -m ... FOLDER`.

The 1,797 images of 8 x 8 pixels come with scikit-learn (BSD licence), which must be installed.
Three of four become `FOLDER/digits/train/<name>/`, the others `FOLDER/digits/test/<name>/`.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def main(folder: Path) -> None:
    """Write the images below a folder."""
    from sklearn.datasets import load_digits  # type: ignore[import-not-found]

    digits = load_digits()
    for number, (values, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        split = "train" if number % 4 else "test"
        path = folder / "digits" / split / NAMES[label] / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((values * 255 / 16).round().astype(np.uint8)).convert("RGB").save(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
