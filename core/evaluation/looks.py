"""The looks of a version: its verdicts by test images that have grown between.

Each look is another chance to pass, so looks share the error of one verdict. A look is at the
images, whatever the baseline and the policy. Suites that have at least half of the smaller one's
test images, or near-duplicates of these, are alike, as all editions of one are: another name is no
new look, nor are images that were saved again. More labels of an
unlabelled suite are none either: the numbers of labels that count share the error of one look. A
look at fewer images than the policy's minimum does not count, because it alone could let nothing
pass; where another suite guards, it could.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from core.artifacts.store import Artifacts
from core.database.work import Work
from core.datasets.freeze import read_manifest
from core.datasets.manifests import ManifestEntry, Part
from core.datasets.rules import SuiteKind, lineage_of
from core.datasets.version_rows import Suites
from core.evaluation.exams import entries_in
from core.evaluation.judge import judged_images
from core.evaluation.plan import EvaluationPlan
from core.gate.rules import Verdict
from core.registry.verdict_rows import Tries, Verdicts
from core.registry.verdicts import VersionVerdict
from core.registry.version_rows import Versions
from core.values import Digest, SuiteId

_OF = " of "  # between the number of labels and their suite

TestImages = Mapping[Digest, Digest]  # the group of near-duplicates of each


@dataclass(frozen=True, kw_only=True)
class Look:
    """The look of a verdict, among those of its version."""

    number: int = 1
    seen: tuple[int, ...] = ()  # test images at other looks, also at those that do not count


@dataclass(frozen=True, kw_only=True)
class Looks:
    """The verdicts on a candidate, with the test images of all suites that gave them."""

    plan: EvaluationPlan
    verdicts: tuple[VersionVerdict, ...]
    elsewhere: frozenset[SuiteId] = frozenset()  # that judged the same weights in other models
    images: Mapping[SuiteId, TestImages]
    unlabelled: frozenset[SuiteId] = frozenset()  # of these suites

    @classmethod
    def of(cls, work: Work, artifacts: Artifacts, plan: EvaluationPlan) -> "Looks":
        """Return the verdicts on the candidate of a plan, and on versions with its weights.

        An update that is repeated exactly has the same weights, and is no new try, nor is it one
        in another model. Beside a version with the weights of the parent or the live one it is as
        beside that: to convert a version and back takes no failure away.
        """
        alike = work[Versions].with_digest
        found = work[Verdicts].on_each(plan.model.id, alike(plan.model.id, plan.candidate.digest))
        numbers = {
            number: beside.number
            for beside in (plan.live, plan.parent)  # which counts everywhere, if both are alike
            if beside is not None
            for number in alike(plan.model.id, beside.digest)
        }
        verdicts = tuple(
            replace(one, beside=numbers.get(one.beside, one.beside))
            for verdicts in found.values()
            for one in verdicts
        )
        suites = {suite.id for suite in plan.suites} | {*plan.added}
        suites |= {suite for one in verdicts for suite in (*one.suites, *one.holdouts)}
        others = work[Tries].of(plan.candidate.digest, but=plan.model.id)
        elsewhere = frozenset(one.suite for one in others)
        return cls(
            plan=plan,
            verdicts=verdicts,
            elsewhere=elsewhere,
            images=tested_images(work, artifacts, suites | elsewhere),
            unlabelled=frozenset(
                one
                for one in suites | elsewhere
                if work[Suites].get(one).kind is SuiteKind.UNLABELLED
            ),
        )

    @property
    def labels(self) -> Mapping[str, str]:
        """A text for the labels of each unlabelled suite of the plan, by its name."""
        ids = {one.name: one.id for one in self.plan.suites}
        return {one.name: f"{len(one.labels)}{_OF}{ids[one.name]}" for one in self.plan.unlabelled}

    def with_labels(self, suites: Iterable[str]) -> tuple[str, ...]:
        """Return the labels at all looks of the candidate, with those of some `suites` now.

        Others have too few for a comparison, so that nothing could pass by them.
        """
        found = {label for one in self.verdicts for label in one.labels}
        return tuple(sorted(found.union(self.labels[name] for name in suites)))

    def at(self, suite: SuiteId) -> Look:
        """Return the look that the plan takes at the test images of a suite."""
        earlier = {self._alike(suite, one.suites) for one in self.verdicts}
        earlier |= {self._alike(suite, [one]) for one in self.elsewhere}
        by_labels = 0
        if suite in self.unlabelled:  # at labels of others that are alike, here or elsewhere
            alike = self._alike(suite, self.unlabelled) - {suite}
            seen = {label for one in self.verdicts for label in one.labels}
            seen -= {*self.labels.values()}
            by_labels = sum(label.partition(_OF)[2] in alike for label in seen)
            by_labels += bool(alike & self.elsewhere)
            earlier = {suites - self.unlabelled for suites in earlier}
        counts = [self._count(suites) for suites in earlier if suites and suite not in suites]
        least = self.plan.policy.minimum_count
        number = 1 + sum(distinct >= least for distinct, _ in counts)
        number += by_labels
        return Look(number=number, seen=tuple(sorted(images for _, images in counts)))

    @property
    def at_holdouts(self) -> Look:
        """The look at the holdouts of the plan, together: an image more in one makes another."""
        now = self._added(self.plan.added)
        earlier = {self._added(one.holdouts, one.updates) for one in self.verdicts} - {now}
        at_first = {entry.pixels: entry.group for one in self.plan.kept for entry in one.at_first}
        counts = [self._count(filter(None, added), at_first) for added in earlier]
        least = self.plan.policy.minimum_count
        number = 1 + sum(distinct >= least for distinct, _ in counts)
        return Look(number=number, seen=tuple(sorted(images for _, images in counts)))

    def _added(
        self, added: Collection[SuiteId], updates: Collection[int] | None = None
    ) -> tuple[SuiteId | None, ...]:
        """Return what a verdict had of the images added to each holdout; None: nothing yet.

        Of holdouts that it did not ask about, it has what there is now.
        """
        editions = {lineage_of(one): one for one in added}
        own = {one.learner.number for one in self.plan.earlier}
        asked = own.union(updates or ())
        return tuple(
            editions.get(lineage_of(one.added))
            if updates is None or one.learner.number in asked
            else one.added
            for one in self.plan.kept
            if one.added
        )

    @property
    def failed(self) -> frozenset[int]:
        """The versions beside which an earlier look, by the same policy, has failed.

        One that asked the same is judged anew, unless it had images that were erased since.
        """
        wanted = {suite.id for suite in self.plan.suites}
        added = self._added(self.plan.added)
        judged = (judged_images(self.plan), judged_images(self.plan.beside_parent))
        return frozenset(
            one.beside
            for one in self.verdicts
            if one.verdict is Verdict.FAILED
            and one.policy == self.plan.policy.id
            and not (
                wanted <= {*one.suites}
                and added == self._added(one.holdouts, one.updates)
                and {*one.labels} <= {*self.labels.values()}
                and (
                    wanted < {*one.suites}
                    or one.images <= judged[one.beside == self.plan.parent.number]
                )
            )
        )

    def _alike(self, suite: SuiteId, others: Iterable[SuiteId]) -> frozenset[SuiteId]:
        return frozenset(
            other
            for other in others
            if other == suite or are_alike(self.images[suite], self.images[other])
        )

    def _count(
        self, suites: Iterable[SuiteId], others: TestImages = MappingProxyType({})
    ) -> tuple[int, int]:
        """Return the test images of some suites, first with near-duplicates counted once."""
        found = dict(others)
        for suite in suites:
            found |= self.images[suite]
        return len({*found.values()}), len(found)


def are_alike(one: TestImages, other: TestImages) -> bool:
    """Return whether two suites share at least half of the smaller one's test images.

    Near-duplicates are one image.
    """
    groups, others = {*one.values()}, {*other.values()}
    return 2 * len(groups & others) >= max(1, min(len(groups), len(others)))


def tested_images(
    work: Work, artifacts: Artifacts, suites: Iterable[SuiteId]
) -> dict[SuiteId, TestImages]:
    """Return the test images of suites, with those that were erased since."""
    return {
        suite: {entry.pixels: entry.group for entry in _tested(work, artifacts, suite)}
        for suite in suites
    }


def _tested(work: Work, artifacts: Artifacts, suite: SuiteId) -> Iterator[ManifestEntry]:
    manifest = read_manifest(artifacts, work[Suites].get(suite).manifest)
    yield from entries_in(Part.TEST, manifest.entries)
