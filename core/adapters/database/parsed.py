"""Recipes and orders as they are stored: text that never changes, parsed once.

Parsing them takes half of the time of reading a page of jobs or versions.
"""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Concatenate, ParamSpec, TypeVar

from pydantic_core import from_json

from core.domain.recipe import Recipe
from core.domain.update import JobType, Order, order_from_json

KEPT, LONGEST = 1024, 8192  # texts of each kind, and their characters: some 20 MB in all

P = ParamSpec("P")
T = TypeVar("T")


def _once(parse: Callable[Concatenate[str, P], T]) -> Callable[Concatenate[str, P], T]:
    """Remember the frozen values of short texts; a recipe may name 100,000 sentences."""
    remembered = lru_cache(KEPT)(parse)

    @wraps(parse)
    def value_of(text: str, *args: P.args, **kwargs: P.kwargs) -> T:
        return (remembered if len(text) <= LONGEST else parse)(text, *args, **kwargs)

    return value_of


@_once
def parse_recipe(text: str) -> Recipe:
    """Return the recipe that a version has stored."""
    return Recipe.from_json(from_json(text))


@_once
def parse_order(text: str, job_type: JobType) -> Order:
    """Return the order that a job has stored."""
    return order_from_json(job_type, from_json(text))
