"""Ids, digests, counts, canonical JSON and names."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from core.errors import NameInvalid
from core.values import canonical_json, clean_file_label, clean_name, counted, new_id, sha256


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
