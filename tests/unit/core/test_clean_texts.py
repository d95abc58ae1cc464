"""Class names and captions that nobody could see are refused; emoji are seen."""

import pytest

from core.errors import CaptionInvalid, ClassInvalid
from core.values import clean_caption, clean_class

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
