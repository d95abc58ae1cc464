"""Everything that may happen to a service, in any order."""

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from tests.nightly.machine.clients import DEATHS as ORDER_DEATHS
from tests.nightly.machine.clients import NEWEST, UPDATES, Update, may_order
from tests.nightly.machine.erasers import Erasers
from tests.nightly.machine.machine import WHICH
from tests.nightly.machine.operators import Operators
from tests.nightly.machine.workers import DEATHS
from tests.nightly.machine.world import quick_and_repeatable

STEPS_A_RUN = 100
STRIKES = st.lists(DEATHS, min_size=1, max_size=4) | st.none() | st.lists(DEATHS, min_size=2)


class Service(Erasers, Operators):
    """Clients, workers and operators of one service."""

    @initialize(seeds=st.lists(st.integers(0, 3), min_size=1, max_size=4))
    def learn(self, seeds: list[int]) -> None:
        """Before anything happens, some updates run undisturbed, each of the version before."""
        for number, seed in enumerate(seeds):
            update = Update(lesson=number, seed=seed, parent=NEWEST)
            self.update(update, death=None, strikes=[])

    @precondition(may_order)
    @rule(update=UPDATES, death=ORDER_DEATHS, strikes=STRIKES)
    def update(self, update: Update, death: str | None, strikes: list[str] | None) -> None:
        """An update waits, or its workers die one after another until one comes through."""
        self.order_update(update, death)
        if strikes is None:
            return
        for strike in strikes:
            worker = self.world.start_worker()
            if self.strike(worker, strike):
                self.lease_passes(worker.name)
        last = self.world.start_worker()
        self.advance(last, last.go_on)

    @precondition(may_order)
    @rule(lesson=WHICH, seed=st.integers(0, 3), keep_last=st.integers(0, 2))
    def go_on_learning(self, lesson: int, seed: int, keep_last: int) -> None:
        """All weights that may be given up are, and the newest version is trained further."""
        self.collect_all(keep_last)
        update = Update(lesson=lesson, seed=seed, parent=NEWEST)
        self.update(update, death=None, strikes=[])


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
                    phases=[Phase.generate, Phase.shrink],
                ),
            )
            left -= Service.happened["steps"] - before
            seed += 1
