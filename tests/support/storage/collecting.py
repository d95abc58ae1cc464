"""Collections of garbage in which everything is old, and versions for them to give up."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from core.errors import ArtifactMissing
from core.gate.rules import Verdict
from core.jobs.needs import Retention
from core.registry.versions import Model, Version, Weights
from core.upkeep.gc import CollectionResult, collect_garbage
from tests.support.api.seeds import a_candidate
from tests.support.evaluation.judged import go_live
from tests.support.factories import NOW, TESTER
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.scene import Scene

LATER = NOW + timedelta(days=100)

NEWEST_ONLY = Retention(keep_last=1, made_before=LATER)


def make_old(artifacts: MemoryArtifacts) -> None:
    """Let every artifact look as if it had been stored long ago."""
    artifacts.put_at = dict.fromkeys(artifacts.put_at, 0.0)


def tidy(scene: Scene, retention: Retention | None = None, **changes: Any) -> CollectionResult:
    make_old(scene.platform.artifacts)
    return collect_garbage(scene.platform, TESTER, retention=retention, **changes)


def promoted(scene: Scene, model: Model, *numbers: int) -> None:
    """Promote versions one after another, whatever the gate said."""
    for number in numbers:
        go_live(scene, model, number, reason="for this test", override=True)


def rejected(scene: Scene, model: Model, count: int, **changes: Any) -> list[Version]:
    return [
        a_candidate(scene.platform, model, verdict=Verdict.FAILED, **changes) for _ in range(count)
    ]


def numbers(versions: Sequence[Version]) -> list[int]:
    return [version.number for version in versions]


def whole(scene: Scene, version: Version) -> bool:
    artifacts = scene.platform.artifacts
    try:
        listed = Weights.from_bytes(artifacts.get(version.digest)).tensors
    except ArtifactMissing:
        return False
    return all(artifacts.has(tensor.digest) for tensor in listed)
