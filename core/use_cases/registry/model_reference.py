"""Resolve model references such as `name@alias` and `name:7`."""

from core.domain.registry.alias import PRODUCTION
from core.domain.registry.version import Model, Version
from core.domain.values import Digest
from core.errors import VersionNotFound
from core.ports import UnitOfWork


def resolve(work: UnitOfWork, reference: str) -> tuple[Model, Version]:
    """Return the version that `name`, `name@alias`, `name:7` or `name@sha256:...` means now.

    A bare name means the alias `production`; `name:7@sha256:...` is version 7, if it has the
    digest. Raises ModelNotFound, AliasNotFound or VersionNotFound.
    """
    if "@sha256:" in reference:
        name, digest = reference.split("@sha256:", 1)
        if ":" in name:
            model, version = resolve(work, name)
            if version.digest != digest:
                raise VersionNotFound(reference=reference)
            return model, version
        model = work.models.get(name)
        return model, work.versions.by_digest(model.id, Digest(digest))
    if "@" in reference:
        name, alias = reference.split("@", 1)
        model = work.models.get(name)
        return model, work.versions.get(model.id, work.aliases.get(model.id, alias).version)
    if ":" in reference:
        name, number = reference.split(":", 1)
        model = work.models.get(name)
        if not number.isascii() or not number.isdecimal() or len(number) > 9:
            raise VersionNotFound(reference=reference)
        return model, work.versions.get(model.id, int(number))
    return resolve(work, f"{reference}@{PRODUCTION}")


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
