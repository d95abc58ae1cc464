"""Write capital letters as an image folder: `python -m benchmarks.study.letters FOLDER`.

They are drawn with the first two faces of every font family that fontconfig lists for English.
Three of four images become `FOLDER/letters/train/<name>/`, the others `FOLDER/letters/test/...`.
"""

import string
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIZE = 64  # pixels of a side

FACES = 2  # of a family


def main(folder: Path) -> None:
    """Write the images below a folder."""
    faces = list(_faces())
    for letter in string.ascii_uppercase:
        drawn = {image.tobytes(): image for image in (_draw(letter, face) for face in faces)}
        for number, image in enumerate(drawn.values()):
            split = "train" if number % 4 else "test"
            path = folder / "letters" / split / f"letter {letter}" / f"{number:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)


def _faces() -> Iterator[str]:
    """Yield the files of the first faces of every family, in the order of their paths."""
    listed = subprocess.run(
        ["fc-list", ":lang=en", "file", "family"],
        capture_output=True,
        text=True,
        check=True,
    )
    families = defaultdict(list)
    for line in sorted(listed.stdout.splitlines()):
        file, _, family = line.partition(": ")
        families[family].append(file)
    for files in families.values():
        yield from files[:FACES]


def _draw(letter: str, face: str) -> Image.Image:
    """Draw a letter in black on white, in the middle."""
    image = Image.new("RGB", (SIZE, SIZE), "white")
    font = ImageFont.truetype(face, SIZE * 3 // 4)
    centre = (SIZE // 2, SIZE // 2)
    ImageDraw.Draw(image).text(centre, letter, fill="black", font=font, anchor="mm")
    return image


if __name__ == "__main__":
    main(Path(sys.argv[1]))
