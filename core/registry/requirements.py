"""The suites, policy and live version that a promotion is checked against."""

from collections.abc import Collection, Iterator
from itertools import pairwise

from core.database.work import Work
from core.datasets.version_rows import Suites
from core.gate.rows import Policies
from core.gate.rules import Verdict
from core.recipes.rules import distinct
from core.registry.alias_rows import Aliases
from core.registry.aliases import Alias
from core.registry.inheritance import is_ancestor, lost_updates
from core.registry.promotable import PromotionRequirements
from core.registry.read import added_images, ancestors
from core.registry.rows import Models
from core.registry.verdict_rows import Verdicts
from core.registry.verdicts import VersionVerdict, worst
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version
from core.values import PolicyId


def promotion_requirements(work: Work, version: Version, alias: str) -> PromotionRequirements:
    """Return what the verdict on a version must cover for it to go live as `alias` now."""
    model = work[Models].get(version.model)
    live = live_version(work, version, alias)
    lost = lost_updates(work, version, live, alias) if live else ()
    known = {name.lower() for name in version.classes}
    asked = {one.number for one in (*ancestors(work, version), *lost)}
    return PromotionRequirements(
        model=model,
        alias=alias,
        names={**work[Suites].names(model.suites), **work[Policies].names([model.policy])},
        parent=version.parent,
        live=live,
        back=live is not None and is_ancestor(work, version, live),
        lost=lost,
        lost_classes=distinct(
            name for one in lost for name in one.update_classes if name.lower() not in known
        ),
        unlisted=tuple(
            name for name in (live.classes if live else ()) if name.lower() not in known
        ),
        unproven=(
            *_unproven(work, model, version, work[Aliases].find(model.id, alias)),
            *((one, None) for one in imported_ancestors(work, version) if live),
        ),
        added={
            number: suite.id
            for number, suite in added_images(work, model.id).items()
            if number in asked
        },
        settled=settled_ancestors(work, model, version),
    )


def settled_ancestors(work: Work, model: Model, version: Version) -> frozenset[int]:
    """Return the ancestors, but the parent, that a passing verdict has let go live.

    A verdict compares a version with these, if they are live by then.
    """
    further = ancestors(work, version)[1:-1]
    return frozenset({one.number for one in further} & {*let_live(work, model)})


def _unproven(
    work: Work, model: Model, version: Version, live: Alias | None
) -> tuple[tuple[Version, VersionVerdict | None], ...]:
    """Return the ancestors since the nearest of `let_live` that has not failed since.

    Where something else is live, only what a conversion was made from: that was asked to gain as a
    conversion is not, and is to be judged beside what is live, too. The root is none of them. Each
    has its worst verdict, by any policy and suites; passes under a looser policy than the model's
    do not count.
    """
    passed, found = let_live(work, model), list[tuple[Version, VersionVerdict | None]]()
    for child, one in pairwise([version, *reversed(ancestors(work, version))]):
        if live and (live.version in {child.number, one.number} or not child.is_conversion):
            break
        verdicts = work[Verdicts].counting(one)
        strict = _no_looser(work, model, {given.policy for given in verdicts})
        counting = [
            given
            for given in verdicts
            if given.beside in {one.parent, live and live.version}
            and (given.policy in strict or given.verdict is not Verdict.PASSED)
        ]
        verdict = worst(counting)
        failed = verdict is not None and verdict.verdict is Verdict.FAILED
        if one.is_root or (one.number in passed and not failed):
            break
        compared = live is None or any(given.beside == live.version for given in counting)
        found.append((one, verdict if compared or failed else None))
    return tuple(found)


def imported_ancestors(work: Work, version: Version) -> Iterator[Version]:
    """Yield the imported ancestors since the nearest version of the line that has ever gone live.

    They may have been taught images of suites and holdouts here, as no bundle shows. Whoever let
    one go live, or what descends from it, has decided about that.
    """
    for one in (version, *reversed(ancestors(work, version))):
        if one.is_root or work[Aliases].has_moved_to(version.model, one.number):
            return
        if one.origin is not None and one.number != version.number:
            yield one


def let_live(work: Work, model: Model) -> Collection[int]:
    """Return the versions that passed under the model's policy, or one no looser, and went live.

    A looser policy would otherwise choose from where losses are measured for ever.
    """
    passed = work[Aliases].passed(model.id)
    strict = _no_looser(work, model, {policy for _, policy in passed})
    return {number for number, policy in passed if policy in strict}


def _no_looser(work: Work, model: Model, policies: Collection[PolicyId]) -> Collection[PolicyId]:
    """Return which of some policies are no looser than the model's."""
    now = work[Policies].get(model.policy)
    return {one for one in policies if work[Policies].get(one).is_no_looser_than(now)}


def live_version(work: Work, version: Version, alias: str) -> Version | None:
    """Return the version that `version` would replace as an alias; None for none, or itself."""
    found = work[Aliases].find(version.model, alias)
    if found is None or found.version == version.number:
        return None
    return work[Versions].get(version.model, found.version)
