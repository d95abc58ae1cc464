"""Erasures: images that are taken back, and what held them or had learned from them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from core.domain.values import DatasetId, Digest, ErasureId, JobId, Json, ModelId, TrialId


class Retraining(StrEnum):
    """The marked versions that an erasure trains again."""

    ALL = "all"
    ALIASED = "aliased"  # those that aliases point at, and their ancestors
    NONE = "none"


class Exposure(StrEnum):
    """A way in which a version learned from an image."""

    TAUGHT = "taught"
    DISTILLED = "distilled"  # as one of a reference set
    CHOSEN = "chosen"  # as a validation image, by which the mixing weight was chosen
    INHERITED = "inherited"  # from the version that it was trained from


@dataclass(frozen=True, kw_only=True)
class MarkedVersion:
    """A version that learned from erased images."""

    model: ModelId
    name: str  # of the model, at the time
    number: int
    digest: Digest
    learned: Exposure
    retrained: bool  # whether it was ordered to be trained again
    obstacle: str | None = None  # the code of what kept it from being ordered


@dataclass(frozen=True, kw_only=True)
class RemadeVersion:
    """A dataset version that held erased images."""

    dataset: DatasetId
    name: str  # of the dataset, at the time
    number: int
    removed: int  # images
    replaced_by: int  # NOTHING_LEFT: none does


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The drafts, suites and versions that held erased images or had learned from them."""

    artifacts: Mapping[Digest, tuple[Digest, ...]]  # stored forms by pixels
    archives: tuple[Digest, ...] = ()  # of ended imports, which may have brought them
    drafts: tuple[str, ...] = ()  # names of datasets
    datasets: tuple[RemadeVersion, ...] = ()
    suites: tuple[str, ...] = ()  # names
    versions: tuple[MarkedVersion, ...] = ()
    near_duplicates: tuple[Digest, ...] = ()  # of the erased images, which stay
    trials: tuple[TrialId, ...] = ()  # that kept one of the images as a sample
    vectors: tuple[Digest, ...] = ()  # files with vectors of them, and bridges fitted on them

    def to_json(self) -> dict[str, Any]:
        """Return the findings as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Json) -> "Findings":
        """Return the findings that `to_json` wrote."""
        return cls(
            artifacts={pixels: tuple(forms) for pixels, forms in value["artifacts"].items()},
            archives=tuple(value["archives"]),
            drafts=tuple(value["drafts"]),
            datasets=tuple(RemadeVersion(**one) for one in value["datasets"]),
            suites=tuple(value["suites"]),
            versions=tuple(
                MarkedVersion(**{**one, "learned": Exposure(one["learned"])})
                for one in value["versions"]
            ),
            near_duplicates=tuple(value["near_duplicates"]),
            # Earlier releases found none of these.
            vectors=tuple(value.get("vectors", ())),
            trials=tuple(value.get("trials", ())),
        )


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """An order to take images back."""

    id: ErasureId
    images: tuple[Digest, ...]  # by their pixels
    reason: str
    retraining: Retraining = Retraining.ALL
    actor: str
    job: JobId  # that carries it out, or the newest retry of it
    created_at: datetime
    erased_at: datetime | None = None  # when it was committed: from then on nothing reads them
    findings: Findings = field(default_factory=lambda: Findings(artifacts={}))
