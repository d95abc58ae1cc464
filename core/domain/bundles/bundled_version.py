"""A bundle's statement of its version: the line of versions, the suites and the policy."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from core.domain.datasets.suite import Suite
from core.domain.gate.policy import GatePolicy
from core.domain.recipes.prompt import PromptTemplate
from core.domain.recipes.recipe import Recipe
from core.domain.registry.version import Model, Version
from core.domain.values import Digest, Json, clean_class
from core.errors import BundleInvalid, PerennialError

# Before `check.json` and all others in the order of names: the signature is checked first.
ENVELOPE_FILE = "attestation.intoto.json"


def report_file(number: int) -> str:
    """Return the name of the file with the report on a version."""
    return f"report-{number}.json"


def statistics_file(digest: Digest) -> str:
    """Return the name of the file with the feature statistics of a class."""
    return f"statistics-{digest}"


@dataclass(frozen=True, kw_only=True)
class BundledVersion:
    """A version as the server that signed the bundle describes it."""

    model: str  # its name there
    number: int
    digest: Digest
    recipe: Recipe | None
    prompt: PromptTemplate
    classes: tuple[str, ...]
    environment: Mapping[str, str]
    environments: tuple[Mapping[str, str], ...]
    notes: Json
    feature_statistics: Mapping[str, Digest]
    line: tuple[tuple[Digest, tuple[str, ...]], ...]  # digest and classes taught; root first
    reports: Mapping[int, Digest]  # by version there

    @property
    def ancestors(self) -> tuple[Digest, ...]:
        """The digests of the versions that it was trained from, the nearest first."""
        return tuple(digest for digest, _ in reversed(self.line[:-1]))

    def taught_after(self, ancestor: Digest) -> tuple[str, ...]:
        """Return the classes taught by the updates after an ancestor, each once, in order."""
        last = max(at for at, (digest, _) in enumerate(self.line) if digest == ancestor)
        return tuple(dict.fromkeys(name for _, taught in self.line[last + 1 :] for name in taught))

    @classmethod
    def of(cls, predicate: Json) -> "BundledVersion":
        """Return what a statement's predicate says. Raises BundleInvalid."""
        try:
            *_, last = line = predicate["line"]
            recipe = last["recipe"]
            return cls(
                model=str(predicate["model"]),
                number=int(last["version"]),
                digest=_digest(last["digest"]),
                recipe=Recipe.from_stored(recipe) if recipe is not None else None,
                prompt=PromptTemplate(last["prompt"]),
                classes=_classes(last["classes"]),
                environment=dict(last["environment"]),
                environments=tuple(dict(one) for one in last["environments"]),
                notes=dict(last["notes"]),
                feature_statistics={
                    clean_class(name): _digest(digest)
                    for name, digest in predicate["feature_statistics"].items()
                },
                line=tuple(
                    (_digest(one["digest"]), _classes(one["update_classes"])) for one in line
                ),
                reports={
                    int(one["version"]): _digest(one["report"])
                    for one in line
                    if one["report"] is not None
                },
            )
        except (ValueError, TypeError, KeyError, AttributeError, PerennialError) as error:
            raise BundleInvalid(
                "The signed statement does not describe a version that this release can read."
            ) from error


def predicate_of(
    model: Model,
    line: Sequence[Version],
    *,
    datasets: Mapping[int, Json],
    suites: Sequence[Suite],
    policy: GatePolicy,
) -> dict[str, Any]:
    """Return what a bundle says of the last version of a line, root first.

    `datasets` describes by version what each learned from.
    """
    return {
        "model": model.name,
        "line": [_described(version, datasets.get(version.number)) for version in line],
        "feature_statistics": dict(line[-1].feature_statistics),
        "suites": [
            {
                "name": suite.name,
                "kind": suite.kind.value,
                "manifest": suite.manifest,
                "classes": list(suite.classes),
                "prompt": suite.prompt.text,
                "images": suite.images,
            }
            for suite in suites
        ],
        "policy": asdict(policy) | {"created_at": policy.created_at.isoformat()},
    }


def _described(version: Version, dataset: Json | None) -> dict[str, Any]:
    return {
        "version": version.number,
        "digest": version.digest,
        "parent": version.parent,
        "recipe": version.recipe.to_json() if version.recipe else None,
        "dataset": dataset,
        "update_classes": list(version.update_classes),
        "classes": list(version.classes),
        "prompt": version.prompt.text,
        "verdict": version.verdict.value if version.verdict else None,
        "report": version.report,
        "environment": dict(version.environment),
        "environments": [dict(each) for each in version.environments],
        "notes": dict(version.notes),
        "imported_from": asdict(version.origin) if version.origin else None,
        "created_at": version.created_at.isoformat(),
    }


def _digest(value: object) -> Digest:
    if not (isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")):
        raise ValueError("not a SHA-256 in hex")
    return Digest(value)


def _classes(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(clean_class(name) for name in names)
