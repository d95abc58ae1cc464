"""What operators do: promote, roll back, delete, collect garbage, sweep, and let days pass."""

import json
from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

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
)
from core.gate.rules import Verdict
from core.jobs.needs import versions_of
from core.operations.maintenance import delete_expired
from core.registry.aliases import by_override, live_stack
from core.registry.versions import Model, Version
from core.upkeep.delete import delete_version
from tests.nightly.machine.machine import WHICH, Machine, pick
from tests.nightly.machine.steps import Process
from tests.support.evaluation.judged import go_back, go_live

DEATHS = st.sampled_from([None, None, "promote.before", "promote.after"])

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
        death=DEATHS,
    )
    def promote(
        self, which: int, override: bool, reason: str, late: int, death: str | None
    ) -> None:
        """Point the alias at any version, having seen its present revision or the one before."""
        model, version = pick(self.promises.versions, which)
        alias, _ = self.world.alias(model)
        revision = alias.revision if alias else 0
        refusal: Refusal = None
        if override and not reason:
            refusal = FieldInvalid
        elif version.collected_at is not None:
            refusal = ArtifactGone
        elif late:
            refusal = StaleRevision
        elif not (override and reason and (version.verdict or version.is_root)):
            refusal = self._refusal_at_the_gate(model, version, reason)
        self.move(
            model,
            lambda: go_live(
                self.world,
                model,
                version.number,
                expected_revision=revision - late,
                reason=reason,
                override=override,
            ),
            refusal,
            death,
        )
        if refusal is None and version.verdict is Verdict.FAILED:
            self.happened["failed version promoted by override"] += 1

    @precondition(lambda self: self.promises.moved)
    @rule(which=WHICH, death=DEATHS)
    def roll_back(self, which: int, death: str | None) -> None:
        """Go back to what was live before."""
        model = pick(self.promises.moved, which)
        _, history = self.world.alias(model)
        failed = {v.number for v in self.world.versions(model) if v.verdict is Verdict.FAILED}
        gone = {number for of, number in self.promises.deleted if of == model.id}
        failed |= {v.number for v in self.world.versions(model) if v.erasure is not None}
        back = set(live_stack(history)[:-1]) - failed - by_override(history) - gone
        self.move(
            model,
            lambda: go_back(self.world, model),
            None if back else NoPrevious,
            death,
        )

    @precondition(lambda self: self.trained())
    @rule(which=WHICH)
    def delete(self, which: int) -> None:
        """Delete a version; those that are live, are parents or are needed by jobs are refused."""
        model, version = pick(self.trained(), which)
        alias, _ = self.world.alias(model)
        needed = (
            alias is not None and alias.version == version.number,
            any(other.parent == version.number for other in self.world.versions(model)),
            any(
                version.number in versions_of(job, self.world.versions(model))
                for job in self.unfinished()
                if job.model == model.id
            ),
        )
        try:
            delete_version(self.world.platform, model=model.name, version=version.number)
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

    def _refusal_at_the_gate(self, model: Model, version: Version, reason: str) -> Refusal:
        """Without an override: passed, or open with a reason, and compared with what is live.

        Nobody changes suites or policies here.
        """
        if version.verdict is None and not version.is_root:
            return EvaluationPending
        if version.erasure is not None:
            return LearnedErasedImages
        if version.verdict is Verdict.FAILED:
            return GateFailed
        if version.verdict is Verdict.INCONCLUSIVE and not reason:
            return GateFailed
        alias, _ = self.world.alias(model)
        versions = {found.number: found for found in self.world.versions(model)}
        line, parent = {version.number}, version.parent
        while parent is not None:
            line.add(parent)
            parent = versions[parent].parent
        report = version.report and json.loads(self.world.artifacts.get(version.report))
        compared = report["live"] if report else None
        if alias is None or alias.version in line or alias.version == compared:
            return None
        return EvaluationStale

    def move(
        self, model: Model, act: Callable[[], object], refusal: Refusal, death: str | None
    ) -> None:
        """Move an alias: it moves by one revision, or as it was refused or died, not at all."""
        before = self.world.alias(model)
        if refusal is not None:
            with pytest.raises(refusal) as told:
                self.call(act, death)
            assert self.world.alias(model) == before
            self.happened[f"move refused: {told.value.code}"] += 1
            return
        moved = self.call(act, death)
        alias, history = self.world.alias(model)
        if moved is None and death == "promote.before":
            assert (alias, history) == before
            return
        assert alias is not None
        assert alias.revision == len(before[1]) + 1
        self.promises.wins.add((model.id, alias.revision, alias.version))
        self.happened[f"alias {history[-1].kind.value}"] += 1
