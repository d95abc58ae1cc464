"""Checkpoints: the state of a training run as one artifact."""

import io
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import torch

from core.domain.values import Digest
from core.errors import ArtifactCorrupt, ArtifactMissing, StopRequested, StorageFull
from core.ports import Artifacts, BytesCallback, Monitor, ignore_bytes

Environments = tuple[Mapping[str, str], ...]  # in order, the current one last

FORMAT = 2  # raised when a state's content or meaning changes: older states are then ignored


def to_bytes(state: dict[str, Any]) -> bytes:
    """Serialise a state of tensors, numbers and strings."""
    out = io.BytesIO()
    torch.save(state, out)
    return out.getvalue()


def from_bytes(data: bytes) -> dict[str, Any]:
    """Return the state that `to_bytes` wrote, on the CPU; pickled code is rejected."""
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state


def read_checkpoint(
    artifacts: Artifacts, digest: Digest | None, moved: BytesCallback = ignore_bytes
) -> dict[str, Any] | None:
    """Return a stored state, or None if there is no usable one.

    A checkpoint is unusable if its bytes are missing or damaged, or its format is outdated.
    """
    if digest is None:
        return None
    try:
        state = from_bytes(artifacts.get(digest, moved))
    except (ArtifactMissing, ArtifactCorrupt):
        return None
    return state if state.get("format") == FORMAT else None


def environments_of(state: dict[str, Any]) -> Environments:
    """Return the environments in which a state's steps were taken; `({},)` if not recorded."""
    return tuple(state.get("environments", ({},)))


class Checkpoints:
    """Keeps one job's newest checkpoint and deletes the previous one once the new one is recorded.

    Two models with equal updates go through equal states. Each checkpoint contains an id of this
    run, so that their digests differ and a job can delete its own.
    """

    def __init__(
        self,
        artifacts: Artifacts,
        monitor: Monitor,
        *,
        newest: Digest | None,
        environments: Environments,
        weights_bytes: int = 0,
    ) -> None:
        """Continue after checkpoint `newest`, if there is one.

        `weights_bytes` is the size of the weights that will be published at the end.
        """
        self._artifacts = artifacts
        self._monitor = monitor
        self._newest = newest
        self._environments = environments
        self._weights_bytes = weights_bytes
        self._run = uuid4().hex

    def keep(self, state: dict[str, Any], step: int) -> None:
        """Store a checkpoint and record it as the job's newest.

        If the store has no room for the checkpoint, but still has room for the final weights,
        training continues without it. Raises StorageFull if there is room for neither, LeaseLost
        and StopRequested.
        """
        state = {**state, "environments": list(self._environments), "run": self._run}
        try:
            digest = self._artifacts.put(to_bytes(state), self._monitor.moved)
        except StorageFull as fault:
            if self._artifacts.free_bytes() < self._weights_bytes:
                raise
            self._monitor.skip_checkpoint(step, fault.facts)
            return
        try:
            self._monitor.save_checkpoint(digest, step)
        except StopRequested:  # raised after the checkpoint was recorded
            self._replace(digest)
            raise
        self._replace(digest)

    def _replace(self, digest: Digest) -> None:
        if self._newest not in {None, digest}:
            self._artifacts.delete(self._newest)
        self._newest = digest
