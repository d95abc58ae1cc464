"""Roles and what principals may do."""

import itertools

import pytest

from core.errors import Forbidden
from core.principal import Principal, Role
from core.values import ModelId


def test_each_role_includes_itself_and_those_before_it() -> None:
    order = [Role.VIEWER, Role.CONTRIBUTOR, Role.OPERATOR, Role.ADMIN]
    for (rank, role), (needed_rank, needed) in itertools.product(enumerate(order), repeat=2):
        assert role.includes(needed) is (rank >= needed_rank)


def test_a_role_of_a_later_release_allows_nothing() -> None:
    assert Role.known("admin") is Role.ADMIN
    assert Role.known("steward") is None
    with pytest.raises(Forbidden):
        Principal(name="x", role=None).require(Role.VIEWER)


def test_a_refusal_says_what_it_takes() -> None:
    with pytest.raises(Forbidden, match="at least the role operator; you have the role viewer"):
        Principal(name="x", role=Role.VIEWER).require(Role.OPERATOR)
    Principal(name="x", role=Role.ADMIN).require(Role.OPERATOR)


def test_a_key_for_some_models_may_do_nothing_that_concerns_all() -> None:
    limited = Principal(name="x", role=Role.OPERATOR, models=frozenset([ModelId("model_1")]))
    with pytest.raises(Forbidden):
        limited.require_every_model()
    Principal(name="x", role=Role.VIEWER).require_every_model()
