"""Pixels that requests hold: how many, and when they are given back."""

import pytest

from api.inference_client.questions import PixelBudget
from core.errors import InferenceBusy


def test_requests_share_the_bytes_and_give_them_back() -> None:
    budget = PixelBudget(max_bytes=100)
    with budget.request() as take:
        take(60)
        with budget.request() as other:
            other(40)
            for refused in (take, other):
                with pytest.raises(InferenceBusy):
                    refused(1)
        take(40)  # the other has given back its own
        with budget.request() as other, pytest.raises(InferenceBusy):
            other(1)
    with budget.request() as take:
        take(100)


def test_a_request_that_is_alone_may_take_any_number() -> None:
    budget = PixelBudget(max_bytes=100)
    for _ in range(2):
        with budget.request() as take:
            take(70)
            take(70)


def test_a_request_that_fails_gives_back_too() -> None:
    budget = PixelBudget(max_bytes=100)

    def fail() -> None:
        with budget.request() as take:
            take(100)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with budget.request() as first, budget.request() as second:
        first(50)
        second(50)


def test_what_an_answer_does_not_need_takes_half_at_most_and_leaves_the_rest_to_answers() -> None:
    budget = PixelBudget(max_bytes=100)
    with budget.request() as take, budget.request() as other:
        assert take.spare(50)
        assert not other.spare(1)
        other(50)
    with budget.request() as take:
        take(60)
        assert not take.spare(1)
    with budget.request() as take:
        assert take.spare(50)
