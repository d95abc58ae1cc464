"""Images of studies: folders, captions and zips, and what is refused."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.study.images import ImageCache, StudyData, StudyDataReader, files_of, locate
from benchmarks.study.plan import ImageSet, PlanInvalid, read
from core.images.sandbox import SandboxDecoder
from tests.support.learning.squares import KEPT, NEW, TEST, TRAIN, build, paint
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.pictures import make_decoder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plans")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxDecoder]:
    decoder = make_decoder()
    yield decoder
    decoder.close()


class Counting:
    """A decoder that counts."""

    def __init__(self, decoder: SandboxDecoder) -> None:
        self.decoder = decoder
        self.count = 0

    def decode(self, data: bytes) -> Any:
        self.count += 1
        return self.decoder.decode(data)


def reader(place: Path, index: Path, decoder: Any) -> StudyDataReader:
    return StudyDataReader(
        image_cache=ImageCache(MemoryArtifacts(), index, decoder, threads=1),
        places=(place,),
        unzipped=index,
        emit=lambda title, done, total: None,
    )


def study_data(place: Path, index: Path, decoder: Any) -> StudyData:
    return reader(place, index, decoder).read(read(place / "squares.toml", {}))


def test_classes_keep_the_plans_order_and_the_rest_is_retained(
    place: Path, tmp_path: Path, sandbox: SandboxDecoder
) -> None:
    found = study_data(place, tmp_path, sandbox)
    assert found.classes == ("red", "blue", "dark green", "pink")
    assert found.sessions(2) == (("red", "blue"), ("dark green", "pink"))
    assert found.retained["others"].classes == tuple(sorted(KEPT))
    assert (len(found.train), len(found.test)) == (len(NEW) * TRAIN, len(NEW) * TEST)
    assert len(found.retrieval) == 6 * len(KEPT)
    assert {entry.texts for entry in found.retrieval} == {(f"a {name} tile",) for name in KEPT}


def test_images_are_decoded_once(place: Path, tmp_path: Path, sandbox: SandboxDecoder) -> None:
    decoder = Counting(sandbox)
    first = study_data(place, tmp_path, decoder)
    decoded = decoder.count
    assert study_data(place, tmp_path, decoder) == first
    assert decoder.count == decoded


def test_a_changed_file_is_decoded_again(tmp_path: Path, sandbox: SandboxDecoder) -> None:
    (path,) = paint(tmp_path / "set" / "train" / "red", (200, 0, 0), [1])
    decoder = Counting(sandbox)
    image_cache = ImageCache(MemoryArtifacts(), tmp_path / "index", decoder, threads=1)
    before = image_cache.entries([(path, "red")], lambda done, total: None)
    paint(tmp_path / "set" / "train" / "red", (0, 200, 0), [1])
    assert image_cache.entries([(path, "red")], lambda done, total: None) != before
    assert decoder.count == 2


def test_what_is_asked_is_never_learned(
    place: Path, tmp_path: Path, sandbox: SandboxDecoder
) -> None:
    build(tmp_path)
    paint(tmp_path / "squares" / "train" / "red", NEW["red"], [20])  # a test image
    found = study_data(tmp_path, tmp_path / "index", sandbox)
    assert found.left_out == 1
    assert not {e.pixels for e in found.train} & {e.pixels for e in found.test}


def test_a_zip_is_unzipped_once(place: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.write(place / "squares" / "test" / "red" / "20.png", "test/red/20.png")
    folder = locate("set", [tmp_path], tmp_path / "unzipped")
    assert files_of(ImageSet(name="set", data="set", split="test"), folder) == [
        (tmp_path / "unzipped" / "set" / "test" / "red" / "20.png", "red")
    ]
    assert locate("set", [tmp_path], tmp_path / "unzipped") == folder
    assert [path.name for path in (tmp_path / "unzipped").iterdir()] == ["set"]


def test_sets_are_cut_per_class_and_evenly(place: Path) -> None:
    folder = place / "squares"
    few = ImageSet(name="s", data="s", split="test", per_class=2, classes=("red", "pink"))
    assert [text for _, text in files_of(few, folder)] == ["pink", "pink", "red", "red"]
    spread = ImageSet(name="s", data="s", split="test", images=10)
    assert len({text for _, text in files_of(spread, folder)}) == 10


def test_groups_are_classes_of_several_folders(place: Path) -> None:
    groups = {"warm": ["red", "pink"], "cold": ["blue"]}
    asked = ImageSet(name="s", data="s", split="test", per_class=2, groups=groups)
    found = files_of(asked, place / "squares")
    assert sorted(text for _, text in found) == ["cold"] * 2 + ["warm"] * 4
    assert {path.parent.name for path, text in found if text == "warm"} == {"red", "pink"}


@pytest.mark.parametrize(
    ("images", "says"),
    [
        ({"groups": {"warm": ["red", "mauve"]}}, "has no class 'mauve'"),
        ({"split": "nowhere"}, "holds no images"),
        ({"classes": ("mauve",)}, "has no class 'mauve'"),
        ({"text": "caption"}, "has no captions.jsonl"),
    ],
)
def test_folders_that_lack_something_say_so(images: dict[str, Any], says: str, place: Path) -> None:
    asked = ImageSet(**{"name": "squares", "data": "squares", "split": "test", **images})
    with pytest.raises(PlanInvalid, match=says):
        files_of(asked, place / "squares")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"path": "test/../../secret.png", "caption": "a"}', "leaves the folder"),
        ('{"path": "/etc/test/secret.png", "caption": "a"}', "leaves the folder"),
        ('{"caption": "a"}', "line 2: no path"),
        ('["test/red/1.png"]', "line 2: no path"),
        ("test/red/1.png", "line 2: no path"),
        ('{"path": "test/red/1.png", "text": "a"}', "no field 'caption'"),
    ],
)
def test_captions_name_files_of_their_own_folder(line: str, says: str, tmp_path: Path) -> None:
    sound = '{"path": "test/red/0.png", "caption": "a red tile"}'
    (tmp_path / "captions.jsonl").write_text(f"{sound}\n{line}\n")
    images = ImageSet(name="set", data="set", split="test", text="caption")
    with pytest.raises(PlanInvalid, match=says):
        files_of(images, tmp_path)


def test_a_folder_that_is_nowhere_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(PlanInvalid, match="--data says where"):
        locate("nothing", [tmp_path], tmp_path)
