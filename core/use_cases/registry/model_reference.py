"""Resolve model references such as `name@alias` and `name:7`."""

from core.domain.registry.alias import PRODUCTION, Alias
from core.domain.registry.version import Model, Version
from core.domain.trials.trial import Tried
from core.domain.values import Digest
from core.errors import VersionNotFound
from core.ports import UnitOfWork


def resolve(work: UnitOfWork, reference: str) -> tuple[Model, Version]:
    """Return the version that `name`, `name@alias`, `name:7` or `name@sha256:...` means now.

    A bare name means the alias `production`; `name:7@sha256:...` is version 7, if it has the
    digest. Raises ModelNotFound, AliasNotFound or VersionNotFound.
    """
    model, version, _ = resolve_tried(work, reference)
    return model, version


def resolve_tried(work: UnitOfWork, reference: str) -> tuple[Model, Version, Tried | None]:
    """Return what `resolve` does and, if the reference names an alias, the trial that it has."""
    if "@sha256:" in reference:
        name, digest = reference.split("@sha256:", 1)
        if ":" in name:
            model, version = resolve(work, name)
            if version.digest != digest:
                raise VersionNotFound(reference=reference)
            return model, version, None
        model = work.models.get(name)
        return model, work.versions.by_digest(model.id, Digest(digest)), None
    if "@" in reference:
        name, alias = reference.split("@", 1)
        model = work.models.get(name)
        found = work.aliases.get(model.id, alias)
        return model, work.versions.get(model.id, found.version), _tried(work, found)
    if ":" in reference:
        name, number = reference.split(":", 1)
        model = work.models.get(name)
        if not number.isascii() or not number.isdecimal() or len(number) > 9:
            raise VersionNotFound(reference=reference)
        return model, work.versions.get(model.id, int(number)), None
    return resolve_tried(work, f"{reference}@{PRODUCTION}")


def _tried(work: UnitOfWork, alias: Alias) -> Tried | None:
    if alias.trial is None:
        return None
    trial = work.trials.get(alias.trial)
    return Tried(trial=trial, candidate=work.versions.get(alias.model, trial.candidate))


def learned_classes(
    work: UnitOfWork, model: str, alias: str
) -> tuple[Model, Version, dict[str, int]]:
    """Return the version behind an alias, and what it has learned: the last teacher of each class.

    Raises ModelNotFound or AliasNotFound.
    """
    found = work.models.get(model)
    live = work.versions.get(found.id, work.aliases.get(found.id, alias).version)
    taught: dict[str, int] = {}
    step: Version | None = live
    while step is not None:
        for name in step.update_classes:
            taught.setdefault(name.lower(), step.number)
        step = work.versions.get(found.id, step.parent) if step.parent is not None else None
    return found, live, {name: taught[name.lower()] for name in live.classes}
