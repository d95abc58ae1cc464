"""Results of an evaluation: scores of continual learning, and accuracies over answers."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean

from core.evaluation.answers import Answers, ClassAnswers, RetrievalAnswers, are_finite, ranks_of
from core.evaluation.comparison import Comparison
from core.evaluation.exams import ClassExam, RetrievalExam
from core.evaluation.paired_hits import (
    PairedHits,
    captions_of_one_a_group,
    firsts,
    found_within,
    one_a_group,
    together,
    top_1,
)
from core.evaluation.plan import EvaluationPlan
from core.evaluation.queries import ClassQuery, RetrievalQuery, found_by_one_answer
from core.evaluation.report import MatrixRow, Report, Task, Transfer
from core.evaluation.unlabelled import SampledHits, UnlabelledExam, sampled_hits
from core.gate.kinds import ClassList, MeasureKind
from core.gate.levels import Spending
from core.registry.versions import Version
from core.rejection.rules import Calibration
from core.values import Digest

# Scores of continual learning on plain lists.
#
# `matrix[t][i]` is the accuracy on task i after update t, both counted from 0. The scores that
# look back need only i <= t, so rows may be ragged; those that look ahead need full rows.
# Where the literature uses one name for several formulas, each has its own name.

Matrix = Sequence[Sequence[float]]


def micro_accuracy(counts: Iterable[tuple[int, int]]) -> float:
    """Return right answers over all answers, from (right, asked) per class."""
    right, asked = map(sum, zip(*counts, strict=True))
    return right / asked


def macro_accuracy(counts: Iterable[tuple[int, int]]) -> float:
    """Return the mean accuracy of the classes, from (right, asked) per class; skip empty ones."""
    return fmean(right / asked for right, asked in counts if asked)


def average_accuracy(target: float, zero_shot: float) -> float:
    """Return A-Acc, the mean of UT-Acc and ZS-Acc."""
    return (target + zero_shot) / 2


def backward_transfer(matrix: Matrix) -> float:
    """Return the mean change of earlier tasks since each was learned (the standard form)."""
    *_, last = matrix
    earlier = len(matrix) - 1
    return fmean(last[i] - matrix[i][i] for i in range(earlier))


def backward_transfer_reference(matrix: Matrix) -> float:
    """Return `backward_transfer` as in the released VR-LwF code.

    Its sum is divided by the number of all tasks, the newest one counting as zero.
    """
    return backward_transfer(matrix) * (len(matrix) - 1) / len(matrix)


def forgetting(matrix: Matrix) -> float:
    """Return the mean drop of earlier tasks from their best before the last update.

    Source: Chaudhry et al.
    """
    *before, last = matrix
    return fmean(max(row[i] for row in before[i:]) - last[i] for i in range(len(before)))


def forward_transfer(matrix: Matrix, untouched: Sequence[float]) -> float:
    """Return the mean gain of tasks just before they are learned, over the untouched model."""
    return fmean(matrix[i - 1][i] - untouched[i] for i in range(1, len(matrix)))


def recall_at(ranks: Sequence[int], depth: int) -> float:
    """Return the share of queries whose match is among the first `depth`; ranks count from 0."""
    return sum(rank < depth for rank in ranks) / len(ranks)


def recalls(ranks: Sequence[int]) -> Mapping[int, float]:
    """Return R@1, R@5 and R@10 by depth."""
    return {depth: recall_at(ranks, depth) for depth in (1, 5, 10)}


# The results of an evaluation: its plan with the answers to it.

AnswersByQuery = Mapping[tuple[Digest, Digest], Answers]  # (version digest, query digest): answers
Counts = list[tuple[int, int]]  # (right, asked) of each class that has an image


@dataclass(frozen=True, kw_only=True)
class EvaluationResults:
    """An evaluation plan with its answers. A missing answer is a KeyError.

    A query without spending judges its first version of the line.
    """

    plan: EvaluationPlan
    answers: AnswersByQuery
    spending: Mapping[Digest, Spending] = field(default_factory=dict)  # by query
    failed_before: frozenset[int] = frozenset()  # beside which versions an earlier look has failed

    def hits(self, version: Version, query: ClassQuery) -> tuple[bool, ...]:
        """Return, image by image, whether a version was right."""
        return self.class_answers(version, query).hits(query, self.meanings)

    @cached_property
    def meanings(self) -> Mapping[str, str]:
        """One name for all that mean the same by the policy, by each of them in lower case."""
        return self.plan.policy.meanings

    @cached_property
    def improved(self) -> dict[int, frozenset[str]]:
        """The classes that updates since a version have improved, as far as it was asked."""
        return {}

    def class_answers(self, version: Version, query: ClassQuery) -> ClassAnswers:
        """Return a version's answers to a query for classes."""
        answers = self.answers[version.digest, query.digest]
        if not isinstance(answers, ClassAnswers):
            raise TypeError(type(answers))
        return answers

    def ranks(
        self, version: Version, exam: RetrievalExam, asked: ClassList = ClassList.OWN
    ) -> RetrievalAnswers:
        """Return a version's ranks in both directions, in the gallery that is judged."""
        gallery = exam.over(asked)
        answers = self.answers[version.digest, gallery.digest]
        if not isinstance(answers, RetrievalAnswers):
            raise TypeError(type(answers))
        return answers if gallery == exam.own else ranks_of(exam.own, gallery, answers)

    def paired(self, comparison: Comparison, now: Version | None = None) -> PairedHits:
        """Return the hits of a version and of a comparison's baseline; near-duplicates as one.

        The version is the candidate unless said otherwise. The gain in captions has the answers of
        both directions.
        """
        now = now or self.plan.candidate
        if comparison.is_of_captions:
            return together(
                captions_of_one_a_group(self.found_on_each(comparison, now, way), way)
                for way in comparison.directions
            )
        return one_a_group(self.on_each(comparison, now), by_class=comparison.is_of_holdouts)

    def found_on_each(
        self, comparison: Comparison, now: Version, direction: MeasureKind
    ) -> Sequence[tuple[RetrievalQuery, PairedHits]]:
        """Return the hits of a version and of the baseline in all searches of each exam."""
        found: list[tuple[RetrievalQuery, PairedHits]] = []
        for exam, before in comparison.pairs:
            if not isinstance(exam, RetrievalExam):
                raise TypeError(type(exam))
            new, old = (self.ranks(version, exam, comparison.asked) for version in (now, before))
            hits = dict(found_within(exam.own, comparison.depth, now=new, before=old))
            found.append((exam.own, replace(hits[direction], baseline=before.number)))
        return found

    def in_own_galleries(self, comparison: Comparison) -> Mapping[int, PairedHits]:
        """Return the hits on each edition of a captioned suite, among its own images.

        There are none if the version before has not answered so, as a settled one.
        """
        found: dict[int, PairedHits] = {}
        for exam, before in comparison.pairs:
            for query in exam.earlier if isinstance(exam, RetrievalExam) else ():
                if (before.digest, query.digest) in self.answers:
                    edition = RetrievalExam(name=exam.name, own=query)
                    number = max(entry.edition for entry in query.entries)
                    found[number] = self.paired(replace(comparison, pairs=((edition, before),)))
        return found

    def on_each(
        self, comparison: Comparison, now: Version
    ) -> Sequence[tuple[ClassQuery, PairedHits]]:
        """Return the hits of a version and of the baseline on all images of each exam."""
        found: list[tuple[ClassQuery, PairedHits]] = []
        for exam, before in comparison.pairs:
            if not isinstance(exam, ClassExam):
                raise TypeError(type(exam))
            query, other = (comparison.query(exam, version) for version in (now, before))
            hits = top_1(
                query,
                now=self.hits(now, query),
                before=self.hits(before, other),
                views_now=self.class_answers(now, query).view_hits(query, self.meanings),
                views_before=self.class_answers(before, other).view_hits(other, self.meanings),
            )
            found.append((query, replace(hits, baseline=before.number)))
        return found

    def by_one_answer(self, comparison: Comparison, hits: PairedHits | None = None) -> int:
        """Return how many of a comparison's answers would be right if all were the same.

        Without `hits`, of an unlabelled suite, how many answers of the baseline are the same.
        """
        (exam, before), *_ = comparison.pairs
        if comparison.is_of_captions:
            queries = [exam.own for exam, _ in comparison.pairs]
            asked = [one.entries[at] for one in queries for at in firsts(one)]
            return sum(found_by_one_answer(asked, way) for way in comparison.directions)
        names: Iterable[str] = () if hits is None else hits.truths
        if isinstance(exam, UnlabelledExam):
            query = comparison.query(exam, before)
            said = (*(name.lower() for name in query.classes), "")  # or no class was best
            names = (said[one] for one in self.class_answers(before, query).predicted)
        return max(Counter(self.meanings.get(one, one) for one in names).values(), default=0)

    def live_in(self, comparison: Comparison) -> Version | None:
        """Return the live version in a cumulative comparison, if it has learned what is asked."""
        learners = self.plan.learners_of(exam for exam, _ in comparison.pairs)
        knows = comparison.is_cumulative and learners <= self.plan.live_lineage
        return self.plan.live if knows else None

    def sampled(self, comparison: Comparison, exam: UnlabelledExam, before: Version) -> SampledHits:
        """Return the hits of the candidate and of another version on an unlabelled suite."""
        now, other = self.plan.candidate, comparison.query(exam, before)
        query = comparison.query(exam, now)
        return sampled_hits(
            exam,
            query,
            now=self.class_answers(now, query),
            before=self.class_answers(before, other),
            meanings=self.meanings,
            minimum_count=self.plan.policy.minimum_count,
        )

    def counts(self, version: Version, query: ClassQuery) -> Counts:
        """Return (right, asked) of each class that has an image, sorted by name."""
        found: dict[str, list[bool]] = {}
        hits = self.hits(version, query)
        for entry, hit in zip(query.entries, hits, strict=True):
            found.setdefault(entry.class_name, []).append(hit)
        return [(sum(found[name]), len(found[name])) for name in sorted(found)]

    def accuracy(self, version: Version, query: ClassQuery) -> float:
        """Return the share of right answers."""
        return micro_accuracy(self.counts(version, query))

    @property
    def calibration(self) -> Calibration:
        """The candidate's thresholds for "none of these"; without a source if it has none."""
        query = self.plan.calibration
        found = self.answers[self.plan.candidate.digest, query.digest] if query else Calibration()
        if not isinstance(found, Calibration):
            raise TypeError(type(found))
        return found

    @property
    def roles(self) -> tuple[tuple[str, Version], ...]:
        """The versions in every table, by role."""
        plan = self.plan
        roles = ("candidate", plan.candidate), ("parent", plan.parent), ("root", plan.root)
        if plan.live is None or plan.live.digest in {plan.parent.digest, plan.root.digest}:
            return roles
        return (*roles, ("live", plan.live))

    def not_finite(self, version: Version) -> int:
        """Return how many queries a version answered with scores that are NaN."""
        return sum(
            not are_finite(self.answers[version.digest, query.digest], query)
            for asked, queries in self.plan.questions
            if asked.digest == version.digest
            for query in queries
        )


# The accuracy matrix over the updates of a lineage, and its transfer scores.
#
# A task is an update's holdout. Each cell is a version's accuracy over the class list known
# when the task was learned, so all cells of a column answer the same query.

Cell = tuple[float, float]  # micro, macro
Cells = dict[tuple[int, int], Cell]  # (version, task's version)


def tasks(results: EvaluationResults) -> tuple[Task, ...]:
    """Return the columns: the updates of the lineage that have a test image, oldest first.

    Their images are those about which the version that learned the task can answer.
    """
    return tuple(
        Task(
            version=learner.number,
            classes=learner.update_classes,
            images=len(query.entries),
        )
        for learner, query in _columns(results)
    )


def _columns(results: EvaluationResults) -> list[tuple[Version, ClassQuery]]:
    holdouts = results.plan.holdouts
    return [(one.learner, one.common.own) for one in holdouts if one.common is not None]


def accuracy_matrix(results: EvaluationResults, previous: Report | None) -> tuple[MatrixRow, ...]:
    """Return the root's row, then one row for each update of the lineage.

    The cells of candidate, parent and root and those of the diagonal come from this evaluation's
    answers, the others from the parent's report if they are about as many images; cells known to
    neither are None.
    """
    plan = results.plan
    cells = _known(previous, {task.version: task.images for task in tasks(results)})
    for learner, query in _columns(results):
        for version in (plan.root, plan.parent, learner, plan.candidate):
            counts = results.counts(version, query)
            cell = (micro_accuracy(counts), macro_accuracy(counts))
            cells[version.number, learner.number] = cell
    columns = [learner.number for learner, _ in _columns(results)]
    rows = sorted({plan.root.number, plan.parent.number, plan.candidate.number, *columns})
    return tuple(
        MatrixRow(
            version=row,
            micro=tuple(_part(cells, row, column, 0) for column in columns),
            macro=tuple(_part(cells, row, column, 1) for column in columns),
        )
        for row in rows
    )


def _known(previous: Report | None, images: Mapping[int, int]) -> Cells:
    if previous is None:
        return {}
    return {
        (row.version, task.version): (micro, macro)
        for row in previous.matrix
        for task, micro, macro in zip(previous.tasks, row.micro, row.macro, strict=True)
        if micro is not None and macro is not None
        if images.get(task.version, task.images) <= task.images
    }


def _part(cells: Cells, row: int, column: int, index: int) -> float | None:
    cell = cells.get((row, column))
    return None if cell is None else cell[index]


def transfer(results: EvaluationResults, matrix: Sequence[MatrixRow]) -> Transfer:
    """Return the transfer scores of the macro accuracies, as far as the matrix has the cells."""
    columns = [learner.number for learner, _ in _columns(results)]
    rows = {row.version: row.macro for row in matrix}
    square = [rows[version] for version in columns]
    if not columns or columns[-1] != results.plan.candidate.number:
        return Transfer()
    learned = fmean(_required(row[t]) for t, row in enumerate(square))
    if len(columns) == 1:
        return Transfer(learned=learned)
    count = len(columns)
    # Both backward transfers read only the diagonal and the last row, which are known.
    seen = [[cell or 0.0 for cell in row] for row in square]
    triangle = [square[t][i] for t in range(count) for i in range(t + 1)]
    ahead = [square[i - 1][i] for i in range(1, count)]
    untouched = rows[results.plan.root.number]
    return Transfer(
        backward=backward_transfer(seen),
        backward_reference=backward_transfer_reference(seen),
        forgetting=None if None in triangle else forgetting(seen),
        forward=None
        if None in ahead
        else forward_transfer(seen, [_required(cell) for cell in untouched]),
        learned=learned,
    )


def _required(cell: float | None) -> float:
    if cell is None:
        raise ValueError("a cell that this evaluation fills is missing")
    return cell
