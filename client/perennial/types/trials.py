"""Trials of aliases, and receipts of labels."""

from typing import Literal, TypedDict

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
