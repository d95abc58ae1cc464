"""The fields of a policy, and where people read about them."""

from dataclasses import fields
from pathlib import Path

import pytest

from core.gate.rules import LIMITS, GatePolicy

GUIDE = Path("docs/how-to/policy.md")
OTHERS = {"id", "name", "same_names", "reason", "created_at"}


def test_every_field_that_is_a_number_says_what_it_limits() -> None:
    assert [one.name for one in fields(GatePolicy) if one.name not in OTHERS] == list(LIMITS)


@pytest.mark.parametrize("field", LIMITS)
def test_the_guide_has_a_row_for_every_field_with_its_default(field: str) -> None:
    default = next(one.default for one in fields(GatePolicy) if one.name == field)
    told = "none" if default is None else f"{default:g}"
    assert f"\n| `{field}` | {told} | " in GUIDE.read_text("utf-8")
