"""Whole inputs, and seeded mutations of them."""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from random import Random

from tests.support.api.archives import tarred, zipped
from tests.support.api.image_files import frames, photograph, picture
from tests.support.api.tables import as_datasets_writes, parquet

MAGICS = (
    b"\xff\xd8\xff\xe0",
    b"\x89PNG\r\n\x1a\n",
    b"RIFF\x24\0\0\0WEBPVP8L",
    b"GIF89a",
    b"BM",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x1f\x8b\x08",
    b"PAR1",
    b"II*\0",
    b"%PDF-1.7",
)
_LENGTHS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)

Mutation = Callable[[Random, bytes, bytes], bytes]  # of a file; another one is at hand


def mutated(number: int, seed: int, whole: Mapping[str, Sequence[bytes]]) -> tuple[str, str, bytes]:
    """Return kind, mutation and bytes of an input, which depend on its number and the seed alone.

    Kinds and mutations come in turn, so that each kind gets each of them equally often.
    """
    choice = Random(f"{seed}/{number}")
    kinds, names = list(whole), list(MUTATIONS)
    kind = kinds[number % len(kinds)]
    name = names[number // len(kinds) % len(names)]
    data = choice.choice(whole[kind])
    other = choice.choice(whole[choice.choice(kinds)])
    return kind, name, MUTATIONS[name](choice, data, other) or b"\0"


def _span(choice: Random, data: bytes) -> tuple[int, int]:
    """Return the ends of a piece of a file, short more often than long."""
    start = choice.randrange(len(data))
    return start, min(len(data), start + choice.choice((1, 4, 30, 512, 4096)))


def _flip(choice: Random, data: bytes, _: bytes) -> bytes:
    out = bytearray(data)
    for _flipped in range(choice.choice((1, 2, 8, 64))):
        out[choice.randrange(len(out))] ^= 1 << choice.randrange(8)
    return bytes(out)


def _truncate(choice: Random, data: bytes, _: bytes) -> bytes:
    return data[: choice.randrange(len(data))]


def _double(choice: Random, data: bytes, _: bytes) -> bytes:
    start, end = _span(choice, data)
    return data[:end] + data[start:end] * choice.choice((1, 2, 16)) + data[end:]


def _swap(choice: Random, data: bytes, _: bytes) -> bytes:
    first, second, third, fourth = sorted(choice.choices(range(len(data) + 1), k=4))
    return (
        data[:first] + data[third:fourth] + data[second:third] + data[first:second] + data[fourth:]
    )


def _lengthen(choice: Random, data: bytes, _: bytes) -> bytes:
    """Overwrite what may be a length, more often near the beginning, where headers are."""
    out = bytearray(data)
    for _changed in range(choice.randint(1, 3)):
        size = choice.choice((1, 2, 4))
        reach = len(out) if choice.random() < 0.5 else min(len(out), 64)
        start = choice.randrange(reach)
        value = choice.choice(_LENGTHS) % (1 << 8 * size)
        out[start : start + size] = value.to_bytes(size, choice.choice(("big", "little")))
    return bytes(out)


def _disguise(choice: Random, data: bytes, _: bytes) -> bytes:
    magic = choice.choice(MAGICS)
    return magic + data[choice.choice((0, len(magic))) :]


def _splice(choice: Random, data: bytes, other: bytes) -> bytes:
    return data[: choice.randrange(len(data))] + other[choice.randrange(len(other)) :]


MUTATIONS: Mapping[str, Mutation] = {
    "bits flipped": _flip,
    "truncated": _truncate,
    "piece doubled": _double,
    "pieces swapped": _swap,
    "length changed": _lengthen,
    "magic changed": _disguise,
    "two spliced": _splice,
}


CLASSES = ("boot", "bag")
_EACH = 4  # originals of a kind


def originals() -> dict[str, list[bytes]]:
    seeds = range(_EACH)
    images = {
        "jpeg": [photograph(seed, quality=90) for seed in seeds],
        "png": [picture(seed, side=40) for seed in seeds],
        "webp": [*(picture(seed, file_format="WEBP", side=40) for seed in seeds), frames("WEBP")],
        "gif": [*(picture(seed, file_format="GIF", side=40) for seed in seeds), frames("GIF")],
    }
    folders = [_folders(images, seed) for seed in seeds]
    return images | {
        "zip": [
            *(zipped(files) for files in folders),
            *(zipped(files, compression=zipfile.ZIP_STORED) for files in folders),
        ],
        "tar": [tarred(files) for files in folders],
        "tar.gz": [tarred(files, "w:gz") for files in folders],
        "parquet": [_table(images, seed) for seed in seeds],
        "webdataset": [_samples(images, seed) for seed in seeds],
    }


def _table(images: dict[str, list[bytes]], seed: int) -> bytes:
    """Return a Parquet file: packed or not, in one row group or two, with named classes or not."""
    data = [same[seed] for same in images.values()]
    places = range(len(data))
    packed = {"compression": "zstd" if seed % 2 else "none", "row_group_size": 2 + seed}
    if seed < _EACH // 2:
        return as_datasets_writes(data, [place % 2 for place in places], CLASSES, **packed)
    return parquet({"image": data, "label": [CLASSES[place % 2] for place in places]}, **packed)


def _samples(images: dict[str, list[bytes]], seed: int) -> bytes:
    """Return a WebDataset: classes in files of their own or in JSON, maybe in a tar of shards."""
    files: dict[str, bytes] = {}
    for place, (kind, same) in enumerate(images.items()):
        name, label = f"{place:03}", CLASSES[place % 2]
        files[f"{name}.{kind}"] = same[seed]
        if place % 2:
            files[f"{name}.cls"] = label.encode()
        else:
            files[f"{name}.json"] = f'{{"label": "{label}", "width": 40}}'.encode()
    return tarred({"0.tar": tarred(files)} if seed % 2 else files)


def _folders(images: dict[str, list[bytes]], seed: int) -> dict[str, bytes]:
    """Return the files of an archive: folders alone, or with a list in CSV or JSON Lines."""
    files = {
        f"{CLASSES[place % 2]}/{seed}.{kind}": same[seed]
        for place, (kind, same) in enumerate(images.items())
    }
    lists = {
        "list.csv": "file,class\n" + "".join(f"{name},{name[:3]}\n" for name in files),
        "list.jsonl": "".join(f'{{"file": "{name}", "class": "all"}}\n' for name in files),
    }
    chosen = [name for place, name in enumerate(lists) if seed % 3 == place]
    return files | {name: lists[name].encode() for name in chosen}
