"""Make the demo's image pack: `python demo/pack/build.py --data ../shared/data`.

Each set becomes one zip, byte-identical for the same data. It contains
`<split>/<folder>/<n>.webp`, and `captions.jsonl` (path, caption, cls, split), where `cls` is the
class; several emojis share a folder.
"""

import argparse
import json
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
EPOCH = (1980, 1, 1, 0, 0, 0)

CAPTIONED = {
    "emoji_twemoji": ("twemoji", ("heldout_style", "heldout_concept")),
    "openclipart": ("openclipart", ("heldout_pair",)),
}
PER_CLASS = {"train": 200, "test": 150}
READABLE = {"t_shirt": "t-shirt"}


def put(archive: zipfile.ZipFile, path: str, content: bytes) -> None:
    """Add a member with a fixed time and mode; only text is compressed, for images already are."""
    member = zipfile.ZipInfo(path, date_time=EPOCH)
    text = path.endswith(".jsonl")
    member.compress_type = zipfile.ZIP_DEFLATED if text else zipfile.ZIP_STORED
    member.external_attr = 0o644 << 16
    archive.writestr(member, content)


def write(target: Path, source: zipfile.ZipFile, rows: list[dict[str, str]]) -> None:
    """Write the rows and their images to the zip `target`."""
    with zipfile.ZipFile(target, "w") as archive:
        for row in rows:
            put(archive, row["path"], source.read(row["path"]))
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        put(archive, "captions.jsonl", lines.encode())


def captioned(source: zipfile.ZipFile, splits: tuple[str, ...]) -> list[dict[str, str]]:
    """Return the rows of the wanted splits, in the order of their paths."""
    rows = [json.loads(line) for line in source.read("captions.jsonl").decode().splitlines()]
    kept = [
        {key: row[key] for key in ("path", "caption", "cls", "split")}
        for row in rows
        if row["split"] in splits
    ]
    return sorted(kept, key=lambda row: row["path"])


def products(source: zipfile.ZipFile) -> list[dict[str, str]]:
    """Return rows for the first images of each Fashion-MNIST class, with a readable class name.

    The rows cover both splits; `PER_CLASS` is the number of images per class of each.
    """
    rows: list[dict[str, str]] = []
    for split, count in PER_CLASS.items():
        folders: dict[str, list[str]] = {}
        for path in sorted(source.namelist()):
            if path.startswith(f"{split}/") and not path.endswith("/"):
                folders.setdefault(path.split("/")[1], []).append(path)
        for folder, paths in sorted(folders.items()):
            name = READABLE.get(folder, folder.replace("_", " "))
            rows += [
                {"path": path, "caption": name, "cls": name, "split": split}
                for path in paths[:count]
            ]
    return rows


def main() -> None:
    """Write the three zips."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=HERE)
    chosen = parser.parse_args()
    for source_name, (name, splits) in CAPTIONED.items():
        with zipfile.ZipFile(chosen.data / "sets" / f"{source_name}.zip") as source:
            write(chosen.out / f"{name}.zip", source, captioned(source, splits))
    with zipfile.ZipFile(chosen.data / "sets" / "fashion_mnist.zip") as source:
        write(chosen.out / "fashion_mnist.zip", source, products(source))
    for path in sorted(chosen.out.glob("*.zip")):
        print(f"{path.name:20} {path.stat().st_size / 1e6:5.2f} MB")


if __name__ == "__main__":
    main()
