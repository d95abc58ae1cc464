"""The parts that a re-embedding has stored, as an artifact: what it resumes from."""

import json
from dataclasses import dataclass, replace
from typing import Self

from core.domain.values import Digest, JobId, canonical_json

_END = b"\n"  # of the job's id


@dataclass(frozen=True, kw_only=True)
class VectorParts:
    """The parts that are stored of a plan's, from the first on."""

    job: JobId
    plan: Digest  # identifies the version, the images and their order
    parts: tuple[Digest, ...] = ()

    def plus(self, part: Digest) -> Self:
        """Return them with one more part."""
        return replace(self, parts=(*self.parts, part))

    def to_bytes(self) -> bytes:
        """Return them as canonical JSON."""
        return canonical_json({"job": self.job, "plan": self.plan, "parts": list(self.parts)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return what `to_bytes` wrote."""
        value = json.loads(data)
        return cls(job=value["job"], plan=value["plan"], parts=tuple(value["parts"]))


def part_of_job(job: JobId, vectors: bytes) -> bytes:
    """Return what is stored of a part: no two jobs have the same, so each may delete its own."""
    return job.encode() + _END + vectors


def vectors_of(part: bytes) -> bytes:
    """Return the vectors of what `part_of_job` returned."""
    return part[part.index(_END) + 1 :]
