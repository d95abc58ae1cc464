"""Stored vectors, and reports on old indexes. Recalls and losses are fractions of 1."""

from typing import Literal, TypedDict

IndexVerdict = Literal["index_holds", "bridge", "reembed"]


class Vectors(TypedDict):
    """The vectors of a dataset version's images by a version of a model."""

    model: str
    version: int
    digest: str  # of the version
    dataset: str
    dataset_version: int
    artifact: str  # SHA-256 of the .npy file
    size: int  # bytes of the .npy file
    rows: int  # images
    width: int
    job: str
    created_at: str
    links: dict[str, str]


class Loss(TypedDict):
    """An index's loss of recall@10 against a re-embedded one, with an interval of 95 %."""

    value: float
    lower: float
    upper: float


class SearchMeasure(TypedDict):
    """A search by the new version in three indexes of the same images."""

    suite: str
    search: Literal["text_to_image", "image_to_image"]
    queries: int
    judged: bool  # False: there are too few queries for a verdict
    raw: float  # mean recall@10 in the old index
    bridged: float  # in the old index, mapped by the bridge
    reembedded: float  # in an index of the new version
    raw_loss: Loss
    bridged_loss: Loss


class SuiteVectors(TypedDict):
    """A comparison of the vectors of a suite's test images; cosines and shares are means."""

    suite: str
    images: int
    cosine: float
    bridged_cosine: float
    neighbours_kept: float
    neighbours_found: float
    bridged_neighbours_found: float


class Bridge(TypedDict):
    """A map of old vectors to new ones."""

    artifact: str  # SHA-256 of the safetensors file
    size: int  # bytes
    kind: str
    images: int  # that it was fitted on
    scores: dict[str, float]


# Whether an index of an old version's vectors still serves searches by a version.
Compatibility = TypedDict(
    "Compatibility",
    {
        "model": str,
        "version": int,
        "digest": str,
        "from": int,
        "from_digest": str,
        "verdict": IndexVerdict,
        "reason": str,
        "depth": int,
        "tolerance": float,
        "least_queries": int,
        "searches": list[SearchMeasure],
        "vectors": list[SuiteVectors],
        "bridge": Bridge,
        "job": str,
        "created_at": str,
        "links": dict[str, str],
    },
)

# A test image, and where two versions put it on the same two axes.
MappedImage = TypedDict(
    "MappedImage",
    {"pixels": str, "class": str | None, "before": list[float], "now": list[float]},
)


class EmbeddingMap(TypedDict):
    """The test images of a suite or holdout, or an even sample of many."""

    suite: str
    count: int
    explained: list[float]  # share of the variance along each axis
    images: list[MappedImage]


# The version that searches, and the version whose vectors are in the index.
JobComparison = TypedDict("JobComparison", {"version": int, "from": int})


class JobVectors(TypedDict):
    """The version that embeds images, and the dataset version that they are of."""

    version: int
    dataset: str  # id
    dataset_version: int
