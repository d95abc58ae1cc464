"""The queries of a blame, on test images of its classes, and what the version itself answered."""

from collections.abc import Sequence

from core.domain.comparison.answered_query import NamedQuery
from core.domain.comparison.group_blame import Answered, classes_that_fell, of_classes
from core.domain.evaluation.query import ClassAnswers, ClassQuery
from core.domain.jobs.order import BlameOrder
from core.domain.registry.version import Model, Version
from core.errors import AnswersMissing, FieldInvalid
from core.ports import Platform
from core.use_cases.evaluation.stored_answers import StoredAnswers, read_answers


def queries_of(
    platform: Platform, model: Model, version: Version, parent: Version, order: BlameOrder
) -> tuple[tuple[str, ...], tuple[str, ...], Answered]:
    """Return the classes, the suites and holdouts that ask about them, and the version's answers.

    Only test images of the classes are asked about. Raises FieldInvalid or AnswersMissing.
    """
    stored = read_answers(platform, model, (parent, version), about=order.class_name)
    queries = [named for named in stored.queries if order.suite in {None, named.name}]
    if not queries and order.suite is not None and order.class_name is None:
        raise FieldInvalid(
            f"Neither a suite of the model nor a holdout of the line is named {order.suite!r}.",
            pointer="/suite",
        )
    if order.class_name is None:
        classes = _fallen(queries, stored, parent, version)
    else:
        classes = (_spelling(queries, order.class_name, order.suite),)
    asked: list[str] = []
    own: list[tuple[ClassQuery, ClassAnswers]] = []
    for named in queries:
        answers = stored.answers.get((version.digest, named.query.digest))
        if isinstance(named.query, ClassQuery) and isinstance(answers, ClassAnswers):
            found = of_classes(named.query, answers, classes)
            asked += [named.name for _ in found]
            own += found
    if not own:
        raise _unanswered(version)
    return classes, tuple(asked), tuple(own)


def _fallen(
    queries: Sequence[NamedQuery], stored: StoredAnswers, parent: Version, version: Version
) -> tuple[str, ...]:
    for one in (parent, version):
        if not any((one.digest, named.query.digest) in stored.answers for named in queries):
            raise _unanswered(one)
    found = classes_that_fell(queries, stored.answers, parent=parent.digest, version=version.digest)
    if not found:
        raise FieldInvalid(
            f"No class has fallen from version {parent.number} to version {version.number}: name "
            "the class.",
            pointer="/class",
        )
    return found


def _spelling(queries: Sequence[NamedQuery], class_name: str, suite: str | None) -> str:
    """Return a class as test images have it, whatever its case. Raises FieldInvalid."""
    for named in queries:
        for entry in named.query.entries:
            if entry.class_name.lower() == class_name.lower():
                return entry.class_name
    where = f"{suite!r} has" if suite else "No suite of the model and no holdout of the line has"
    negated = "no test images" if suite else "test images"
    raise FieldInvalid(f"{where} {negated} of the class {class_name!r}.", pointer="/class")


def _unanswered(version: Version) -> AnswersMissing:
    return AnswersMissing(
        f"Version {version.number} has no stored answers about the class: order an evaluation of "
        "the version.",
        version=version.number,
    )
