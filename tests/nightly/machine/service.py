"""Everything that may happen to a service, in any order."""

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from core.erasure.order import order_erasure
from core.erasure.rules import Retraining
from core.jobs.orders import EraseOrder
from core.jobs.queue import JobRequest
from core.jobs.rules import Job
from tests.nightly.machine.clients import DEATHS as ORDER_DEATHS
from tests.nightly.machine.clients import NEWEST, SILENCE, UPDATES, Clients, Update, may_order
from tests.nightly.machine.machine import DEATHS, WHICH, Workers, pick
from tests.nightly.machine.operators import Operators
from tests.nightly.machine.world import quick_and_repeatable

STEPS_A_RUN = 100
MOST_ERASED = 3  # of a run, so that every class keeps enough images to be learned
STRIKES = st.lists(DEATHS, min_size=1, max_size=4) | st.none() | st.lists(DEATHS, min_size=2)


class Service(Clients, Workers, Operators):
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
            self.strike_one(strike)
        last = self.world.start_worker()
        self.advance(last, last.go_on)

    @precondition(may_order)
    @rule(lesson=WHICH, seed=st.integers(0, 3), keep_last=st.integers(0, 2))
    def go_on_learning(self, lesson: int, seed: int, keep_last: int) -> None:
        """All weights that may be given up are, and the newest version is trained further."""
        self.collect_all(keep_last)
        update = Update(lesson=lesson, seed=seed, parent=NEWEST)
        self.update(update, death=None, strikes=[])

    @precondition(lambda self: may_order(self) and len(self.promises.erased.taken) < MOST_ERASED)
    @rule(
        which=WHICH,
        image=WHICH,
        retraining=st.sampled_from([Retraining.ALL, *Retraining]),
        death=ORDER_DEATHS,
        strike=st.none() | st.sampled_from(["erase.before", "erase.after"]),
    )
    def erase(
        self,
        which: int,
        image: int,
        retraining: Retraining,
        death: str | None,
        strike: str | None,
    ) -> None:
        """Order that an image be erased that was learned, or waits to be; its worker may die."""
        taken = self.promises.erased.taken
        learned = {(version.dataset, version.dataset_version) for _, version in self.trained()}
        lessons = self.world.lessons
        known = [one for one in lessons if (one.dataset, one.number) in learned]
        held = self.world.manifest(pick(known or lessons, which)).entries
        entry = pick([one for one in held if one not in taken.values()], image)

        def place(request: JobRequest) -> Job:
            erasure = order_erasure(
                self.world.platform,
                SILENCE,
                request,
                images=[entry.pixels],
                reason="asked for",
                retraining=retraining,
            )
            order = EraseOrder(erasure=erasure.id)
            return next(job for job in self.world.jobs() if job.order == order)  # not a retry

        job = self.order(place, death)
        taken[job.order.erasure] = entry
        if strike is not None:
            self.strike_one(strike)

    def strike_one(self, strike: str) -> None:
        """A worker goes on until it dies at a point, and its lease passes."""
        worker = self.world.start_worker()
        if self.strike(worker, strike):
            self.lease_passes(worker.name)


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
