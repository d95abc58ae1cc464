"""Everything that may happen to a service, in any order."""

import hypothesis
from hypothesis import HealthCheck, Verbosity, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.machine.clients import Clients
from tests.machine.operators import Operators
from tests.machine.workers import Workers
from tests.machine.world import quick_and_repeatable

STEPS_A_RUN = 100


class Service(Clients, Workers, Operators):
    """Clients, workers and operators of one service."""


def run(steps: int, *, seed: int) -> None:
    """Take so many steps or a few more, in runs of a hundred; the same ones for the same seed.

    Raises what a step raises that breaks a promise, after looking for the fewest that lead there.
    """
    left = steps
    with quick_and_repeatable():
        while left > 0:
            before = Service.happened["steps"]
            run_state_machine_as_test(
                hypothesis.seed(seed)(type(Service.__name__, (Service,), {})),
                settings=settings(
                    max_examples=-(-left // STEPS_A_RUN),
                    stateful_step_count=STEPS_A_RUN,
                    database=None,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                    verbosity=Verbosity.normal,
                ),
            )
            left -= Service.happened["steps"] - before
            seed += 1
