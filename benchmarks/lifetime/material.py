"""The images of a lifetime: those that are uploaded, and a fifth that is kept for judging alone."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from random import Random

from benchmarks.calibration.sample import UPDATE_CLASSES
from benchmarks.study.images import files_of, locate
from benchmarks.study.plan import ImageSet
from demo import images as pack_reader

KEPT = 5  # one image of so many is never uploaded
SPLITS = ("train", "test")

Labelled = tuple[str, bytes]  # the class or caption of an image, and its file


@dataclass(frozen=True, kw_only=True)
class Material:
    """Images by class or caption. None of `kept` is among the others."""

    taught: Mapping[str, Sequence[bytes]]  # by class
    kept: Sequence[Labelled]  # of these classes
    named: Sequence[Labelled]  # of the retained suite
    captioned: Sequence[Labelled]  # the same images with their captions
    kept_named: Sequence[Labelled]
    kept_captioned: Sequence[Labelled]


def read_material(
    sets: Sequence[str],
    data: Path,
    unzipped: Path,
    *,
    classes: int,
    per_class: int,
    suite: int | None,
    seed: int,
) -> Material:
    """Read the first classes of image sets, and the emoji of the demo's pack as a suite.

    Of a class, both splits are taken together, at most `per_class` images, and of CIFAR-100 only
    classes that the bundled model has never seen. `suite` is the number of emoji, None: all.
    """
    images: dict[str, list[bytes]] = defaultdict(list)
    for name in sets:
        folder = locate(name, [data], unzipped)
        chosen = tuple(UPDATE_CLASSES) if name == "cifar100" else ()
        for split in SPLITS:
            wanted = ImageSet(name=name, data=name, split=split, classes=chosen)
            for path, text in files_of(wanted, folder):
                images[text].append(path.read_bytes())
    kept: list[Labelled] = []
    taught: dict[str, Sequence[bytes]] = {}
    for text in list(images)[:classes]:
        found = list(dict.fromkeys(images[text]))
        Random(f"{seed} {text}").shuffle(found)
        found = found[:per_class]
        kept += ((text, one) for one in found[::KEPT])
        taught[text] = [one for n, one in enumerate(found) if n % KEPT]
    known = set(chain.from_iterable(taught.values()))
    named, captioned = pack_reader.named("twemoji"), pack_reader.captioned("twemoji")
    of_file = {one.file_name: one for one in named}
    pairs = [(of_file[one.file_name], one) for one in captioned]
    unique = list({one.data: pair for pair in pairs for one in pair[:1]}.values())
    Random(seed).shuffle(unique)
    unique = unique[:suite]
    return Material(
        taught=taught,
        kept=[(text, one) for text, one in kept if one not in known],
        named=[(one.text, one.data) for n, (one, _) in enumerate(unique) if n % KEPT],
        captioned=[(one.text, one.data) for n, (_, one) in enumerate(unique) if n % KEPT],
        kept_named=[(one.text, one.data) for one, _ in unique[::KEPT]],
        kept_captioned=[(one.text, one.data) for _, one in unique[::KEPT]],
    )
