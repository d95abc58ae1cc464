"""Formats of archives, the limits of unpacking, and the paths of files in them."""

import pytest

from core.archives.rules import (
    ArchiveFormat,
    UnpackedCount,
    folder_of,
    format_of,
    is_archive,
    is_ignored,
    is_list,
    path_of,
    shown,
)
from core.errors import ArchiveTooBig, ArchiveUnsafe, UnsupportedArchive


def test_the_first_bytes_tell_the_format() -> None:
    tar = bytes(257) + b"ustar\0" + bytes(249)
    assert format_of(b"PK\x03\x04...") is ArchiveFormat.ZIP
    assert format_of(b"PK\x05\x06...") is ArchiveFormat.ZIP
    assert format_of(b"\x1f\x8b...") is ArchiveFormat.TAR_GZ
    assert format_of(tar) is ArchiveFormat.TAR
    for head in (b"", b"BZh9", b"7z\xbc\xaf\x27\x1c", b"\x89PNG", tar[1:]):
        with pytest.raises(UnsupportedArchive):
            format_of(head)


def test_what_is_packed_again_is_told_from_images() -> None:
    for head in (
        b"PK\x03\x04",
        b"\x1f\x8b\x08",
        b"BZh9",
        b"\xfd7zXZ\0",
        b"Rar!\x1a",
        b"(\xb5/\xfd",
    ):
        assert is_archive(head)
    for head in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n", b"RIFF", b"BM", b"file,class"):
        assert not is_archive(head)


def test_one_byte_and_one_file_more_are_too_much() -> None:
    count = UnpackedCount(archive_bytes=2, most_bytes=150, most_files=2)
    count.add_bytes(150)
    with pytest.raises(ArchiveTooBig, match="more than 150 bytes"):
        count.add_bytes(1)
    count = UnpackedCount(archive_bytes=1, most_bytes=150, most_files=2)
    count.add_bytes(100)
    with pytest.raises(ArchiveTooBig, match="100 times its size"):
        count.add_bytes(1)
    count.add_file()
    count.add_file()
    with pytest.raises(ArchiveTooBig, match="more than 2 files"):
        count.add_file()


@pytest.mark.parametrize(
    "path", ["../a", "a/../../b", "a/..", "/a", "\\a", "..\\a", "C:\\a", "c:a"]
)
def test_a_path_that_leads_out_is_unsafe(path: str) -> None:
    with pytest.raises(ArchiveUnsafe) as caught:
        path_of(path)
    assert caught.value.facts == {"file": path}


def test_a_path_is_its_parts() -> None:
    assert path_of("./shoes\\boot//1.png") == ("shoes", "boot", "1.png")
    assert path_of("a..b/...") == ("a..b", "...")
    assert path_of(".") == ()
    assert folder_of(("shoes", "boot", "1.png")) == "boot"
    assert folder_of(("1.png",)) is None


def test_a_long_path_is_unsafe() -> None:
    assert path_of("x" * 1_000) == ("x" * 1_000,)
    with pytest.raises(ArchiveUnsafe, match="1,000 characters"):
        path_of("x" * 1_001)


def test_accents_are_the_same_however_they_are_written() -> None:
    assert path_of("cafe\u0301/1.png") == path_of("caf\u00e9/1.png")


def test_a_path_is_shown_without_what_cannot_be_printed() -> None:
    assert shown(("a\0\n\ud800", "\u202eb")) == "a/b"
    assert len(shown(("x" * 500,))) == 300


def test_hidden_files_and_those_of_systems_are_ignored() -> None:
    for path in ((".a",), ("a", ".b"), (".git", "a"), ("__MACOSX", "a"), ("a", "Thumbs.db"), ()):
        assert is_ignored(path)
    assert not is_ignored(("a", "b.png"))
    assert is_list(("a", "B.CSV"))
    assert is_list(("x.jsonl",))
    assert not is_list(("csv",))
