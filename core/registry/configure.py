"""Choose the suites, the gate policy and the default recipe of a model."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from core.artifacts.store import Artifacts
from core.audit import record as audit
from core.audit.rules import Action, given_reason
from core.database.work import Work
from core.datasets.version_rows import Suites
from core.errors import Conflict, ModelNotTrainable, RecipeInvalid, RecipeUnsafe
from core.gate.policies import add_policy, clean_policy
from core.gate.rows import Policies
from core.gate.rules import GatePolicy
from core.platform import Platform
from core.principal import Role
from core.recipes.rules import Recipe
from core.registry.alias_rows import Aliases
from core.registry.architecture import require_recipe_fits
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model, Weights
from core.values import Json, ModelId, SuiteId


def configure_model(
    platform: Platform,
    model: str,
    *,
    suites: Sequence[str] | None,
    policy: str | GatePolicy | None,
    default_recipe: Json | None = None,
    force: bool = False,
    reason: str = "",
) -> Model:
    """Choose what judges a model's next versions, and their default recipe; None keeps each.

    A policy that is given as a value is stored with it. To take a suite away or to choose another
    policy requires a reason. One more suite does not: it asks more of every version, but where none
    guarded the model before, versions may pass by it. An empty recipe restores the default of the
    model's size.

    Raises Forbidden if whoever is no admin chooses suites or a policy; ModelNotFound,
    SuiteNotFound, SuiteRetired or PolicyNotFound; FieldInvalid without a reason; for a new policy
    what `clean_policy` raises, or NameTaken; for a recipe what `_checked` raises.
    """
    with platform.transactions() as work:
        if suites is not None or policy is not None:
            work.principal.require(Role.ADMIN)
        chosen = None if suites is None else work[Suites].chosen(suites)
        work[Models].hold(work[Models].get(model).id)
        found = work[Models].get(model)  # again: another choice may have come first
        if chosen is not None:
            work[Models].set_suites(found.id, chosen)
        if isinstance(policy, GatePolicy):
            policy = clean_policy(policy)
            add_policy(work, policy)
            work[Models].set_policy(found.id, policy.id)
        elif policy is not None:
            work[Models].set_policy(found.id, work[Policies].get(policy).id)
        changed = work[Models].get(found.id)
        if changed.policy != found.policy:
            reason = given_reason(reason, "Another policy")
        if {*found.suites} - {*changed.suites}:
            reason = given_reason(reason, "Taking a suite from a model")
        if changed != found:
            _record(work, found, changed, now=platform.clock(), reason=reason)
        if default_recipe is not None:
            own = _checked(platform, work, found, default_recipe, force) if default_recipe else {}
            _set_recipe(work, found, own, now=platform.clock(), reason=reason)
        changed = work[Models].get(found.id)
        work.commit()
    return changed


def _checked(platform: Platform, work: Work, model: Model, given: Json, force: bool) -> Json:
    """Return all fields of a default recipe of which an operator has given some.

    Raises Conflict before the root is imported; RecipeInvalid, also for texts, which belong to one
    update; ModelNotTrainable if the architecture does not support it, or ArtifactGone; RecipeUnsafe
    for a learning rate far above the one by size, unless forced.
    """
    if model.sized_recipe is None:
        raise Conflict("The model is still being imported: set its default recipe afterwards.")
    try:
        own = model.sized_recipe.merged(given)
        recipe = Recipe.from_json(own)
        if not force:
            model.sized_recipe.require_safe(recipe)
        require_recipe_fits(_config_of(platform.artifacts, work, model), recipe)
    except (RecipeInvalid, RecipeUnsafe, ModelNotTrainable) as refusal:
        refusal.pointer = f"/default_{(refusal.pointer or '/recipe')[1:]}"
        raise
    if recipe.vocabulary_texts:
        raise RecipeInvalid(
            "Texts are given with each update.", pointer="/default_recipe/vocabulary_texts"
        )
    return own


def _set_recipe(work: Work, model: Model, own: Json, *, now: datetime, reason: str) -> None:
    if own == model.own_recipe:
        return
    work[Models].set_own_recipe(model.id, own)
    audit.record(
        work,
        Action.DEFAULT_RECIPE_CHANGED,
        f"models/{model.name}",
        now=now,
        before=model.own_recipe,
        after=own,
        reason=reason,
    )


def _config_of(artifacts: Artifacts, work: Work, model: Model) -> Json:
    """Return the config of a live version: all of a model have its architecture."""
    live = work[Aliases].all(model.id)
    version = work[Versions].get(model.id, live[0].version if live else 1)
    version.require_weights()
    return Weights.from_bytes(artifacts.get(version.digest)).config


def add_suite(work: Work, model: ModelId, suite: SuiteId, *, actor: str, now: datetime) -> None:
    """Let one more locked suite judge the next versions of a locked model, for a job."""
    found = work[Models].get(model)
    if suite not in found.suites:
        work[Models].add_suite(model, suite)
        _record(work, found, work[Models].get(model), now=now, actor=actor)


def _record(
    work: Work,
    before: Model,
    after: Model,
    *,
    now: datetime,
    reason: str = "",
    actor: str | None = None,
) -> None:
    audit.record(
        work,
        Action.MODEL_CONFIGURED,
        f"models/{before.name}",
        now=now,
        before=_judges(work, before),
        after=_judges(work, after),
        reason=reason,
        actor=actor,
    )


def _judges(work: Work, model: Model) -> dict[str, Any]:
    names = work[Suites].names(model.suites)
    policy = work[Policies].names([model.policy])[model.policy]
    return {"suites": [names[suite] for suite in model.suites], "policy": policy}
