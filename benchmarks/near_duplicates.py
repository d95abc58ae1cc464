"""Search near-duplicates among many images, and say what each 100,000 of them take.

    python -m benchmarks.near_duplicates --images 100000 200000 400000 1000000

Thumbnails are drawn at random: `pictures`, whose frequencies vary about as much as those of
photographs (of CIFAR-100); `noise`, as 16-pixel images of random pixels have, few of which can be
told apart by a few coordinates; and `film`, frames of one picture with noise, which are all alike.
The table has the seconds of one processor for comparing all that arrive together and for placing
them one after another, as within the transaction that records them, for the tree of those that are
known, and for an upload of 100 among these; and the most memory that the process had until then.
"""

import argparse
import gc
import resource
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.output import publish
from core.datasets.similarity import Arrivals, Placing, ThumbnailIndex
from core.values import Digest

UPLOAD = 100  # images
PAGE = 10_000  # images drawn at once
KIBIBYTES_OF_MEGABYTE = 1e6 / 1024
GREY = 516.0  # standard deviation of the sum of a photograph's values, of an orthonormal wave
COLOUR = 0.35  # of the differences of colours, as a part of that

T = TypeVar("T")


def pictures(chance: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """Return thumbnails of random waves, fewer of the short ones."""
    orders = np.arange(8)
    waves = np.cos(np.pi * (orders + 0.5) * orders[:, None] / 8)
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    fall = (1 + np.hypot(orders[:, None], orders)) ** -1.3
    heights = chance.normal(size=(count, 8, 8, 3)) * fall[..., None] * [1, COLOUR, COLOUR] * GREY
    opponents = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]]) / np.sqrt([[3], [2], [6]])
    drawn = np.einsum("nuvo,ui,vj,oc->nijc", heights, waves, waves, opponents, optimize=True)
    return _as_bytes(drawn + 127.5)


def noise(chance: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """Return thumbnails of 16-pixel images of random pixels, as a bilinear filter makes them."""
    pixels = chance.integers(0, 256, (count, 18, 18, 3), np.uint8)
    near = np.zeros((8, 18))
    for place in range(8):
        near[place, 2 * place : 2 * place + 4] = np.array([1, 3, 3, 1]) / 8
    return _as_bytes(np.einsum("nijc,ui,vj->nuvc", pixels, near, near, optimize=True))


def film(chance: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """Return thumbnails of one picture, with noise of up to two steps of each value."""
    picture = pictures(np.random.default_rng(1), 1)
    return _as_bytes(picture.astype(float) + chance.integers(-2, 3, (count, picture.shape[1])))


def placed(arrivals: Arrivals) -> None:
    """Place arrivals one after another in the first group that they are near to."""
    placing = Placing(arrivals)
    for number in arrivals.numbers.values():
        near = placing.near(number)
        placing.put(number, near[0].group if near else Digest(f"{number:064x}"))


def _as_bytes(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    whole: NDArray[np.uint8] = values.clip(0, 255).round().astype(np.uint8)
    return whole.reshape(len(values), -1)


KINDS = {"pictures": pictures, "noise": noise, "film": film}


def measure(kind: str, count: int) -> dict[str, Any]:
    """Search among so many thumbnails; return a row of the table."""
    chance, texts = np.random.default_rng(0), list[str]()
    for start in range(0, count, PAGE):
        drawn = KINDS[kind](chance, min(PAGE, count - start))
        texts += [one.tobytes().hex() for one in drawn]
    asked = texts[:UPLOAD]
    groups = 1 if kind == "film" else count
    rows = [(place, f"{place % groups:064x}", text) for place, text in enumerate(texts)]
    index, building = timed(partial(ThumbnailIndex.of, [rows]))
    found, uploading = timed(partial(index.near, asked))
    if len(found) < UPLOAD:
        raise RuntimeError("images do not find themselves")
    del index, rows
    gc.collect()
    arrivals, arriving = timed(partial(Arrivals, texts))
    _, placing = timed(partial(placed, arrivals))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "kind": kind,
        "images": count,
        "all, s": arriving,
        "all, ms an image": 1000 * arriving / count,
        "placing, ms an image": 1000 * placing / count,
        "tree of known, s": building,
        "upload, ms": 1000 * uploading,
        "peak MB": peak / KIBIBYTES_OF_MEGABYTE,
    }


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return what some work returns, and its seconds of processor time."""
    began = time.process_time()
    done = work()
    return done, time.process_time() - began


def main() -> None:
    """Measure each kind and number, and publish the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.near_duplicates")
    parser.add_argument("--images", type=int, nargs="+", default=[100_000, 200_000, 400_000])
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    given = parser.parse_args()
    table = [measure(kind, count) for kind in given.kinds for count in sorted(given.images)]
    publish("near_duplicates", table)


if __name__ == "__main__":
    main()
