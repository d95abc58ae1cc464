"""Schemas of trials and of the labels that are sent back."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Annotated

from pydantic import Field

from api.http.schemas import BY_TEXT, ClassName, Number, Reason, RequestModel, ResponseModel
from core.trials.record import Labelled
from core.trials.rules import (
    LARGEST_SHARE,
    Arm,
    CoursePoint,
    Trial,
    TrialCounts,
    TrialEnd,
    TrialMode,
    TrialVerdict,
    evidence_of,
)

MAX_LABELS = 1000


class NewTrial(RequestModel):
    """A trial to start: the candidate, and how it is asked."""

    version: Number = Field(examples=[3], description="The candidate.")
    mode: Annotated[TrialMode, BY_TEXT] = Field(examples=["shadow"])
    share: float | None = Field(
        None,
        examples=[0.1],
        description=f"Of the requests that a canary answers: more than 0, at most {LARGEST_SHARE}.",
    )
    reason: Reason = ""


class StopTrial(RequestModel):
    """The reason for which a trial is stopped."""

    reason: Reason = ""


class TrialView(ResponseModel):
    """A trial; it runs while it has no `end`."""

    id: str = Field(examples=["trial_0199c0d1e2f3a4b5c6d7e8f9"])
    model: str = Field(examples=["demo"])
    alias: str = Field(examples=["production"])
    mode: TrialMode
    share: float | None = Field(examples=[0.1])
    current: int = Field(examples=[2], description="The version that the alias points at.")
    candidate: int = Field(examples=[3])
    reason: str
    started_by: str = Field(examples=["admin"])
    started_at: datetime
    ended_by: str | None
    ended_at: datetime | None
    end: TrialEnd | None


class ArmCounts(ResponseModel):
    """The counts of one version's answers and labels."""

    answered: int = Field(
        description="Answers that went out; of a shadow's candidate, those given."
    )
    labelled: int
    right: int = Field(description="Of the labelled ones, whichever were labelled.")
    accuracy: float | None = Field(
        examples=[0.91],
        description="Of a shadow, labelled agreements and labelled disagreements are weighed by "
        "how often the versions agree and disagree. Null where labels of one kind are missing.",
    )


class ShadowCounts(ResponseModel):
    """The answers of a shadow's two versions side by side, and their labelled pairs."""

    agreed: int
    disagreed: int
    dropped: int = Field(description="Images that the candidate was too busy to be asked about.")
    failed: int = Field(description="Images about which it gave no answer.")
    labelled_disagreed: int = Field(
        examples=[75],
        description="Labelled images about which they disagree. Only these tell the versions "
        "apart; it must be chance which of the disagreements are labelled.",
    )
    gained: int = Field(description="Labelled images that only the candidate has right.")
    lost: int = Field(description="Labelled images that only the current version has right.")
    sampled: int = Field(
        examples=[0], description="Images that were kept as samples, also if they are deleted now."
    )


class TrialDifference(ResponseModel):
    """The candidate's accuracy less that of the current version.

    Of a shadow it is the share of disagreements among all answers times the difference among those
    disagreements that are labelled.
    """

    estimate: float | None = Field(examples=[0.02])
    lower: float = Field(examples=[-0.01])
    upper: float = Field(examples=[0.05])
    confidence: float = Field(
        examples=[0.95],
        description="With which the true difference is within the bounds at all times, "
        "however often they are looked at.",
    )


class BothCounts(ResponseModel):
    """The answers of both versions."""

    current: ArmCounts
    candidate: ArmCounts
    shadow: ShadowCounts | None = Field(description="Null for a canary.")
    same_caller: int = Field(
        examples=[0],
        description="Labels of a canary that do not count, since another one of the same routing "
        "key or request does.",
    )


class CoursePointView(ResponseModel):
    """The difference in accuracy by the labels that there were at a time."""

    labels: int = Field(
        examples=[120], description="Labels that counted; of a shadow, those of disagreements."
    )
    estimate: float = Field(examples=[0.02])
    lower: float = Field(examples=[-0.01])
    upper: float = Field(examples=[0.05])
    at: datetime


class TrialReport(TrialView):
    """A trial with what its answers and labels say so far."""

    verdict: TrialVerdict = Field(description="Of the candidate, by the labels so far.")
    difference: TrialDifference
    counts: BothCounts
    course: list[CoursePointView] = Field(
        description="What the labels said before: a point whenever they were a quarter more than "
        "at the last one."
    )


def trial_report(
    trial: Trial, counts: TrialCounts, course: Sequence[CoursePoint], *, model: str
) -> TrialReport:
    """Return the report of a trial; `model` is the model's name."""
    evidence = evidence_of(trial.mode, counts)
    interval = evidence.interval
    accuracy = partial(counts.accuracy, trial.mode)
    both = BothCounts(
        current=ArmCounts.of(
            counts.current, answered=counts.answered_current, accuracy=accuracy(Arm.CURRENT)
        ),
        candidate=ArmCounts.of(
            counts.candidate, answered=counts.answered_candidate, accuracy=accuracy(Arm.CANDIDATE)
        ),
        shadow=ShadowCounts.of(counts) if trial.mode is TrialMode.SHADOW else None,
        same_caller=counts.same_caller,
    )
    return TrialReport.of(
        trial,
        model=model,
        verdict=evidence.verdict,
        difference=TrialDifference.of(evidence, lower=interval.lower, upper=interval.upper),
        counts=both,
        course=course,
    )


class Disagreement(ResponseModel):
    """Two answers to the same image."""

    prediction: str = Field(
        examples=["pred_0199c0d1e2f3a4b5c6d7e8f9"],
        description="To send its label back for.",
    )
    current: str = Field(
        validation_alias="answer", examples=["boot"], description="The class that went out."
    )
    candidate: str = Field(
        validation_alias="shadow_answer",
        examples=["ankle boot"],
        description="The candidate's class.",
    )
    at: datetime


class SampleView(Disagreement):
    """An image about which the two versions of a shadow disagree."""

    pixels: str = Field(description="SHA-256 of the decoded pixels.")


class ToLabel(Disagreement):
    """A disagreement without a label."""

    pixels: str | None = Field(description="Of the sample, if the image is kept; otherwise null.")


class PredictionLabel(RequestModel):
    """The class that is right for an image that was classified during a trial."""

    prediction: Annotated[str, Field(max_length=100)] = Field(
        examples=["pred_0199c0d1e2f3a4b5c6d7e8f9"]
    )
    label: ClassName = Field(examples=["ankle boot"])


class Feedback(RequestModel):
    """Labels of predictions."""

    labels: list[PredictionLabel] = Field(min_length=1, max_length=MAX_LABELS)


class LabelError(ResponseModel):
    """The reason for which a label was refused."""

    code: str = Field(examples=["prediction_not_found"])
    detail: str = Field(validation_alias="message")


class LabelReceipt(ResponseModel):
    """The outcome of sending a label."""

    prediction: str
    status: Labelled | None = Field(
        validation_alias="outcome",
        description="waiting: it counts once the candidate of the shadow has answered; repeated: "
        "the prediction had it already; same_caller: another label of its routing key or request "
        "counts; null: it was refused.",
    )
    error: LabelError | None = Field(validation_alias="refusal")


class FeedbackView(ResponseModel):
    """A receipt for each label, in the order in which they were sent."""

    data: list[LabelReceipt]
