"""Steps of operators, and everything that may happen to a service, in any order."""

from collections.abc import Callable
from functools import partial

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from core.datasets.version_rows import Suites
from core.erasure.order import order_erasure
from core.erasure.rules import Retraining
from core.errors import (
    ArtifactGone,
    EvaluationPending,
    EvaluationStale,
    FieldInvalid,
    GateFailed,
    InUse,
    LearnedErasedImages,
    NoPrevious,
    PerennialError,
    StaleRevision,
    TrialRunning,
)
from core.gate.rules import Verdict
from core.jobs.needs import versions_of
from core.jobs.orders import EraseOrder
from core.jobs.queue import JobRequest
from core.jobs.rules import Job
from core.operations.maintenance import delete_expired
from core.registry.alias_rows import Aliases
from core.registry.aliases import by_override, live_stack
from core.registry.configure import configure_model
from core.registry.evidence import grow_holdout, grow_suite
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version
from core.trials.rows import Trials
from core.trials.rules import TrialMode
from core.trials.run import start_trial
from core.upkeep.delete import delete_version
from tests.nightly.machine.clients import DEATHS as ORDER_DEATHS
from tests.nightly.machine.clients import NEWEST, SILENCE, UPDATES, Clients, Update, may_order
from tests.nightly.machine.machine import DEATHS, WHICH, Machine, Workers, pick
from tests.nightly.machine.steps import Process
from tests.nightly.machine.world import ALIAS, ALIASES, POLICIES, SUITES, quick_and_repeatable
from tests.support.evaluation.judged import go_back, go_live

MOVE_DEATHS = st.sampled_from([None, None, "promote.before", "promote.after"])

ALL_POINTS = 10_000  # one a stored artifact, and a few

POINTS = st.sampled_from([ALL_POINTS, 0, 1, 5, 20, 40, 80])

Refusal = type[PerennialError] | None


class Operators(Machine):
    """One collection at a time, beside whatever else runs."""

    @precondition(lambda self: self.trained())
    @rule(
        which=WHICH,
        override=st.booleans(),
        reason=st.sampled_from(["", "because"]),
        late=st.sampled_from([0, 0, 0, 1]),
        name=st.sampled_from([ALIAS, *ALIASES]),
        death=MOVE_DEATHS,
    )
    def promote(
        self,
        which: int,
        override: bool,
        reason: str,
        late: int,
        death: str | None,
        name: str = ALIAS,
    ) -> None:
        """Point an alias at any version, having seen its present revision or the one before."""
        model, version = pick(self.promises.versions, which)
        alias, _ = self.world.alias(model, name)
        revision = alias.revision if alias else 0
        refusal: Refusal = None
        if override and not reason:
            refusal = FieldInvalid
        elif version.collected_at is not None:
            refusal = ArtifactGone
        elif late:
            refusal = StaleRevision
        elif alias and alias.version == version.number:
            before = self.world.alias(model, name)
            assert go_live(self.world, model, version.number, alias=name) == alias
            assert self.world.alias(model, name) == before
            return
        elif not (override and reason and (version.verdict or version.is_root)):
            refusal = self._refusal_at_the_gate(model, version, reason, name)
        self.move(
            model,
            lambda: go_live(
                self.world,
                model,
                version.number,
                alias=name,
                expected_revision=revision - late,
                reason=reason,
                override=override,
            ),
            refusal,
            death,
            name,
        )
        if refusal is None and version.verdict is Verdict.FAILED:
            self.happened["failed version promoted by override"] += 1

    @precondition(lambda self: self.promises.moved)
    @rule(which=WHICH, death=MOVE_DEATHS)
    def roll_back(self, which: int, death: str | None) -> None:
        """Go back to what was live before."""
        model = pick(self.promises.moved, which)
        _, history = self.world.alias(model)
        model = next(one for one in self.world.models() if one.id == model.id)  # as it is now
        failed = {v.number for v in self.world.versions(model) if self._has_failed(model, v)}
        gone = {number for of, number in self.promises.deleted if of == model.id}
        failed |= {v.number for v in self.world.versions(model) if v.erasure is not None}
        back = set(live_stack(history)[:-1]) - failed - by_override(history) - gone
        self.move(
            model,
            lambda: go_back(self.world, model),
            None if back else NoPrevious,
            death,
        )

    @rule(policy=st.sampled_from(POLICIES), suites=st.sampled_from(SUITES), which=WHICH)
    def configure(self, policy: str, suites: tuple[str, ...], which: int) -> None:
        """Have other suites or another policy judge a model from now on."""
        model = pick(self.world.models(), which)
        configure_model(
            self.world.platform, model.name, suites=suites, policy=policy, reason="a test"
        )

    @rule(spare=WHICH, which=WHICH)
    def grow(self, spare: int, which: int) -> None:
        """Add test images to a suite, or to the holdout of an update that taught their class."""
        images, name = pick(self.world.spares(), spare)
        given = {"dataset": images.dataset, "dataset_version": images.number}
        with self.world.reading() as work:
            suites = [one for one in work[Suites].page(9, None) if name in one.classes]
            before = work[Suites].editions()
        taught = [(m, one) for m, one in self.trained() if name in one.update_classes]
        if not (suites or taught):
            return
        try:
            if suites:
                grown = grow_suite(
                    self.world.platform, suite=suites[0].name, **given, reason="a test"
                )
            else:
                model, one = pick(taught, which)
                learner = {"model": model.name, "version": one.number}
                grown = grow_holdout(self.world.platform, **learner, **given, reason="a test")
        except FieldInvalid:  # all of them are there
            with self.world.reading() as work:
                assert work[Suites].editions() == before
            self.happened["growth refused"] += 1
            return
        earlier = [one for one in before if one.name == grown.name]
        assert grown.images > max((one.images for one in earlier if not one.grown_into), default=0)
        self.happened["suite grown" if suites else "holdout grown"] += 1

    @precondition(lambda self: self.trained())
    @rule(which=WHICH, reason=st.sampled_from(["", "because"]))
    def try_canary(self, which: int, reason: str) -> None:
        """Have a version answer callers beside the live one, in the place of the last trial."""
        model, version = pick(self.promises.versions, which)
        alias, _ = self.world.alias(model)
        if alias is None:
            return
        refusal = self._refusal_at_the_gate(model, version, reason, ALIAS)
        with self.world.reading() as work:
            live = work[Versions].get(model.id, alias.version)
        if version.digest == live.digest:
            refusal = FieldInvalid
        elif version.collected_at is not None:
            refusal = ArtifactGone
        elif version.erasure is not None:
            refusal = LearnedErasedImages
        elif alias.trial is not None and refusal is None:
            refusal = TrialRunning
        begin = partial(
            start_trial,
            self.world.platform,
            model=model.name,
            alias=ALIAS,
            candidate=version.number,
            mode=TrialMode.CANARY,
            share=0.5,
            expected_revision=alias.revision,
            reason=reason,
        )
        if refusal is None:
            begin()
            self.happened["canary began"] += 1
            return
        with pytest.raises(refusal) as told:
            begin()
        self.happened[f"canary refused: {told.value.code}"] += 1

    @precondition(lambda self: self.trained())
    @rule(which=WHICH)
    def delete(self, which: int) -> None:
        """Delete a version; those that are live, are parents or are needed by jobs are refused."""
        model, version = pick(self.trained(), which)
        with self.world.reading() as work:
            live = {alias.version for alias in work[Aliases].all(model.id)}
            live |= {trial.candidate for trial in work[Trials].running(model.id)}
        needed = (
            version.number in live,
            any(other.parent == version.number for other in self.world.versions(model)),
            any(
                version.number in versions_of(job, self.world.versions(model))
                for job in self.unfinished()
                if job.model == model.id
            ),
        )
        try:
            delete_version(
                self.world.platform, model=model.name, version=version.number, reason="a test"
            )
        except InUse:
            assert any(needed)
            self.happened["deletion refused"] += 1
        else:
            assert not any(needed)
            self.promises.deleted.add((model.id, version.number))
            self.happened["version deleted"] += 1

    @rule(
        days=st.integers(0, 2),
        points=POINTS,
        keep_last=st.none() | st.integers(0, 2),
        death=st.booleans(),
    )
    def collect(self, days: int, points: int, keep_last: int | None, death: bool) -> None:
        """Days pass, and a collection begins or goes on; it may give up all but some versions."""
        for _ in range(days):
            self.world.a_day_passes()
            delete_expired(self.world.platform)
        self._collect(points, keep_last, death=death)

    def collect_all(self, keep_last: int) -> None:
        """A day passes, and a collection begins or goes on, and ends."""
        self.world.a_day_passes()
        self._collect(ALL_POINTS, keep_last, death=False)

    def _collect(self, points: int, keep_last: int | None, *, death: bool) -> None:
        collection = next(iter(self.collections()), None) or self.world.start_collection(keep_last)
        self.advance(collection, lambda: collection.go_on(points))
        if death and not collection.ended:
            self.advance(collection, collection.die)
            self.happened["collection killed"] += 1
        self.promises.check_bytes()
        if (tidied := collection.result) is not None:
            collected = sum(amount.count for amount in tidied.collected.values())
            self.happened["artifact collected"] += collected
            self.happened["weights given up"] += len(tidied.given_up)
            self.happened["collection whole" if tidied.complete else "collection late"] += 1

    def collections(self) -> list[Process]:
        """The one that lives, if any."""
        return [process for process in self.world.living if process.name.startswith("gc")]

    def _has_failed(self, model: Model, version: Version) -> bool:
        """Return whether a version has failed beside its parent."""
        verdict, about = self.promises.gate.decided(model, version, None)
        return about and verdict is Verdict.FAILED

    def _refusal_at_the_gate(
        self, model: Model, version: Version, reason: str, name: str
    ) -> Refusal:
        """Without an override: passed, or open with a reason, beside what is live."""
        if version.verdict is None and not version.is_root:
            return EvaluationPending
        if version.erasure is not None:
            return LearnedErasedImages
        alias, history = self.world.alias(model, name)
        if version.is_root:
            return EvaluationStale if alias and alias.version != version.number else None
        model = next(one for one in self.world.models() if one.id == model.id)  # as it is now
        verdict, about = self.promises.gate.decided(model, version, history)
        if verdict is Verdict.FAILED:
            return GateFailed
        if not about:
            return EvaluationStale
        return GateFailed if verdict is Verdict.INCONCLUSIVE and not reason else None

    def move(
        self,
        model: Model,
        act: Callable[[], object],
        refusal: Refusal,
        death: str | None,
        name: str = ALIAS,
    ) -> None:
        """Move an alias: it moves by one revision, or as it was refused or died, not at all."""
        before = self.world.alias(model, name)
        if refusal is not None:
            with pytest.raises(refusal) as told:
                self.call(act, death)
            assert self.world.alias(model, name) == before
            self.happened[f"move refused: {told.value.code}"] += 1
            return
        moved = self.call(act, death)
        self.promises.gate.check()
        alias, history = self.world.alias(model, name)
        if moved is None and death == "promote.before":
            assert (alias, history) == before
            return
        assert alias is not None
        assert alias.revision == len(before[1]) + 1
        self.promises.wins.add((model.id, name, alias.revision, alias.version))
        self.happened[f"alias {history[-1].kind.value}"] += 1


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
