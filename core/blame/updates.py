"""Find the update after which a class fell most."""

from core.blame.rules import Blame, blame
from core.errors import AnswersMissing, ClassNotFound
from core.evaluation.stored_answers import read_answers
from core.gate.rows import Policies
from core.platform import Platform
from core.registry.alias_rows import Aliases
from core.registry.aliases import PRODUCTION
from core.registry.read import ancestors
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version


def blame_updates(
    platform: Platform, model: str, class_name: str, version: int | None
) -> tuple[Model, Version, Blame]:
    """Return a class's accuracy along the lineage of a version, by default the live one.

    Raises ModelNotFound, VersionNotFound, AliasNotFound, ClassNotFound or AnswersMissing.
    """
    with platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        if version is None:
            version = work[Aliases].get(found.id, PRODUCTION).version
        last = work[Versions].get(found.id, version)
        line = [*ancestors(work, last), last]
        policy = work[Policies].get(found.policy)
    stored = read_answers(platform, found, line, about=class_name)
    if not stored.queries:
        raise ClassNotFound(
            "No suite of the model and no holdout of the line has test images of this class.",
            class_name=class_name,
            version=last.number,
        )
    result = blame(
        line,
        class_name,
        stored.queries,
        stored.answers,
        alpha=policy.alpha,
        meanings=policy.meanings,
    )
    if not result.curves:
        raise AnswersMissing(
            f"No version up to version {last.number} has stored answers about this class: order "
            "an evaluation of the version.",
            version=last.number,
        )
    return found, last, result
