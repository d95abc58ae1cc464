"""Aliases that point at versions which learned from erased images, and what to do about it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from core.database.work import Work
from core.errors import EvaluationStale
from core.gate.rules import Verdict
from core.jobs.orders import replaced_by
from core.jobs.queue import unfinished_jobs
from core.registry.alias_rows import Aliases
from core.registry.aliases import Alias
from core.registry.promote import expected_refusal
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version
from core.values import ModelId


@dataclass(frozen=True, kw_only=True)
class Line:
    """The versions of a model as they are now."""

    work: Work
    versions: Mapping[int, Version]
    replacements: Mapping[int, Version]  # the newest version that replaces each number
    waiting: Collection[int | None]  # what unfinished jobs will replace
    aliases: Sequence[Alias]

    @classmethod
    def of(cls, work: Work, model: ModelId) -> "Line":
        """Return the versions of a model."""
        versions = work[Versions].all(model)
        return cls(
            work=work,
            versions={version.number: version for version in versions},
            replacements={one.replaces: one for one in versions if one.replaces is not None},
            waiting={replaced_by(job.order) for job in unfinished_jobs(work, model)},
            aliases=work[Aliases].all(model),
        )

    def next_step(self, alias: Alias) -> tuple[int | None, str]:
        """Return the version to promote in the place of an alias's, if any, and what to do."""
        number = alias.version
        waits, by = number in self.waiting, self.replacements.get(number)
        while by is not None and by.erasure is not None:
            waits, by = waits or by.number in self.waiting, self.replacements.get(by.number)
        if by is None:
            if waits:
                return None, "Wait for the job that makes what replaces it."
            return None, "Nothing replaces it: promote a version that did not learn from them."
        named = f"version {by.number}, which replaces it"
        if by.verdict is None:
            return by.number, f"Wait for the verdict on {named}, then promote it."
        if by.verdict is Verdict.FAILED:
            return by.number, f"The gate failed {named}: let an admin promote it by override."
        if isinstance(expected_refusal(self.work, by, alias.name), EvaluationStale):
            model = self.work[Models].get(alias.model).name
            return by.number, (
                f"Score {named}, beside what is live as {alias.name}: `perennial evaluate "
                f"{model}:{by.number} --alias {alias.name} --wait`. Then promote it."
            )
        return by.number, f"Promote {named}."


@dataclass(frozen=True, kw_only=True)
class LiveMark:
    """A version that learned from erased images, and to which aliases point."""

    model: ModelId
    name: str  # of the model
    version: int
    aliases: tuple[str, ...]
    replaced_by: int | None
    next_step: str

    @property
    def text(self) -> str:
        """Two sentences: the fault, and the remedy."""
        live = ", ".join(self.aliases)
        return (
            f"Version {self.version} learned from images that were erased since, and still answers "
            f"as {live}. {self.next_step}"
        )


def live_marks(work: Work, models: Sequence[Model]) -> list[LiveMark]:
    """Return the marked versions of some models that are live, by model and number."""
    names = {model.id: model.name for model in models}
    found: dict[tuple[ModelId, int], list[Alias]] = {}
    for alias in work[Aliases].marked(*names):
        found.setdefault((alias.model, alias.version), []).append(alias)
    lines = {model: Line.of(work, model) for model in {model for model, _ in found}}
    marks = []
    for (model, number), aliases in sorted(found.items()):
        steps = dict.fromkeys(lines[model].next_step(alias) for alias in aliases)
        marks.append(
            LiveMark(
                model=model,
                name=names[model],
                version=number,
                aliases=tuple(alias.name for alias in aliases),
                replaced_by=next(iter(steps))[0],
                next_step=" ".join(step for _, step in steps),
            )
        )
    return marks
