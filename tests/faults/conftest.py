"""One stage of each kind for all tests here: starting one takes seconds."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.faults.catalogue import STAGES
from tests.faults.stage import Stage


@pytest.fixture(scope="session")
def stage_of() -> Iterator[Callable[[str], Stage]]:
    """Gives the stage of a name; at most one runs at a time, for want of cores."""
    running: dict[str, Stage] = {}
    with ExitStack() as stack:

        def give(name: str) -> Stage:
            if name not in running:
                stack.close()
                running.clear()
                running[name] = stack.enter_context(STAGES[name]())
            return running[name]

        yield give


@pytest.fixture
def production(stage_of: Callable[[str], Stage]) -> Stage:
    """API, PostgreSQL, Redis and two workers, all of them ready."""
    stage = stage_of("production")
    stage.ready()
    return stage
