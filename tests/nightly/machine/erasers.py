"""Images of the lessons are taken back."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from core.erasure.order import order_erasure
from core.erasure.rules import Retraining
from core.jobs.orders import EraseOrder
from core.jobs.queue import JobRequest
from core.jobs.rules import Job
from tests.nightly.machine.clients import DEATHS, SILENCE, Clients, may_order
from tests.nightly.machine.machine import WHICH, pick
from tests.nightly.machine.workers import Workers

STRIKES = st.none() | st.sampled_from(["erase.before", "erase.after"])

RETRAININGS = st.sampled_from([Retraining.ALL, *Retraining])

MOST = 3  # of a run, so that every class keeps enough images to be learned


class Erasers(Clients, Workers):
    """Nothing that has learned from an image is used further once it is erased."""

    @precondition(lambda self: may_order(self) and len(self.promises.erased.taken) < MOST)
    @rule(
        which=WHICH,
        image=WHICH,
        retraining=RETRAININGS,
        death=DEATHS,
        strike=STRIKES,
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
        assert job is not None
        assert isinstance(job.order, EraseOrder)
        taken[job.order.erasure] = entry
        if strike is not None:
            worker = self.world.start_worker()
            if self.strike(worker, strike):
                self.lease_passes(worker.name)
