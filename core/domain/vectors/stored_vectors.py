"""Stored vectors of dataset versions, and reports on old indexes."""

from dataclasses import dataclass
from datetime import datetime

from core.domain.datasets.dataset import DatasetRef
from core.domain.values import DatasetId, Digest, JobId, ModelId

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


@dataclass(frozen=True, kw_only=True)
class IndexReport:
    """The verdict on an index of a baseline's vectors that a version searches."""

    model: ModelId
    version: int
    baseline: int
    report: Digest  # artifact
    bridge: Digest  # artifact
    sources: tuple[str, ...]  # suites and dataset versions whose images it is based on
    job: JobId
    created_at: datetime


def source_of(dataset: DatasetRef) -> str:
    """Return how a report names a dataset version that it is based on; a suite is its id."""
    return f"{dataset.dataset}:{dataset.version}"


def npy_header(rows: int, width: int) -> bytes:
    """Return what stands before the values of a float32 array in a .npy file.

    Version 1.0 of numpy's format: the length is such that the values start at a multiple of 64.
    """
    shape = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}"
    before = 10  # the magic string, the version, and the length of the header
    padded = shape + " " * (-(before + len(shape) + 1) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode("latin-1")
