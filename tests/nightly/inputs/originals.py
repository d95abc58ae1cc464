"""Whole images and archives of every kind that a client may send."""

import zipfile

from tests.support.api.archives import tarred, zipped
from tests.support.api.image_files import frames, photograph, picture

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
    }


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
