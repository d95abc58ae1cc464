"""Models and the classes that they have learned."""

from typing import TypedDict

from perennial.types.datasets import Dataset, DatasetVersion, Receipt
from perennial.types.jobs import Job


class Model(TypedDict):
    """A model."""

    id: str
    name: str
    suites: list[str]
    policy: str
    aliases: dict[str, int]  # versions by alias
    created_at: str


# A class and the version that last learned it.
LearnedClass = TypedDict("LearnedClass", {"class": str, "version": int})


class Learned(TypedDict):
    """The classes that the version of an alias has learned."""

    model: str
    version: int
    digest: str
    data: list[LearnedClass]


class Start(TypedDict):
    """The job, dataset version and receipts of one call that teaches classes."""

    job: Job
    dataset: Dataset
    dataset_version: DatasetVersion
    files: list[Receipt]
