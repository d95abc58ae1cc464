"""Suites: the images and queries on which every version of a model is scored."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from core.domain.datasets.dataset import DatasetKind
from core.domain.recipes.prompt import PromptTemplate
from core.domain.values import Digest, SuiteId


class SuiteKind(StrEnum):
    """The kinds of suites."""

    ZERO_SHOT = "zero_shot"  # which of the suite's classes is this image?
    RETRIEVAL = "retrieval"  # which caption belongs to this image, and the reverse?

    @property
    def dataset_kind(self) -> DatasetKind:
        """The kind of dataset that such a suite is made from."""
        return DatasetKind.LABELLED if self is SuiteKind.ZERO_SHOT else DatasetKind.CAPTIONED


@dataclass(frozen=True, kw_only=True)
class Suite:
    """An immutable suite: another set of images makes another suite."""

    id: SuiteId
    name: str
    kind: SuiteKind
    manifest: Digest  # artifact with the manifest's JSON
    classes: tuple[str, ...]  # empty for retrieval
    images: int
    prompt: PromptTemplate  # unused for retrieval, where captions are the texts
    created_at: datetime
