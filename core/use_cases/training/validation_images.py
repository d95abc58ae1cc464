"""Validation images for an update that chooses its own mixing weight."""

from collections.abc import Sequence

from core.domain.datasets.manifest import ManifestEntry
from core.domain.datasets.split import Part
from core.domain.evaluation.plan_queries import ScoredSuite, entries_in, suite_query
from core.domain.evaluation.query import ClassQuery
from core.domain.recipes.prompt import PromptTemplate
from core.errors import RecipeInvalid
from core.ports import Selection


def selection_of(
    *,
    holdout: Sequence[ManifestEntry],
    classes: tuple[str, ...],
    prompt: PromptTemplate,
    suites: Sequence[ScoredSuite],
) -> Selection:
    """Return the plan's queries over the validation parts instead of the test parts.

    `holdout` is held out of the update, `classes` is all that the line will have learned.
    Raises RecipeInvalid, naming what has no validation image: without it, the choice could not
    weigh the gain against the loss on every suite.
    """
    own = entries_in(Part.VALIDATION, holdout)
    kept = {s.suite.name: suite_query(s, Part.VALIDATION) for s in suites}
    missing = [f"suite {name!r}" for name, question in kept.items() if question is None]
    if not own:
        missing.insert(0, "this update's holdout")
    if not suites:
        missing.append("the model's suites (it has none)")
    if missing:
        raise RecipeInvalid(
            "Mixing choices 'validation' and 'per_layer' choose shares on validation images (about "
            "a fifth of each suite's and 4 % of the update's images). There are none in: "
            f"{', '.join(missing)}.",
            pointer="/recipe/mixing_choice",
            missing=missing,
        )
    return Selection(
        new=ClassQuery(entries=own, classes=classes, prompt=prompt),
        kept=tuple(question for question in kept.values() if question is not None),
    )
