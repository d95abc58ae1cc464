"""Cached parsing of stored recipes and orders, whose text never changes.

Without the cache, parsing takes half of the time of reading a page of jobs or versions. The values
are frozen and can be shared. Long texts (a recipe may list 100,000 sentences) are parsed each time.
"""

from functools import lru_cache

from pydantic_core import from_json

from core.domain.jobs.order import JobType, Order, order_from_json
from core.domain.recipes.recipe import Recipe

KEPT, LONGEST = 1024, 8192  # texts of each kind, and characters of one: about 20 MB in all


def parse_recipe(text: str | None) -> Recipe | None:
    """Return the recipe stored with a version, or None for a root."""
    if text is None:
        return None
    return _recipe(text) if len(text) <= LONGEST else _recipe.__wrapped__(text)


def parse_order(text: str, job_type: JobType) -> Order:
    """Return the order stored with a job."""
    return _order(text, job_type) if len(text) <= LONGEST else _order.__wrapped__(text, job_type)


@lru_cache(KEPT)
def _recipe(text: str) -> Recipe | None:
    value = from_json(text)  # null in rows of an early release
    return None if value is None else Recipe.from_stored(value)


@lru_cache(KEPT)
def _order(text: str, job_type: JobType) -> Order:
    return order_from_json(job_type, from_json(text))
