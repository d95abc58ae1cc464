"""Ids, digests, counts, canonical JSON, names, class names and captions."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from core.errors import CaptionInvalid, ClassInvalid, NameInvalid
from core.values import (
    canonical_json,
    clean_caption,
    clean_class,
    clean_file_label,
    clean_name,
    clean_reason,
    counted,
    new_id,
    sha256,
)


def test_an_id_names_its_kind_and_the_millisecond_it_was_made_in() -> None:
    made = new_id("job", datetime(1970, 1, 1, 0, 0, 16, 777000, tzinfo=UTC))
    assert re.fullmatch("job_000000004189[0-9a-f]{16}", made)


def test_ids_of_one_moment_differ_and_later_ones_sort_behind() -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    first = {new_id("ds", now) for _ in range(100)}
    assert len(first) == 100
    assert max(first) < new_id("ds", now + timedelta(milliseconds=1))


def test_a_digest_is_sha_256_in_hex() -> None:
    wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    assert sha256(b"abc") == sha256(memoryview(b"abc")) == wanted


def test_count_has_a_plural_noun_unless_it_is_one() -> None:
    found = [counted(count, "image") for count in (0, 1, 2, 2000)]
    assert found == ["0 images", "1 image", "2 images", "2,000 images"]


def test_equal_values_have_one_canonical_spelling() -> None:
    assert canonical_json({"b": [1, 2.5, None], "a": "東\n"}) == (
        '{"a":"東\\n","b":[1,2.5,null]}'.encode()
    )
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


@pytest.mark.parametrize("name", ["a", "7", "a-b_c.d", "x" * 64])
def test_a_name_that_may_stand_in_a_url_is_taken_as_it_is(name: str) -> None:
    assert clean_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", ".a", "_a", "A", "a b", "a/b", "é", "a\n", "x" * 65])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(NameInvalid) as caught:
        clean_name(name)
    assert caught.value.facts == {"name": name}


def test_a_refusal_shows_the_first_80_characters_of_the_name() -> None:
    long = "".join(map(str, range(100)))
    with pytest.raises(NameInvalid) as caught:
        clean_name(long)
    assert caught.value.facts == {"name": long[:80]}


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("cat.png", "cat.png"),
        ("/home/me/cat.png", "cat.png"),
        (r"C:\pictures\cat.png", "cat.png"),
        ("a/b\\c", "c"),
        ("c\x00a\nt\u202e.png", "cat.png"),
        ("".join(map(str, range(100))), "".join(map(str, range(100)))[:100]),
        ("folder/", "unnamed"),
        ("", "unnamed"),
        (None, "unnamed"),
    ],
)
def test_of_a_file_name_the_last_component_is_shown(sent: str | None, shown: str) -> None:
    assert clean_file_label(sent) == shown


UNSEEN = [
    "",
    " ",
    "\u200b",
    "\u200d\ufe0f",
    "\u00ad",
    "\u3164",
    "\u2800",
    "&nbsp;",
    "&amp;nbsp;",
    "\u0301",
]


@pytest.mark.parametrize("text", UNSEEN)
def test_text_that_nobody_could_see_is_no_name_and_no_caption(text: str) -> None:
    with pytest.raises(ClassInvalid):
        clean_class(text)
    with pytest.raises(CaptionInvalid):
        clean_caption(text)
    assert clean_reason(text) == ""


@pytest.mark.parametrize("text", ["a", "7", "!", "🙂", "👩‍🚀", "❤️", "東京", "R&D", "e\u0301"])
def test_one_visible_character_is_enough(text: str) -> None:
    assert clean_class(text)
    assert clean_caption(text) == clean_class(text)


@pytest.mark.parametrize(
    "text",
    ["cat\n2", "a\0", "\ue000", "x\x85y", "a\u2028b", "gnp\u202etac", "a\u2066b\u2069", "\u202ba"],
)
def test_control_characters_are_refused(text: str) -> None:
    with pytest.raises(ClassInvalid):
        clean_class(text)


@pytest.mark.parametrize(
    "text", ["خف", "نعل", "می\u200cخواهم", "C++\u200f", "🏴\U000e0067\U000e007f"]
)
def test_letters_from_right_to_left_and_marks_that_they_need_are_taken(text: str) -> None:
    assert clean_class(text) == text


def test_a_text_is_composed_and_loses_the_blanks_around_it() -> None:
    assert clean_class(" e\u0301tang \n") == "\xe9tang"
    assert clean_caption("\ta cat\u2003") == "a cat"


def test_the_longest_text_has_100_characters_as_a_class_and_500_as_a_caption() -> None:
    assert clean_class(f" {'x' * 100} ") == "x" * 100
    assert clean_caption(f" {'x' * 500} ") == "x" * 500
    with pytest.raises(ClassInvalid):
        clean_class("x" * 101)
    with pytest.raises(CaptionInvalid):
        clean_caption("x" * 501)


def test_a_refusal_shows_the_first_120_characters_of_the_text() -> None:
    long = "".join(map(str, range(1000)))
    with pytest.raises(ClassInvalid) as no_class:
        clean_class(long)
    with pytest.raises(CaptionInvalid) as no_caption:
        clean_caption(long)
    assert no_class.value.facts == {"name": long[:120]}
    assert no_caption.value.facts == {"caption": long[:120]}
