"""Records predictions of trials a little later, so that no answer waits for the database."""

import logging
from collections.abc import Collection, Sequence
from threading import Event, Lock, Thread

from core.domain.trials.prediction import Prediction
from core.domain.values import PredictionId
from core.errors import PerennialError
from core.ports import Platform
from core.use_cases.trials.record_predictions import Batch, ShadowAnswer, record_predictions

log = logging.getLogger(__name__)

EVERY_S = 0.2
MAX_WAITING = 20_000  # entries, while the database does not respond


class TrialRecorder:
    """Collects what is to be recorded and writes it in batches, from a thread of its own.

    The thread starts with the first entry, so that without a trial there is none. What a process
    has collected for less than `EVERY_S` is lost if it is killed.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._waiting = Batch()
        self._lock = Lock()  # of what waits
        self._writing = Lock()  # one batch at a time, in their order
        self._closing = Event()
        self._thread: Thread | None = None

    def answered(self, predictions: Sequence[Prediction]) -> None:
        """Record predictions that went out."""
        self._collect(Batch(predictions=list(predictions)))

    def shadowed(self, predictions: Collection[PredictionId], answer: ShadowAnswer) -> None:
        """Record what became of the question to a shadow about some images."""
        self._collect(Batch(shadows=dict.fromkeys(predictions, answer)))

    def flush(self) -> None:
        """Write what was collected before this call.

        Raises DatabaseUnavailable or StorageFull, and keeps it. What fails otherwise would fail
        again and hold up what comes after it: it is lost.
        """
        with self._writing:
            with self._lock:
                batch, self._waiting = self._waiting, Batch()
            if not batch:
                return
            try:
                record_predictions(self._platform, batch)
            except PerennialError:
                self._collect(batch, first=True)
                raise
            except Exception:
                log.exception("predictions of trials are lost", extra={"count": len(batch)})

    def close(self) -> None:
        """Write what was collected, and end the thread."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        self._write()

    def _collect(self, batch: Batch, *, first: bool = False) -> None:
        with self._lock:
            before, after = (batch, self._waiting) if first else (self._waiting, batch)
            if len(before) + len(after) > MAX_WAITING:
                log.warning("predictions of trials are lost", extra={"count": len(after)})
                self._waiting = before
                return
            self._waiting = Batch(
                predictions=before.predictions + after.predictions,
                shadows=before.shadows | after.shadows,
            )
            if self._thread is None and not self._closing.is_set():
                self._thread = Thread(target=self._run, name="trials", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._closing.wait(EVERY_S):
            self._write()

    def _write(self) -> None:
        try:
            self.flush()
        except PerennialError as fault:
            log.warning("predictions of trials wait: %s", fault.message)
