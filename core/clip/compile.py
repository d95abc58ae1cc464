"""Give a version the graphs of its architecture, and check that they give its features."""

import logging
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from core.clip.graphs import write_graphs
from core.clip.model import ClipModel, load
from core.clip.progress import while_computing
from core.clip.served import EngineModel, TorchModel
from core.engines.opening import GraphOpener, engines_here, open_by, require_precision
from core.engines.rows import EngineChecks
from core.engines.rules import Comparison, Engine, EngineCheck, Graphs, architecture_of
from core.engines.served import ServedModel
from core.errors import ArtifactCorrupt, ArtifactMissing, PerennialError
from core.jobs.rules import Monitor
from core.platform import Platform
from core.registry.versions import ServingPrecision, Weights, precision_of
from core.values import Digest

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).parents[2] / "models" / "tiny" / "graphs.json"  # of the bundled model
IMAGES, SENTENCES, SEED = 8, 8, 0  # that are compared


class GraphCompiler:
    """Compiles versions and compares engines on the CPU, also where a GPU trains and scores.

    A server without a GPU may then serve what a worker with one has scored.
    """

    def __init__(self, platform: Platform, *, device: torch.device, threads: int) -> None:
        self._platform = platform
        self._device = device
        self._threads = threads
        self._opener = GraphOpener(
            platform.artifacts, threads=threads, wanted=platform.settings.engine
        )

    def compile(self, version: Digest, monitor: Monitor) -> EngineCheck | None:
        """Return the check of a version, made now unless one has all engines of this machine.

        None if there is none, as nothing but torch serves here. A version in fp32 that cannot be
        compiled is served by torch: the check says why. Raises EngineUnavailable for another
        precision that this machine has not; ArtifactMissing, ArtifactCorrupt, ArtifactsUnavailable,
        StorageFull, and what the monitor raises to stop it.
        """
        weights = Weights.from_bytes(self._platform.artifacts.get(version))
        precision = precision_of(weights.config)
        require_precision(precision)
        here = engines_here(precision, self._platform.settings.engine)
        with self._platform.transactions(read_only=True) as work:
            found = work[EngineChecks].find(version)
        if found is not None and found.architecture != architecture_of(weights.config):
            found = None
        if not _new(here, found.engines if found else {}):
            return found
        monitor.advance("compiling", 0, 2)
        model = load(version, self._platform.artifacts, moved=monitor.moved).freeze()
        check = self._check(weights, model, found, here, monitor)
        with self._platform.transactions() as work:
            work[EngineChecks].put(check)
            work.commit()
        monitor.advance("compiling", 2, 2)
        return check

    def require(self, version: Digest) -> None:
        """Raise EngineUnavailable unless this machine computes in a version's precision."""
        config = Weights.from_bytes(self._platform.artifacts.get(version)).config
        require_precision(precision_of(config))

    def open(self, version: Digest, monitor: Monitor) -> EngineModel | None:
        """Return a version by an engine that serves it, or None: then torch must answer.

        In fp32, a GPU keeps torch. Raises what `compile` raises.
        """
        artifacts = self._platform.artifacts
        weights = Weights.from_bytes(artifacts.get(version, monitor.moved))
        if self._device.type != "cpu" and precision_of(weights.config) is ServingPrecision.FP32:
            return None
        served = self._opener.open(weights, self.compile(version, monitor))
        return None if served is None else EngineModel(served, weights.config, monitor.moved)

    def _check(
        self,
        weights: Weights,
        model: ClipModel,
        before: EngineCheck | None,
        here: Mapping[Engine, str],
        monitor: Monitor,
    ) -> EngineCheck:
        """Compare the engines that are new; keep what is known of the others by the same graphs."""
        graphs, artifact, problem = None, None, None
        try:
            graphs = self._graphs(model, monitor)
            artifact = self._platform.artifacts.put(graphs.to_bytes())
        except PerennialError:  # a stop, or a store that fails, says nothing about the version
            raise
        except Exception as error:  # of torch.onnx, for architectures that it does not know
            log.warning("a version cannot be compiled", exc_info=True)
            problem = f"{type(error).__name__}: {_first_line(error)}"
        monitor.advance("compiling", 1, 2)
        found = dict(before.engines) if before and before.graphs == artifact else {}
        for engine, release in _new(here, found).items():
            cosine = None
            try:
                if graphs is not None:
                    compare = partial(self._cosine, engine, weights, graphs, model)
                    cosine = while_computing(compare, monitor)
            except PerennialError:
                raise
            except Exception as error:
                log.warning("%s cannot serve a version", engine, exc_info=True)
                problem = f"{type(error).__name__}: {_first_line(error)}"
            found[engine] = Comparison(release=release, cosine=cosine)
        check = EngineCheck(
            weights=weights.digest,
            architecture=architecture_of(model.config),
            precision=precision_of(weights.config),
            graphs=artifact,
            engines=found,
            problem=None,
            checked_at=self._platform.clock(),
        )
        return check if check.serving else replace(check, problem=problem or _difference(check))

    def _cosine(
        self, engine: Engine, weights: Weights, graphs: Graphs, model: ClipModel
    ) -> float | None:
        artifacts = self._platform.artifacts
        served = open_by(engine, weights, graphs, artifacts, threads=self._threads)
        cosine = least_cosine(TorchModel(model), served)
        return None if np.isnan(cosine) else cosine

    def _graphs(self, model: ClipModel, monitor: Monitor) -> Graphs:
        """Return the graphs of an architecture: those of an earlier version, or new ones.

        Those that are missing or damaged are made again.
        """
        architecture = architecture_of(model.config)
        if SHIPPED.exists():
            shipped = Graphs.from_bytes(SHIPPED.read_bytes())
            if shipped.architecture == architecture:
                return shipped
        with self._platform.transactions(read_only=True) as work:
            like = work[EngineChecks].like(architecture)
        if like is not None and like.graphs is not None:
            with suppress(ArtifactMissing, ArtifactCorrupt):
                return Graphs.from_bytes(self._platform.artifacts.get(like.graphs))
        return while_computing(partial(write_graphs, model), monitor)


def _new(here: Mapping[Engine, str], known: Mapping[Engine, Comparison]) -> dict[Engine, str]:
    """Return the engines of this machine, with their releases, that were not compared yet."""
    return {
        engine: release
        for engine, release in here.items()
        if engine not in known or known[engine].release != release
    }


def _difference(check: EngineCheck) -> str:
    """Return why no engine is exact that has computed a version's features."""
    if not check.engines:
        return "No other engine is installed where it was made."
    each = ", ".join(
        f"{engine} none" if cosine is None else f"{engine} {cosine:.8f}"
        for engine, cosine in check.cosines.items()
    )
    return f"Its features differ from torch's; their least cosines: {each}."


def _first_line(error: Exception) -> str:
    """Return what an error says first, without colours, or nothing."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    return plain.partition("\n")[0][:200]


def least_cosine(one: ServedModel, other: ServedModel) -> float:
    """Return the least cosine of two engines' features of the same inputs, NaN if one is NaN.

    The inputs are noise and gradients, in batches of several sizes, and random sentences.
    """
    made = np.random.default_rng(SEED)
    height, width = one.input.height, one.input.width
    noise = made.integers(0, 256, (IMAGES, height, width, 3), dtype=np.uint8)
    ramp = np.linspace(0, 255, height)[:, None, None] * np.linspace(0, 1, width)[:, None]
    smooth = np.broadcast_to(ramp, (height, width, 3)).astype(np.uint8)[None]
    frame, ordinary = one.tokenizer.frame, np.asarray(one.tokenizer.ordinary)
    lengths = made.integers(1, frame.room + 1, SENTENCES)
    tokens = frame.rows([ordinary[made.integers(0, len(ordinary), some)] for some in lengths])
    pairs: Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]] = [
        *((one.encode_images(some), other.encode_images(some)) for some in (noise, smooth)),
        *((one.encode_tokens(some), other.encode_tokens(some)) for some in (tokens, tokens[:1])),
    ]
    cosines = [(mine.astype(float) * theirs).sum(axis=1).min() for mine, theirs in pairs]
    return float(np.min(cosines))  # NaN if one is
