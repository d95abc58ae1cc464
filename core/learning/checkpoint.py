"""Checkpoints: an update's state as one artifact."""

import io
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import torch

from core.domain.values import Digest
from core.errors import ArtifactCorrupt, ArtifactMissing, StopRequested, StorageFull
from core.ports import Artifacts, Monitor, Moved, nobody

Environments = tuple[Mapping[str, str], ...]  # in order, the present one last

FORMAT = 2  # raised when a state's content or meaning changes: older ones then start over


def to_bytes(state: dict[str, Any]) -> bytes:
    """A state of tensors, numbers and words as bytes."""
    out = io.BytesIO()
    torch.save(state, out)
    return out.getvalue()


def from_bytes(data: bytes) -> dict[str, Any]:
    """The state that `to_bytes` wrote, on the CPU; bytes that hold code are refused."""
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state


def read_checkpoint(
    artifacts: Artifacts, digest: Digest | None, moved: Moved = nobody
) -> dict[str, Any] | None:
    """A stored state; None when there is none, its bytes are gone or damaged, or it is of old."""
    if digest is None:
        return None
    try:
        state = from_bytes(artifacts.get(digest, moved))
    except (ArtifactMissing, ArtifactCorrupt):
        return None
    return state if state.get("format") == FORMAT else None


def environments_of(state: dict[str, Any]) -> Environments:
    """Return what a stored state's steps were taken in; an empty one where it is not recorded."""
    return tuple(state.get("environments", ({},)))


class Checkpoints:
    """Keeps one job's newest checkpoint; the one before goes once the new one counts.

    Two models' equal updates go through equal states. An id of this run in each checkpoint keeps
    their digests apart, so that a job may delete its own.
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
        """`weights_bytes`: what the update takes when it is published at the end."""
        self._artifacts = artifacts
        self._watch = monitor
        self._newest = newest
        self._environments = environments
        self._weights_bytes = weights_bytes
        self._run = uuid4().hex

    def keep(self, state: dict[str, Any], step: int) -> None:
        """Store a checkpoint and make it count.

        Where there is no room for it, but still room for the weights in the end, training may go
        on without. Raises LeaseLost or StopRequested, and StorageFull where there is neither.
        """
        state = {**state, "environments": list(self._environments), "run": self._run}
        try:
            digest = self._artifacts.put(to_bytes(state), self._watch.moved)
        except StorageFull as fault:
            if self._artifacts.free_bytes() < self._weights_bytes:
                raise
            self._watch.skip_checkpoint(step, fault.facts)
            return
        try:
            self._watch.save_checkpoint(digest, step)
        except StopRequested:  # said after the checkpoint counts
            self._replace(digest)
            raise
        self._replace(digest)

    def _replace(self, digest: Digest) -> None:
        if self._newest not in {None, digest}:
            self._artifacts.delete(self._newest)
        self._newest = digest
