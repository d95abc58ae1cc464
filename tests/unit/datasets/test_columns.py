"""The columns that an import reads of a table, found or named."""

import pytest

from core.archives.tables import Column, ColumnKind
from core.datasets.columns import WantedColumns, choose_columns
from core.datasets.rules import DatasetKind
from core.errors import FieldInvalid, TableInvalid

LABELLED, CAPTIONED, UNLABELLED = DatasetKind


def columns(**kinds: str) -> list[Column]:
    return [Column(name=name, type=kind, kind=ColumnKind(kind)) for name, kind in kinds.items()]


def found(kind: DatasetKind, of: list[Column], **wanted: str) -> dict[str, str]:
    chosen = choose_columns(of, WantedColumns(**wanted), kind).to_json()
    return {role: name for role, name in chosen.items() if name}


@pytest.mark.parametrize(
    ("kind", "of", "text"),
    [
        (LABELLED, columns(image="image", label="class", caption="text"), "label"),
        (LABELLED, columns(image="image", fine="class", caption="text"), "fine"),
        (LABELLED, columns(image="image", label="text"), "label"),
        (LABELLED, columns(image="image", text="text", category="text"), "category"),
        (CAPTIONED, columns(image="image", label="class", text="text"), "text"),
        (CAPTIONED, columns(image="image", sentences="texts"), "sentences"),
        (CAPTIONED, columns(image="image", url="text", captions="texts"), "captions"),
        (UNLABELLED, columns(image="image", label="class"), ""),
    ],
)
def test_columns_are_found_by_name_and_type(kind: DatasetKind, of: list[Column], text: str) -> None:
    assert found(kind, of) == {"image": "image"} | ({"text": text} if text else {})


def test_of_several_columns_of_images_one_is_named_or_has_a_usual_name() -> None:
    several = columns(mask="image", image="image", label="text")
    assert found(LABELLED, several)["image"] == "image"
    assert found(LABELLED, several, image_column="mask")["image"] == "mask"
    with pytest.raises(TableInvalid, match=r"`image_column`\. Its columns: left "):
        found(LABELLED, columns(left="image", right="image", label="text"))


def test_a_named_column_counts_whatever_others_there_are() -> None:
    both = columns(image="image", label="class", kind="text", note="text")
    assert found(LABELLED, both, label_column="kind")["text"] == "kind"
    assert found(CAPTIONED, both, caption_column="note")["text"] == "note"


@pytest.mark.parametrize(
    ("kind", "of", "wanted", "why"),
    [
        (LABELLED, columns(label="text"), {}, "No column holds images"),
        (LABELLED, columns(image="image", label="number"), {}, "numbers have no names"),
        (LABELLED, columns(image="image", label="other"), {}, "'label' cannot be read as classes"),
        (LABELLED, columns(image="image", text="text"), {}, "name it as `label_column`"),
        (CAPTIONED, columns(image="image", a="text", b="text"), {}, "name it as `caption_column`"),
        (LABELLED, columns(image="image", a="text"), {"label_column": "b"}, "no column 'b'"),
        (LABELLED, columns(image="image", a="text"), {"image_column": "a"}, "'a' holds images"),
        (CAPTIONED, columns(image="image", a="number"), {"caption_column": "a"}, "as captions"),
    ],
)
def test_columns_that_cannot_be_read_are_refused_with_what_there_is(
    kind: DatasetKind, of: list[Column], wanted: dict[str, str], why: str
) -> None:
    with pytest.raises(TableInvalid, match=why) as refusal:
        found(kind, of, **wanted)
    assert all(f"{one.name} ({one.type})" in refusal.value.message for one in of)


def test_a_table_without_images_lists_files() -> None:
    listing = columns(file_name="text", label="text")
    assert found(LABELLED, listing) == {"file": "file_name", "text": "label"}


def test_a_message_is_printable_and_short() -> None:
    many = columns(**{f"\x1b[31m{at}" * 30: "number" for at in range(999)})
    with pytest.raises(TableInvalid) as refusal:
        found(LABELLED, many)
    assert refusal.value.message.isprintable()
    assert len(refusal.value.message) < 1_200


def test_columns_are_named_for_the_texts_that_a_dataset_has() -> None:
    wanted = WantedColumns(label_column="label")
    wanted.require_for(LABELLED)
    for kind in (CAPTIONED, UNLABELLED):
        with pytest.raises(FieldInvalid) as refusal:
            wanted.require_for(kind)
        assert refusal.value.pointer == "#query/label_column"
