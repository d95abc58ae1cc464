"""The tools that need torch, without it: tiny tensors, a function of the task alone.

They read what the real ones read before they begin, so that a missing byte is seen.
"""

import json
from collections.abc import Sequence

from core.artifacts.store import Artifacts
from core.errors import ArtifactMissing
from core.jobs.rules import Monitor
from core.platform import Platform
from core.registry.versions import TensorEntry, Weights, in_precision, precision_of
from core.training.trainer import Trained, TrainingSpec
from core.values import Digest, Json, sha256
from tests.support.learning.tiny_tools import put_statistics, read_for_training
from tests.support.scene import Script

STEPS = 3


class TinyTools(Script):
    """The tools that need torch, in one; `run` is in the checkpoints of this process."""

    def __init__(self, platform: Platform, *, run: str) -> None:
        super().__init__(platform, evaluating=lambda monitor: monitor.advance("evaluating", 0, 1))
        self._artifacts = platform.artifacts
        self._run = run

    def load(self, base: str, monitor: Monitor) -> tuple[Weights, str]:
        monitor.advance("importing", 0, 1)
        return publish(self._artifacts, base), "a photo of {name}"

    def train(self, spec: TrainingSpec, *, resume: Digest | None, monitor: Monitor) -> Trained:
        """An update: a chain of hashes, of which each checkpoint is a link."""
        monitor.advance("loading", 0, 1)
        read_for_training(self._artifacts, spec)
        step, state = self._begin(spec, resume)
        while step < STEPS:
            monitor.advance("training", step, STEPS)
            step, state = step + 1, sha256(state.encode())
            if monitor.checkpoint_due():
                kept = self._artifacts.put(json.dumps([step, state, self._run]).encode())
                monitor.save_checkpoint(kept, step)
        monitor.advance("publishing", 0, 1)
        parent = Weights.from_bytes(self._artifacts.get(spec.parent))
        weights = in_precision(publish(self._artifacts, state), precision_of(parent.config))
        self._artifacts.put(weights.to_bytes())
        return Trained(
            weights=weights,
            notes={},
            environments=({},),
            feature_statistics=put_statistics(self._artifacts, spec),
        )

    def tenths_known(self, version: Digest) -> int:
        """Some versions know everything, others less than half, which is more than may be lost."""
        return (4, 5, 8, 10)[int(version[:8], 16) % 4]

    def _begin(self, task: TrainingSpec, resume: Digest | None) -> tuple[int, str]:
        try:
            found = json.loads(self._artifacts.get(resume)) if resume else None
        except ArtifactMissing:
            found = None
        if found is None:
            images = sorted(entry.pixels for entry in task.images)
            return 0, first_state(task.parent, task.classes, task.recipe.seed, images)
        step, state, _ = found
        return step, state


def first_state(parent: Digest, classes: Sequence[str], seed: int, images: Sequence[Digest]) -> str:
    return sha256(f"{parent} {classes} {seed} {images}".encode())


def trained(parent: Digest, classes: Sequence[str], seed: int, images: Sequence[Digest]) -> Weights:
    """The weights of an update on sorted images that nobody disturbs."""
    state = first_state(parent, classes, seed, images)
    for _ in range(STEPS):
        state = sha256(state.encode())
    weights, _ = _weights(state)
    return weights


def publish(artifacts: Artifacts, state: str) -> Weights:
    """Store weights: a tensor that all versions share, one that few do, one of this state."""
    weights, tensors = _weights(state)
    for data in tensors:
        artifacts.put(data)
    artifacts.put(weights.to_bytes())
    return weights


def _weights(state: str) -> tuple[Weights, list[bytes]]:
    tensors = [b"same", state[:1].encode() * 8, state.encode()]
    entries = [
        TensorEntry(name=f"t{n}", dtype="U8", shape=(len(t),), digest=sha256(t), size=len(t))
        for n, t in enumerate(tensors)
    ]
    config: Json = {"model_cfg": {}, "preprocess_cfg": {}}
    return Weights(config=config, tensors=tuple(entries)), tensors
