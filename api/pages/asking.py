"""Asking the live version, the newest one and the root of a model about one image."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from api.dependencies import Services
from core.domain.registry.alias import PRODUCTION
from core.domain.registry.version import Model
from core.use_cases.inference.classify import Resolved, classification_of, known_classes

SHOWN = 5  # classes of an answer


@dataclass(frozen=True, kw_only=True)
class VersionAnswer:
    """The most probable classes that a version sees in an image, and their probabilities."""

    role: str
    version: int
    classes: Sequence[tuple[str, float]]


def versions_to_ask(services: Services, model: str) -> tuple[Model, list[tuple[str, int]]]:
    """Return the model, and the roles and numbers of the versions to ask, each once."""
    with services.platform.transactions(read_only=True) as work:
        found = work.models.get(model)
        live = work.aliases.find(found.id, PRODUCTION)
        newest = work.versions.newest(found.id)
    named = [("live", live and live.version), ("newest", newest and newest.number), ("root", 1)]
    wanted: dict[int, str] = {}
    for role, number in named:
        if number and newest:
            wanted[number] = f"{wanted[number]}, {role}" if number in wanted else role
    return found, [(role, number) for number, role in wanted.items()]


async def ask(
    services: Services,
    wanted: Sequence[tuple[str, int]],
    resolved: Sequence[Resolved],
    pixels: Sequence[bytes],
    classes: Sequence[str] = (),
) -> list[VersionAnswer]:
    """Return what each version says about an image, given the pixels that all of them take.

    Without classes they choose from those of the version that has learned most.
    """
    if not classes:
        most = max(resolved, key=lambda one: len(one.version.classes))
        classes = await run_in_threadpool(known_classes, services.platform, most)
    top_k, answers = min(SHOWN, len(classes)), []
    for (role, number), one in zip(wanted, resolved, strict=True):
        asked = classification_of(one, classes)
        (answer,) = await services.inference.answer(asked, pixels, top_k=top_k)
        shown = [(str(row["class"]), float(row["probability"])) for row in answer.predictions]
        answers.append(VersionAnswer(role=role, version=number, classes=shown))
    return answers
