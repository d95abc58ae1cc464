"""Traffic of trials: which version answers a request, and what is recorded and asked beside.

It is beside `api/trials`, as `api/dependencies.py` holds it and the routes import that.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock

from api.background_writer import BackgroundWriter
from api.inference_client.client import Inference
from core.errors import InferenceBusy, PerennialError, QuotaExceeded
from core.images.decoder import Decoder
from core.inference.classify import ClassificationRequest, Resolved
from core.platform import Platform
from core.trials.record import Batch, ShadowAnswer, keep_sample, record_predictions
from core.trials.rules import Arm, Prediction, Shadowed, Trial, TrialMode, Tried, same_class
from core.values import Digest, PredictionId, TrialId, new_id, sha256

EVERY_S = 0.2
MAX_PREDICTIONS = 20_000  # entries, while the database does not respond
MOST_TRIED = 20_000  # files that are remembered
MAX_IMAGES = 128  # images, those in a call included
MAX_BYTES = 64 * 1024 * 1024  # of their pixels, and of those that may become samples
THREADS = 8  # questions that may share a call

log = logging.getLogger(__name__)

RequestOf = Callable[[Resolved], ClassificationRequest]


@dataclass(frozen=True, kw_only=True)
class Part:
    """The part that a request has in a trial: who answers it, and the candidate."""

    trial: Trial
    arm: Arm
    caller: Digest | None
    answering: Resolved
    candidate: Resolved


def part_of(resolved: Resolved, tried: Tried, routing_key: str) -> Part:
    """Return the part of a request with this routing key in the trial of its alias."""
    candidate = replace(resolved, version=tried.candidate)
    arm = tried.trial.arm_of(routing_key)
    return Part(
        trial=tried.trial,
        arm=arm,
        caller=(
            tried.trial.caller_of(routing_key) if tried.trial.mode is TrialMode.CANARY else None
        ),
        answering=candidate if arm is Arm.CANDIDATE else resolved,
        candidate=candidate,
    )


def trial_recorder(platform: Platform) -> BackgroundWriter[Batch]:
    """Return what records the answers of versions during trials."""
    write = partial(record_predictions, platform)
    return BackgroundWriter("predictions of trials", write, every_s=EVERY_S, most=MAX_PREDICTIONS)


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


@dataclass(frozen=True, kw_only=True)
class ShadowQuestion:
    """The images of a request, by their predictions, and what the candidate is asked of them."""

    predictions: Sequence[PredictionId]
    pixels: Sequence[bytes]
    request: Callable[[], ClassificationRequest]
    originals: Originals | None = None  # to keep those about which the versions disagree

    @property
    def bytes(self) -> int:
        """The bytes of the pixels, and of the originals."""
        return sum(map(len, [*self.pixels, *(self.originals.images if self.originals else ())]))


class Shadow:
    """Asks over connections of its own, so that no caller waits in a queue with its images.

    Images for which there is no room are dropped, and counted.
    """

    def __init__(
        self, inference: Inference, recorder: BackgroundWriter[Batch], samples: SampleKeeper
    ) -> None:
        self._inference = inference
        self._recorder = recorder
        self._samples = samples
        self._images = self._bytes = 0
        self._lock = Lock()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="shadow")

    def ask(self, question: ShadowQuestion) -> None:
        """Ask in the background; without its originals if there is no room for these."""
        if not self._fits(question):
            question = replace(question, originals=None)
            if not self._fits(question):
                self._settle(question, Shadowed.DROPPED)
                return
        asked = self._threads.submit(self._ask, question)
        asked.add_done_callback(
            lambda call: self._settle(question, Shadowed.DROPPED) if call.cancelled() else None
        )

    def close(self) -> None:
        """Let the calls in progress end; images that still wait are dropped, and counted."""
        self._threads.shutdown(cancel_futures=True)

    def _fits(self, question: ShadowQuestion) -> bool:
        """Return whether there is room for a question, which it then takes."""
        with self._lock:
            images = self._images + len(question.pixels)
            size = self._bytes + question.bytes
            fits = not self._images or (images <= MAX_IMAGES and size <= MAX_BYTES)
            if fits:
                self._images, self._bytes = images, size
            return fits

    def _ask(self, question: ShadowQuestion) -> None:
        try:
            rows = self._inference.classify(question.request(), question.pixels, top_k=1)
            answers = [row[0]["class"] for row in rows]
            for prediction, found in zip(question.predictions, answers, strict=True):
                answer = ShadowAnswer(outcome=Shadowed.ANSWERED, answer=found)
                self._recorder.add(Batch(shadows={prediction: answer}))
            if question.originals is not None:
                self._samples.keep(question.originals, question.predictions, answers)
        except InferenceBusy:
            self._settle(question, Shadowed.DROPPED)
        except PerennialError as fault:
            log.warning("the candidate of a trial did not answer: %s", fault.message)
            self._settle(question, Shadowed.FAILED)
        except Exception:
            log.exception("the candidate of a trial did not answer")
            self._settle(question, Shadowed.FAILED)
        finally:
            with self._lock:
                self._images -= len(question.pixels)
                self._bytes -= question.bytes

    def _settle(self, question: ShadowQuestion, outcome: Shadowed) -> None:
        answer = ShadowAnswer(outcome=outcome)
        self._recorder.add(Batch(shadows=dict.fromkeys(question.predictions, answer)))


class TrialTraffic:
    """Records the predictions of trials, and has the candidates of shadows asked."""

    def __init__(self, platform: Platform, inference: Inference, decoder: Decoder) -> None:
        self._platform = platform
        self.recorder = trial_recorder(platform)
        self.samples = SampleKeeper(platform, decoder)
        self._shadow = Shadow(inference, self.recorder, self.samples)

    def answered(self, part: Part, answers: Sequence[str]) -> list[PredictionId]:
        """Record the classes that answer a request, and return the ids of the predictions."""
        now = self._platform.clock()
        predictions = [
            Prediction(
                id=PredictionId(new_id("pred", now)),
                trial=part.trial.id,
                mode=part.trial.mode,
                arm=part.arm,
                answer=answer,
                caller=part.caller,
                at=now,
            )
            for answer in answers
        ]
        self.recorder.add(Batch(predictions=predictions))
        return [one.id for one in predictions]

    async def shadow(
        self,
        part: Part,
        predictions: Sequence[PredictionId],
        pixels: Sequence[bytes],
        request: RequestOf,
        originals: Originals | None = None,
    ) -> None:
        """Have the candidate of a shadow asked in the background about the same images.

        `request` makes the question to a version; of the originals, samples are kept.
        """
        if part.trial.mode is TrialMode.SHADOW:
            self._shadow.ask(
                ShadowQuestion(
                    predictions=predictions,
                    pixels=pixels,
                    request=lambda: request(part.candidate),
                    originals=originals,
                )
            )

    def close(self) -> None:
        """End what runs in the background, and write what was recorded."""
        self._shadow.close()
        self.recorder.close()
