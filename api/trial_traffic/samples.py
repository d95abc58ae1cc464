"""Keep images that the versions of a shadow disagree about, if the settings allow it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from core.domain.trials.prediction import same_class
from core.domain.trials.trial import TrialMode, Tried
from core.domain.values import Digest, PredictionId, TrialId, sha256
from core.errors import PerennialError, QuotaExceeded
from core.ports import Decoder, Platform
from core.use_cases.trials.samples import keep_sample

log = logging.getLogger(__name__)

MOST_TRIED = 20_000  # files that are remembered


@dataclass(frozen=True, kw_only=True)
class Originals:
    """The images of a request as they were sent, each with the class that went out.

    An image for which there was no room is empty.
    """

    trial: TrialId
    images: Sequence[bytes]
    answers: Sequence[str]


class SampleKeeper:
    """Keeps samples of trials while they have room; safe to share between threads."""

    def __init__(self, platform: Platform, decoder: Decoder) -> None:
        self._platform = platform
        self._decoder = decoder
        self._full: set[TrialId] = set()
        self._tried: set[Digest] = set()  # files, of which the same ones are sent again and again

    def wants(self, tried: Tried | None) -> bool:
        """Return whether images of this trial's requests may become samples."""
        return (
            self._platform.settings.max_trial_samples > 0
            and tried is not None
            and tried.trial.mode is TrialMode.SHADOW
            and tried.trial.id not in self._full
        )

    def keep(
        self, asked: Originals, predictions: Sequence[PredictionId], shadow_answers: Sequence[str]
    ) -> None:
        """Keep the images to which the candidate gave another class than the current version."""
        of_one = zip(predictions, asked.images, asked.answers, shadow_answers, strict=True)
        for prediction, image, answer, shadow_answer in of_one:
            if not image or same_class(answer, shadow_answer) or asked.trial in self._full:
                continue
            file = sha256(asked.trial.encode() + image)
            if file not in self._tried:
                if len(self._tried) >= MOST_TRIED:  # while the disk is full, none of them is kept
                    self._tried.clear()
                self._tried.add(file)
                self._keep(asked.trial, image, prediction, answer, shadow_answer)

    def _keep(
        self, trial: TrialId, image: bytes, prediction: PredictionId, answer: str, other: str
    ) -> None:
        try:
            more = keep_sample(
                self._platform,
                self._decoder,
                image,
                trial=trial,
                prediction=prediction,
                answer=answer,
                shadow_answer=other,
            )
        except QuotaExceeded as fault:
            log.warning("a trial keeps no more samples: %s", fault.message)
            self._fill(trial)
        except PerennialError as fault:
            log.warning("a sample of a trial is lost: %s", fault.message)
        except Exception:
            log.exception("a sample of a trial is lost")
        else:
            if not more:
                self._fill(trial)

    def _fill(self, trial: TrialId) -> None:
        """Keep no more samples of a trial."""
        self._full.add(trial)
        self._tried.clear()
