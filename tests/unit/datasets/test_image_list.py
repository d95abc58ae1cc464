"""Image lists, and how files get their texts."""

import pytest

from core.datasets.image_lists import ListedImage, name_files, read_image_list
from core.datasets.rules import DatasetKind
from core.errors import ArchiveUnsafe, ImageListInvalid

LABELLED, CAPTIONED = DatasetKind.LABELLED, DatasetKind.CAPTIONED

CSV, JSONL = ("data", "list.csv"), ("list.jsonl",)


def pairs(path: tuple[str, ...], data: bytes, kind: DatasetKind) -> list[tuple[str, str]]:
    return [("/".join(one.path), one.text) for one in read_image_list(path, data, kind)]


def test_csv_names_files_relative_to_itself() -> None:
    data = b'\xef\xbb\xbffile_name,class,note\r\na/1.png,"boot, red",x\r\n./2.png,bag\r\n'
    assert pairs(CSV, data, LABELLED) == [("data/a/1.png", "boot, red"), ("data/2.png", "bag")]
    assert pairs(CSV, b"path,caption\n1.png,a boot\n", CAPTIONED) == [("data/1.png", "a boot")]
    assert pairs(CSV, b"file,class\n", LABELLED) == []


def test_json_lines_may_have_several_captions() -> None:
    data = b'{"file": "1.png", "captions": ["a", "b"]}\n\n{"path": "2.png", "caption": "c"}'
    assert pairs(JSONL, data, CAPTIONED) == [("1.png", "a"), ("1.png", "b"), ("2.png", "c")]
    assert pairs(JSONL, b'{"file": "1", "class": "a", "captions": ["b"]}', LABELLED) == [("1", "a")]


@pytest.mark.parametrize(
    ("path", "data", "kind", "entry"),
    [
        (CSV, b"file,class\n1,a\n2\n", LABELLED, 2),
        (CSV, b"name,class\n1,a\n", LABELLED, 1),
        (CSV, b"file,label\n1,a\n", LABELLED, 1),
        (CSV, b"file,class\n,a\n", LABELLED, 1),
        (CSV, b'file,class\n1,a\n2,"b\n', LABELLED, 2),
        (CSV, b"file,class\n1,\xff\n", LABELLED, 1),
        (JSONL, b'{"file": "1", "class": "a"}\n{"file": "2"}', LABELLED, 2),
        (JSONL, b'{"file": "1", "class": "a"}\n{"file', LABELLED, 2),
        (JSONL, b'{"file": "1", "class": 7}', LABELLED, 1),
        (JSONL, b"null", LABELLED, 1),
        (JSONL, b'{"file": ".", "class": "a"}', LABELLED, 1),
        (JSONL, b'{"file": ["1"], "class": "a"}', LABELLED, 1),
        (CSV, b"file,class" + b"," * 1_000 + b"\n1,a\n", LABELLED, 1),
        (JSONL, b'{"file": "1", "class": "a", "x": "' + b"x" * 1_000_000 + b'"}', LABELLED, 1),
        (JSONL, b"[" * 100_000, LABELLED, 1),
        (JSONL, b'{"file": "1", "class": "a"}', CAPTIONED, 1),
        (JSONL, b'{"file": "1", "captions": []}', CAPTIONED, 1),
        (JSONL, b'{"file": "1", "captions": ["a", 1]}', CAPTIONED, 1),
    ],
)
def test_an_entry_that_cannot_be_read_is_named(
    path: tuple[str, ...], data: bytes, kind: DatasetKind, entry: int
) -> None:
    with pytest.raises(ImageListInvalid) as caught:
        pairs(path, data, kind)
    assert caught.value.facts == {"file": "/".join(path), "entry": entry}
    assert "list." not in caught.value.message  # which is logged, and names of files never are


def test_no_more_is_kept_of_a_text_than_what_is_too_long() -> None:
    data = b"file,class\n1,%s%s\n" % (b" " * 5_000, b"x" * 5_000)
    assert pairs(CSV, data, LABELLED) == [("data/1", "x" * 2_000)]


def test_an_entry_may_not_name_a_file_outside() -> None:
    with pytest.raises(ArchiveUnsafe):
        pairs(CSV, b"file,class\n../1.png,a\n", LABELLED)


def named(
    files: list[tuple[str, ...]], listed: list[ListedImage] | None, kind: DatasetKind
) -> list[tuple[int | None, str, str | None]]:
    found = name_files(files, listed, kind)
    return [(one.index, one.text, one.refusal and one.refusal.code) for one in found]


def test_without_a_list_the_folder_is_the_class() -> None:
    files = [("x", "boot", "1"), ("2",)]
    assert named(files, None, LABELLED) == [(0, "boot", None), (1, "", "text_missing")]
    assert named(files[:1], None, CAPTIONED) == [(0, "", "text_missing")]


def test_with_a_list_folders_say_nothing_even_if_it_is_empty() -> None:
    files = [("boot", "1"), ("boot", "2")]
    listed = [ListedImage(path=("boot", "2"), text=text) for text in ("bag", "hat")]
    listed.append(ListedImage(path=("3",), text="bag"))
    assert named(files, listed, LABELLED) == [
        (1, "bag", None),
        (1, "hat", None),
        (None, "bag", "file_missing"),
        (0, "", "text_missing"),
    ]
    assert named(files[:1], [], LABELLED) == [(0, "", "text_missing")]
    twice = [("2",), ("2",)]
    assert named(twice, [ListedImage(path=("2",), text="bag")], LABELLED) == [
        (1, "bag", None),
        (0, "", "text_missing"),
    ]
