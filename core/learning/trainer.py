"""The trainer, which trains a parent as a training spec says and publishes the new weights."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from core.artifacts.store import Artifacts
from core.clip.inputs import DecodedImages
from core.clip.machine import (
    Prefetcher,
    environment,
    native_precisions,
    peak_memory,
    raising_out_of_memory,
)
from core.clip.model import ClipModel, load, publish, published_bytes
from core.clip.progress import reporting_layers
from core.errors import ModelNotTrainable
from core.evaluation.fitting import asked_beside
from core.jobs.rules import EventKind, Monitor
from core.learning.distributed import (
    Command,
    DistributedRanks,
    RankProvider,
    Ranks,
    SingleRankProvider,
    repeatable,
)
from core.learning.features import feature_statistics
from core.learning.fitting import Fitting
from core.learning.methods import LearningMethod, MakeMethod
from core.learning.run import AnswerQueries, TrainingRun, score
from core.learning.setup import PreparedRun, prepare_run
from core.learning.step import Checkpoints, Environments, environments_of, read_checkpoint
from core.learning.student import mixing_anchor
from core.recipes.fields import Precision
from core.recipes.rules import require_learnable
from core.settings import thread_count
from core.training.trainer import Trained, TrainingSpec
from core.values import Digest, Json

SELECTION_BYTES = 2**30  # cache of decoded validation images, shared by all mixing weights

INEXACT = (
    "Training resumed on a different kind of machine than the one that wrote the checkpoint, so "
    "the result is not exact: the weights will differ by rounding from those of an uninterrupted "
    "run."
)


class UpdateTrainer:
    """Trains on one device, or on several as rank 0 of the ranks of `rank_provider`.

    A run whose checkpoint was written on one of the `others` goes on there.
    """

    def __init__(
        self,
        artifacts: Artifacts,
        *,
        device: torch.device,
        others: Sequence[torch.device] = (),
        threads: int = 0,  # 0: OMP_NUM_THREADS, or else one per core
        ask: AnswerQueries | None = None,  # for recipes that choose by validation parts
        make_method: MakeMethod = LearningMethod,
        rank_provider: RankProvider | None = None,  # None: this process alone
        clock: Callable[[], float] = time.perf_counter,  # seconds
    ) -> None:
        self._artifacts = artifacts
        self._device = device
        self._others = others
        self._threads = thread_count(threads)
        self._ask = ask
        self._make_method = make_method
        self._rank_provider = rank_provider or SingleRankProvider()
        self._clock = clock

    def native_precisions(self) -> Collection[Precision]:
        """Return the precisions that the device has instructions for."""
        return native_precisions(self._device)

    def environment(self, device: torch.device | None = None) -> Mapping[str, str]:
        """Return what bit-exact repetition on a device, else on the first, depends on.

        Besides the spec, that is the libraries, the device, and the numbers of threads and ranks.
        """
        here = environment(device or self._device, self._threads)
        return {**here, "ranks": str(self._rank_provider.size)}

    def train(self, spec: TrainingSpec, *, resume: Digest | None, monitor: Monitor) -> Trained:
        """Train, and store the new version's tensors and their list, the weights.

        A checkpoint is ignored whose bytes are missing or damaged, and one of a run with other
        images: training from the start has the same result. If memory runs out, batches are split
        into halves from then on; this is done once. Raises Interruption, TrainingDiverged,
        ModelNotTrainable, TooFewClasses, OutOfMemory, RankLost, RanksDisagree.
        """
        with raising_out_of_memory(), reporting_layers(monitor.moved):
            return self._train(spec, resume, monitor)

    def _train(self, spec: TrainingSpec, resume: Digest | None, monitor: Monitor) -> Trained:
        recipe = spec.recipe
        if spec.images or not spec.captioned:
            require_learnable(recipe, spec.classes, spec.learned, spec.open_classes)
        monitor.advance("loading", 0, 1)
        state = read_checkpoint(self._artifacts, resume, monitor.moved)
        device = self._device_for(environments_of(state)[-1]) if state else self._device
        with (
            repeatable(recipe.seed, device=device, threads=self._threads),
            self._rank_provider(spec, resume, device) as ranks,
        ):
            parent = load(spec.parent, self._artifacts, device, monitor.moved)
            prepared = prepare_run(
                spec,
                parent,
                self._artifacts,
                ranks=ranks,
                make_method=self._make_method,
                advance=lambda done, total: monitor.advance("loading", done, total),
                moved=monitor.moved,
            )
            monitor.advance("loading", 1, 1)
            environments: Environments = (self.environment(device),)
            if state and prepared.update.restore(state):
                past = environments_of(state)
                environments = _extend(past, environments[-1], prepared.update.step, monitor)
            checkpoints = Checkpoints(
                self._artifacts,
                monitor,
                newest=resume,
                environments=environments,
                weights_bytes=published_bytes(parent.network.state_dict()),
            )
            self._learn(prepared, ranks, checkpoints, monitor)
            notes = self._conclude(spec, parent, prepared.update, monitor)
            used = {"exemplars": prepared.exemplars, "features": prepared.features}
            notes = {**notes, **{name: count for name, count in used.items() if count}}
            statistics = feature_statistics(
                spec,
                prepared.known,
                self._artifacts,
                lambda done, total: monitor.advance("measuring", done, total),
            )
            weights = publish(
                parent.config,
                parent.network.state_dict(),
                self._artifacts,
                lambda done, total: monitor.advance("publishing", done, total),
                monitor.moved,
            )
            return Trained(
                weights=weights,
                notes=notes,
                environments=environments,
                feature_statistics=statistics,
            )

    def _device_for(self, before: Mapping[str, str]) -> torch.device:
        """Return the device on which steps were taken before, if it is at hand; else the first."""
        at_hand = (self._device, *self._others)
        alike = (one for one in at_hand if self.environment(one)["device"] == before.get("device"))
        return next(alike, self._device)

    def _learn(
        self, prepared: PreparedRun, ranks: Ranks, checkpoints: Checkpoints, monitor: Monitor
    ) -> None:
        run, loader = prepared.update, prepared.reading
        ranks.compare(prepared.fingerprint)
        device = run.models.student.device
        with Prefetcher(loader.step, run.step, run.steps, device=device) as ahead:
            while run.step < run.steps:
                began, waited = self._clock(), ahead.waited_s
                data = ahead.take()
                ranks.send_command(Command.STEP)
                micro_batch = run.micro_batch
                terms = run.advance(data)
                if run.micro_batch != micro_batch:
                    facts = {"step": run.step, "micro_batch": run.micro_batch}
                    monitor.emit(EventKind.OUT_OF_MEMORY, facts)
                if monitor.checkpoint_due():
                    ranks.compare(prepared.fingerprint)
                    checkpoints.keep(run.state(), run.step)
                spent = max(self._clock() - began, 1e-9)
                speed = {
                    "images_per_second": round(loader.sampler.learned / spent, 1),
                    "waited": round((ahead.waited_s - waited) / spent, 3),
                }
                monitor.advance(
                    "training", run.step, run.steps, {**terms, **speed, **peak_memory(device)}
                )
        ranks.compare(prepared.fingerprint)
        ranks.send_command(Command.END)

    def _conclude(
        self, spec: TrainingSpec, student: ClipModel, run: TrainingRun, monitor: Monitor
    ) -> Json:
        def loaded(version: Digest) -> ClipModel:
            return load(version, self._artifacts, student.device, monitor.moved)

        def anchor() -> dict[str, Tensor]:
            return dict(loaded(mixing_anchor(spec)).network.named_parameters())

        decoded = DecodedImages(
            self._artifacts, student.preprocess.evaluation_pixels, cache_bytes=SELECTION_BYTES
        )

        def scored() -> tuple[float, float]:
            if self._ask is None or spec.selection is None:
                raise ModelNotTrainable("This recipe requires validation images.")
            return score(student, spec.selection, self._ask, monitor, decoded)

        excess = None
        if self._ask and spec.fit and (asked := asked_beside(spec.fit)):
            fitting = Fitting(
                spec.fit, asked, self._ask, load=loaded, decoded=decoded, monitor=monitor
            )
            excess = partial(fitting.excess, student)
        notes = run.conclude(anchor, scored, excess)
        if run.micro_batch != spec.recipe.micro_batch:
            notes = {**notes, "micro_batch": run.micro_batch}
        return notes


def _extend(
    past: Environments, here: Mapping[str, str], step: int, monitor: Monitor
) -> Environments:
    """Return the past environments and this process's; emit an event if it differs."""
    before = past[-1]
    if before == here:
        return past
    changed = {
        name: [before.get(name), here.get(name)]
        for name in sorted({*before, *here})
        if before.get(name) != here.get(name)
    }
    monitor.emit(
        EventKind.ENVIRONMENT_CHANGED, {"step": step, "changed": changed, "explanation": INEXACT}
    )
    return (*past, here)


# The training loop of every rank except rank 0.


def run_follower(
    spec: TrainingSpec,
    artifacts: Artifacts,
    ranks: DistributedRanks,
    *,
    resume: Digest | None,
    device: torch.device,
    threads: int,
) -> None:
    """Take every step that rank 0 takes, on this rank's share of each batch.

    Returns when rank 0 sends `Command.END`. Raises RankLost, and the errors that rank 0 raises
    too: RanksDisagree, TrainingDiverged, ModelNotTrainable.
    """
    with repeatable(spec.recipe.seed, device=device, threads=threads):
        prepared = prepare_run(spec, load(spec.parent, artifacts, device), artifacts, ranks=ranks)
        run = prepared.update
        if state := read_checkpoint(artifacts, resume):
            run.restore(state)
        with Prefetcher(prepared.reading.step, run.step, run.steps, device=device) as ahead:
            while (command := ranks.receive_command()) is not Command.END:
                if command is Command.STEP:
                    run.advance(ahead.take())
                else:
                    ranks.compare(prepared.fingerprint)
