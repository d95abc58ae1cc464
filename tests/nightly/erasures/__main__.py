"""Erase random images and compare each line with a control: `make test-erasures`.

Each try teaches a line of three updates, which replay feature statistics and exemplars, erases a
random training image of one of them, and teaches a control that never had it. Prints how many
lines had the control's digests and how many files still held the image's bytes or its thumbnail,
and writes it to `benchmarks/out/erasures.json`.
"""

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from benchmarks.output import publish
from tests.support.learning.erasure_trial import LESSONS, TRAINING_IMAGES, erase_and_compare


def main() -> None:
    """Erase so many images; end with an error unless all lines equal their controls."""
    parser = argparse.ArgumentParser(prog="make test-erasures ARGS=...", description=__doc__)
    parser.add_argument("--images", type=int, default=20, help="to erase (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random choices")
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    drawn, began = Random(chosen.seed), time.monotonic()
    none = dict.fromkeys(("erased", "replaced", "equal", "files before", "files"), 0)
    rows = [{"update": number} | none for number in range(1, 1 + len(LESSONS))]
    for _ in range(chosen.images):
        lesson, image = drawn.randrange(len(LESSONS)), drawn.randrange(TRAINING_IMAGES)
        with tempfile.TemporaryDirectory() as home:
            trial = erase_and_compare(
                Path(home), lesson=lesson, image=image, first=10_000 * drawn.randrange(10**4)
            )
        row = rows[lesson]
        row["erased"] += 1
        row["replaced"] += len(trial.replacing)
        row["equal"] += trial.equal
        row["files before"] += len(trial.files_before)
        row["files"] += len(trial.files)
    seconds = round(time.monotonic() - began)
    publish("erasures", rows, seed=chosen.seed, seconds=seconds)
    equal, left = sum(row["equal"] for row in rows), sum(row["files"] for row in rows)
    print(f"{equal} of {chosen.images} lines equal their control; {left} files hold an image.")
    sys.exit(equal < chosen.images or left > 0)


if __name__ == "__main__":
    main()
