"""Samples of a trial: images about which its two versions disagree."""

from dataclasses import dataclass
from datetime import datetime

from core.domain.values import Digest, PredictionId, TrialId


@dataclass(frozen=True, kw_only=True)
class Sample:
    """An image that a caller sent, kept with both answers; a trial keeps an image once."""

    trial: TrialId
    pixels: Digest
    artifact: Digest  # its stored form
    size: int  # bytes of that; 0 if an earlier release kept it
    prediction: PredictionId
    answer: str  # the class that went out
    shadow_answer: str  # the candidate's class
    at: datetime
