"""The gate's verdicts on versions, and what each of them covers."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from core.gate.rules import Verdict
from core.registry.versions import Model
from core.values import Digest, JobId, ModelId, PolicyId, SuiteId, canonical_json, sha256

ORDER = (Verdict.PASSED, Verdict.INCONCLUSIVE, Verdict.FAILED)  # from the best to the worst


@dataclass(frozen=True, kw_only=True)
class VersionVerdict:
    """A verdict on a version, by some suites under a policy, as the replacement of another version.

    It also says which updates of other lines were asked about, which that version has taken over.

    An evaluation gives one beside the parent and, if it compared the version with another one that
    was live, a second one beside that; both have one report.
    """

    model: ModelId
    version: int
    beside: int  # the version whose replacement it is about
    policy: PolicyId
    suites: tuple[SuiteId, ...]  # sorted
    holdouts: tuple[SuiteId, ...] = ()  # sorted: the images that were added to holdouts by then
    labels: tuple[str, ...] = ()  # of unlabelled suites, at each look until then: see `Looks`
    updates: tuple[int, ...] = ()  # what it was asked about though it lacks them: see `inheritance`
    settled: tuple[int, ...] = ()  # sorted: the ancestors that a passing verdict had let go live
    verdict: Verdict
    report: Digest
    images: int  # test images that were judged
    job: JobId
    at: datetime

    @property
    def asked_digest(self) -> Digest:
        """The SHA-256 that stands for the suites, holdouts, updates and settled versions."""
        return sha256(canonical_json([self.suites, self.holdouts, self.updates, self.settled]))

    def covers(
        self, model: Model, holdouts: Collection[SuiteId] = (), settled: Collection[int] = ()
    ) -> bool:
        """Return whether it is about the model's policy and all of its suites, as they are now.

        `holdouts` are the images that were added to holdouts, and `settled` the ancestors that have
        gone live by a passing verdict, which it must be about too: a line that was trained ahead
        would lose step by step what each of its versions has brought. What has failed under the
        policy has failed, by whatever images: else new ones, well chosen, or one more suite could
        take a failure away.
        """
        if self.policy != model.policy:
            return False
        if self.verdict is Verdict.FAILED:
            return True
        return (
            {*model.suites} <= {*self.suites}
            and {*holdouts} <= {*self.holdouts}
            and {*settled} <= {*self.settled, self.beside}
        )


@dataclass(frozen=True, kw_only=True)
class Try:
    """A version that a suite has judged, in whatever model, or what a blame asked it about."""

    version: Digest
    parent: Digest
    suite: SuiteId
    at: datetime


def worst(verdicts: Iterable[VersionVerdict]) -> VersionVerdict | None:
    """Return the worst verdict, the newest of equals; None if there is none."""
    return max(verdicts, key=lambda one: (ORDER.index(one.verdict), one.at), default=None)


def shown_verdict(
    newest: VersionVerdict,
    stored: Iterable[VersionVerdict],
    model: Model,
    beside: Collection[int | None],
) -> VersionVerdict:
    """Return the verdict that pages show of a version: the worst one that counts now.

    Those that count are the newest and, of the `stored`, those that cover the model's policy and
    suites beside some versions: the parent, and those that are live. So an evaluation that covers
    something else never makes a version look better than it is.
    """
    counting = [one for one in stored if one.beside in beside and one.covers(model)]
    return worst([newest, *counting]) or newest
