"""The role and models that the claims of a token give."""

from dataclasses import replace
from typing import Any

import pytest

from core.access.rules import TokenRules, is_confidential, subject_of
from core.errors import Unauthorised
from core.principal import Role

RULES = TokenRules(
    role_claim="groups", roles={"ml": Role.CONTRIBUTOR, "root": Role.ADMIN}, models_claim="models"
)


@pytest.mark.parametrize(
    ("claim", "role"),
    [
        ("ml", Role.CONTRIBUTOR),
        (["staff", "ml"], Role.CONTRIBUTOR),
        (["root", "ml"], Role.ADMIN),
        (["ml", "root"], Role.ADMIN),
        ("ml root", None),
        ("admin", None),
        ([], None),
        (None, None),
        ({"ml": True}, None),
        (["root", 7, ["root"]], Role.ADMIN),
        ([["root"]], None),
    ],
)
def test_the_highest_role_that_the_claim_gives_counts(claim: Any, role: Role | None) -> None:
    assert RULES.role_of({"groups": claim}) is role
    assert RULES.role_of({"other": claim}) is None


def test_a_claim_may_lie_within_another_or_have_dots_in_its_name() -> None:
    inside = replace(RULES, role_claim="realm_access.roles")
    assert inside.role_of({"realm_access": {"roles": ["root"]}}) is Role.ADMIN
    assert inside.role_of({"realm_access": ["roles"]}) is None
    url = replace(RULES, role_claim="https://perennial.example/role")
    assert url.role_of({"https://perennial.example/role": "ml"}) is Role.CONTRIBUTOR


@pytest.mark.parametrize(
    ("claims", "names"),
    [
        ({"models": ["shoes", "hats"]}, ["shoes", "hats"]),
        ({"models": "shoes"}, ["shoes"]),
        ({"models": ["shoes", "*"]}, None),
        ({"models": ["shoes", "a\0b", "\ud800"]}, ["shoes"]),
        ({"models": []}, []),
        ({}, []),
        ({"groups": "root", "models": ["shoes"]}, None),
    ],
)
def test_a_token_concerns_the_models_of_its_claim(claims: Any, names: list[str] | None) -> None:
    assert RULES.models_of(claims) == names
    assert replace(RULES, models_claim=None).models_of(claims) is None


def test_a_subject_is_what_an_audit_event_can_show() -> None:
    assert subject_of({"sub": "auth0|5f7c8ec7"}) == "auth0|5f7c8ec7"
    assert subject_of({"sub": "a" * 255}) == "a" * 255
    for subject in (None, "", 7, "a" * 256, "a\nb", "\u202eann"):
        with pytest.raises(Unauthorised):
            subject_of({"sub": subject})


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://login.example/realms/a", True),
        ("http://127.0.0.1:9400", True),
        ("http://localhost/a", True),
        ("http://[::1]:9400", True),
        ("http://login.example", False),
        ("http://localhost.example", False),
        ("ftp://localhost", False),
        ("https://", False),
        ("https://[", False),
        ("login.example", False),
    ],
)
def test_keys_are_read_over_https_or_on_this_machine(url: str, safe: bool) -> None:
    assert is_confidential(url) is safe
