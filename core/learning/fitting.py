"""Ask on validation images if a trained student fits its policy."""

from collections.abc import Callable, Mapping, Sequence

from core.clip.inputs import DecodedImages
from core.clip.model import ClipModel
from core.evaluation.answers import Answers
from core.evaluation.fitting import exceeded
from core.evaluation.plan import EvaluationPlan
from core.evaluation.queries import EvalQuery
from core.gate.phrases import subject
from core.jobs.rules import Monitor
from core.learning.run import AnswerQueries
from core.values import Digest


class Fitting:
    """Compares a student with the versions of a plan, each of which answers once.

    What the parent itself exceeds is left out, as less of a step would not change it.
    """

    def __init__(
        self,
        plan: EvaluationPlan,
        asked: Mapping[Digest, Sequence[EvalQuery]],  # by version, as `asked_beside` returns them
        ask: AnswerQueries,
        *,
        load: Callable[[Digest], ClipModel],
        decoded: DecodedImages,
        monitor: Monitor,
    ) -> None:
        self._plan = plan
        self._asked = asked
        self._ask = ask
        self._load = load
        self._decoded = decoded
        self._monitor = monitor
        self._beside: dict[tuple[Digest, Digest], Answers] | None = None
        self._left_out: set[str] = set()

    def excess(self, student: ClipModel, share: float) -> str:
        """Return what the student loses most too much of, with this share of its step; or ""."""
        candidate = self._plan.candidate.digest
        if self._beside is None:
            self._beside = self._answered_beside()
            parent = self._plan.parent.digest
            same = {
                (candidate, query.digest): self._beside[parent, query.digest]
                for query in self._asked[parent]
            }
            self._left_out = {subject(one) for one in exceeded(self._plan, self._beside | same)}
        found = self._answers(candidate, student, share)
        over = [
            one
            for one in exceeded(self._plan, self._beside | found)
            if subject(one) not in self._left_out
        ]
        return subject(min(over, key=lambda one: one.difference + one.tolerance)) if over else ""

    def _answered_beside(self) -> dict[tuple[Digest, Digest], Answers]:
        """Return the answers of all versions of the plan except the candidate."""
        found: dict[tuple[Digest, Digest], Answers] = {}
        for digest in self._asked:
            if digest != self._plan.candidate.digest:
                found |= self._answers(digest, self._load(digest).freeze())
        return found

    def _answers(
        self, version: Digest, model: ClipModel, share: float | None = None
    ) -> dict[tuple[Digest, Digest], Answers]:
        asked = self._asked[version]
        monitor = ShareMonitor(self._monitor, share)
        given = self._ask(model, asked, monitor, decoded=self._decoded)
        return {(version, one.digest): answer for one, answer in zip(asked, given, strict=True)}


class ShareMonitor:
    """The monitor of the answers at one share: a `Monitor` that reports which share it is."""

    def __init__(self, monitor: Monitor, share: float | None) -> None:
        self.moved = monitor.moved
        self.checkpoint_due = monitor.checkpoint_due
        self.skip_checkpoint = monitor.skip_checkpoint
        self.save_checkpoint = monitor.save_checkpoint
        self.emit = monitor.emit
        self._monitor = monitor
        self._share = {} if share is None else {"share": share}

    def advance(
        self, _: str, step: int, total: int, terms: Mapping[str, float] | None = None
    ) -> None:
        """Report progress, as a phase of its own."""
        self._monitor.advance("fitting", step, total, {**(terms or {}), **self._share})
