"""Find the update after which a class fell most."""

from core.domain.comparison.blame import Blame, blame
from core.domain.registry.alias import PRODUCTION
from core.domain.registry.version import Model, Version
from core.errors import AnswersMissing, ClassNotFound
from core.ports import Platform
from core.use_cases.evaluation.stored_answers import read_answers
from core.use_cases.registry.lineage import ancestors


def blame_updates(
    platform: Platform, model: str, class_name: str, version: int | None
) -> tuple[Model, Version, Blame]:
    """Return a class's accuracy along the lineage of a version, by default the live one.

    Raises ModelNotFound, VersionNotFound, AliasNotFound, ClassNotFound or AnswersMissing.
    """
    with platform.transactions(read_only=True) as work:
        found = work.models.get(model)
        if version is None:
            version = work.aliases.get(found.id, PRODUCTION).version
        last = work.versions.get(found.id, version)
        line = [*ancestors(work, last), last]
        alpha = work.policies.get(found.policy).alpha
    stored = read_answers(platform, found, line, about=class_name)
    if not stored.queries:
        raise ClassNotFound(
            "No suite of the model and no holdout of the line has test images of this class.",
            class_name=class_name,
            version=last.number,
        )
    result = blame(line, class_name, stored.queries, stored.answers, alpha=alpha)
    if not result.curves:
        raise AnswersMissing(
            f"No version up to version {last.number} has stored answers about this class: order "
            "an evaluation of the version.",
            version=last.number,
        )
    return found, last, result
