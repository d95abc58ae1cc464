"""The groups that a blame has finished, as an artifact: what it resumes from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.domain.evaluation.query import ClassAnswers
from core.domain.values import Digest, Json
from core.errors import ArtifactCorrupt, ArtifactMissing
from core.ports import Artifacts


@dataclass(frozen=True, kw_only=True)
class FinishedGroup:
    """The answers of a version without a group, and the version's digest."""

    digest: Digest
    environments: tuple[Mapping[str, str], ...]
    answers: tuple[ClassAnswers, ...]  # to the plan's queries


@dataclass(frozen=True, kw_only=True)
class FinishedGroups:
    """The groups that are finished, in order, and the trainer's checkpoint of the next one."""

    plan: Digest
    groups: tuple[FinishedGroup, ...] = ()
    training: Digest | None = None

    def to_json(self) -> dict[str, Any]:
        """Return them as plain JSON."""
        return {
            "plan": self.plan,
            "training": self.training,
            "groups": [
                {
                    "digest": group.digest,
                    "environments": [dict(one) for one in group.environments],
                    "answers": [list(one.predicted) for one in group.answers],
                }
                for group in self.groups
            ],
        }

    @classmethod
    def from_json(cls, value: Json) -> "FinishedGroups":
        """Return those that `to_json` wrote."""
        return cls(
            plan=value["plan"],
            training=value["training"],
            groups=tuple(
                FinishedGroup(
                    digest=group["digest"],
                    environments=tuple(group["environments"]),
                    answers=tuple(
                        ClassAnswers(predicted=tuple(predicted)) for predicted in group["answers"]
                    ),
                )
                for group in value["groups"]
            ),
        )


def read_finished(artifacts: Artifacts, digest: Digest | None, plan: Digest) -> FinishedGroups:
    """Return what an earlier attempt has finished of a plan; nothing if that cannot be read."""
    if digest is not None:
        try:
            found = FinishedGroups.from_json(json.loads(artifacts.get(digest)))
        except (ArtifactMissing, ArtifactCorrupt):
            pass
        else:
            if found.plan == plan:
                return found
    return FinishedGroups(plan=plan)
