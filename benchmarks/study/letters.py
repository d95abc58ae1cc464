"""Write capital letters as an image folder: `python -m benchmarks.study.letters FOLDER`.

They are drawn with the first two faces of every font family that fontconfig lists for English,
each of these several times: in another size and grey, turned and moved a little. Three of four
images become `FOLDER/letters/train/<name>/`, the others `FOLDER/letters/test/...`.
"""

import string
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw, ImageFont

SIZE = 64  # pixels of a side

FACES = 2  # of a family
VARIANTS = 16  # of a letter in a face


def main(folder: Path) -> None:
    """Write the images below a folder."""
    faces = list(_faces())
    for letter in string.ascii_uppercase:
        chance = Random(letter)
        images = (_draw(letter, face, chance) for face in faces for _ in range(VARIANTS))
        drawn = {image.tobytes(): image for image in images}
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


def _draw(letter: str, face: str, chance: Random) -> Image.Image:
    """Draw a dark letter on a light ground, near the middle."""
    ground, ink = chance.randint(170, 255), chance.randint(0, 90)
    image = Image.new("L", (SIZE, SIZE), ground)
    font = ImageFont.truetype(face, int(SIZE * chance.uniform(0.5, 0.85)))
    centre = (SIZE // 2 + chance.randint(-6, 6), SIZE // 2 + chance.randint(-6, 6))
    ImageDraw.Draw(image).text(centre, letter, fill=ink, font=font, anchor="mm")
    turned = image.rotate(chance.uniform(-15, 15), Image.Resampling.BICUBIC, fillcolor=ground)
    return turned.convert("RGB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
