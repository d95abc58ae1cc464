"""Stored vectors of dataset versions, and the parts that a re-embedding resumes from."""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from core.values import DatasetId, Digest, JobId, ModelId, canonical_json

PART = 1024  # images whose vectors are stored at a time
VALUE_BYTES = 4  # of a float32


@dataclass(frozen=True, kw_only=True)
class StoredVectors:
    """The vectors of a dataset version's images by a version of a model."""

    model: ModelId
    version: int
    dataset: DatasetId
    dataset_version: int
    digest: Digest  # of the version
    artifact: Digest  # of the .npy file
    size: int  # bytes of the .npy file
    images: Digest  # artifact: a line of JSON for each row
    rows: int
    width: int
    job: JobId
    created_at: datetime


def npy_header(rows: int, width: int) -> bytes:
    """Return what stands before the values of a float32 array in a .npy file.

    Version 1.0 of numpy's format: the length is such that the values start at a multiple of 64.
    """
    shape = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}"
    before = 10  # the magic string, the version, and the length of the header
    padded = shape + " " * (-(before + len(shape) + 1) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode("latin-1")


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
