"""Asks the candidate of a shadow, after the answer of the current version has gone out."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Lock

from api.inference.client import Inference
from api.trial_traffic.recorder import TrialRecorder
from api.trial_traffic.samples import Originals, SampleKeeper
from core.domain.trials.prediction import Shadowed
from core.domain.values import PredictionId
from core.errors import InferenceBusy, PerennialError
from core.ports import ClassificationRequest
from core.use_cases.trials.record_predictions import ShadowAnswer

log = logging.getLogger(__name__)

MAX_WAITING = 128  # images, those in a call included
MAX_WAITING_BYTES = 64 * 1024 * 1024  # of their pixels, and of those that may become samples
THREADS = 8  # questions that may share a call


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
        self, inference: Inference, recorder: TrialRecorder, samples: SampleKeeper
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
                self._drop(question)
                return
        asked = self._threads.submit(self._ask, question)
        asked.add_done_callback(lambda call: self._drop(question) if call.cancelled() else None)

    def close(self) -> None:
        """Let the calls in progress end; images that still wait are dropped, and counted."""
        self._threads.shutdown(cancel_futures=True)

    def _fits(self, question: ShadowQuestion) -> bool:
        """Return whether there is room for a question, which it then takes."""
        with self._lock:
            images = self._images + len(question.pixels)
            size = self._bytes + question.bytes
            fits = not self._images or (images <= MAX_WAITING and size <= MAX_WAITING_BYTES)
            if fits:
                self._images, self._bytes = images, size
            return fits

    def _ask(self, question: ShadowQuestion) -> None:
        try:
            rows = self._inference.classify(question.request(), question.pixels, top_k=1)
            for prediction, row in zip(question.predictions, rows, strict=True):
                answer = ShadowAnswer(outcome=Shadowed.ANSWERED, answer=row[0]["class"])
                self._recorder.shadowed([prediction], answer)
            if question.originals is not None:
                answers = [row[0]["class"] for row in rows]
                self._samples.keep(question.originals, question.predictions, answers)
        except InferenceBusy:
            self._drop(question)
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

    def _drop(self, question: ShadowQuestion) -> None:
        self._settle(question, Shadowed.DROPPED)

    def _settle(self, question: ShadowQuestion, outcome: Shadowed) -> None:
        self._recorder.shadowed(question.predictions, ShadowAnswer(outcome=outcome))
