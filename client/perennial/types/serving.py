"""Classification, embeddings, trials and vectors."""

from typing import Literal, NotRequired, TypedDict

from perennial.types.datasets import ReceiptError
from perennial.types.evaluation import ErrorRate, Statistic

# Trials of aliases, and receipts of labels.

TrialMode = Literal["canary", "shadow"]
TrialEnd = Literal["promoted", "stopped", "alias_moved", "alias_deleted", "erased"]
TrialVerdict = Literal["better", "worse", "undecided"]
Arm = Literal["current", "candidate"]


class TrialAnswer(TypedDict):
    """The trial that the alias has, and which of its two versions answered."""

    id: str
    mode: TrialMode
    arm: Arm


class Trial(TypedDict):
    """A trial; it runs while it has no `end`."""

    id: str
    model: str
    alias: str
    mode: TrialMode
    share: float | None  # of the requests, for a canary
    current: int  # version
    candidate: int  # version
    reason: str
    started_by: str
    started_at: str
    ended_by: str | None
    ended_at: str | None
    end: TrialEnd | None


class ArmCounts(TypedDict):
    """The counts of one version's answers and labels."""

    answered: int
    labelled: int
    right: int
    accuracy: float | None


class ShadowCounts(TypedDict):
    """The answers of a shadow's two versions side by side, and their labelled pairs."""

    agreed: int
    disagreed: int
    dropped: int
    failed: int
    gained: int
    lost: int
    sampled: int  # images that were kept as samples, also if they are deleted now


class TrialDifference(TypedDict):
    """The candidate's accuracy less that of the current version."""

    estimate: float | None
    lower: float
    upper: float
    confidence: float


class BothCounts(TypedDict):
    """The answers of both versions."""

    current: ArmCounts
    candidate: ArmCounts
    shadow: ShadowCounts | None  # None for a canary
    same_caller: int  # labels that do not count, since another one of their caller does


class CoursePoint(TypedDict):
    """The difference in accuracy by the labels that there were at a time."""

    labels: int
    estimate: float
    lower: float
    upper: float
    at: str


class TrialReport(Trial):
    """A trial with what its answers and labels say so far."""

    verdict: TrialVerdict
    difference: TrialDifference
    counts: BothCounts
    course: list[CoursePoint]  # by growing numbers of labels


class Sample(TypedDict):
    """An image about which the two versions of a shadow disagree."""

    pixels: str
    prediction: str  # to send its label back for
    current: str  # class
    candidate: str  # class
    at: str


class LabelError(TypedDict):
    """Why a label was refused."""

    code: str
    detail: str


class LabelReceipt(TypedDict):
    """The outcome of sending a label; without a status, it was refused."""

    prediction: str
    status: Literal["counted", "waiting", "repeated", "same_caller"] | None
    error: LabelError | None


# Classification.

# A class and its probability among the given classes.
Prediction = TypedDict("Prediction", {"class": str, "probability": float})


class NoneOfThese(TypedDict):
    """The threshold below which an image shows none of the classes, and its error rates."""

    false_rejection_rate: float
    statistic: Statistic
    threshold: float
    auroc: float
    source: str
    covered: bool  # whether the source has all the classes, with the same prompt
    list_size: int  # the number of classes for which the rates were measured
    false_rejection: ErrorRate
    false_acceptance: ErrorRate


class ImageAnswer(TypedDict):
    """The predictions for an image, most probable first, or why it could not be classified."""

    file: str
    predictions: list[Prediction]
    none_of_these: NotRequired[bool | None]  # None unless it was asked
    score: NotRequired[float | None]  # compared with the threshold
    error: NotRequired[ReceiptError | None]
    prediction: NotRequired[str | None]  # in a trial: what a label is sent back for


class Classify(TypedDict):
    """The results in the order the images were sent, and the version that classified them."""

    model: str
    version: int
    digest: str
    none_of_these: NotRequired[NoneOfThese | None]
    data: list[ImageAnswer]
    trial: NotRequired[TrialAnswer | None]


# Embeddings.


class InputVector(TypedDict):
    """The L2-normalised vector of an image or text, or why an image has none."""

    file: str | None
    embedding: list[float] | str | None
    error: NotRequired[ReceiptError | None]


class Embed(TypedDict):
    """The vectors in the order the inputs were sent, and the version that computed them."""

    model: str
    version: int
    digest: str
    width: int
    data: list[InputVector]


# Stored vectors, and reports on old indexes. Recalls and losses are fractions of 1.

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
