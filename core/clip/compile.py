"""Give a version the graphs of its architecture, and check that they give its features."""

import logging
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from core.clip.graphs import write_graphs
from core.clip.model import ClipModel, load
from core.clip.progress import while_computing
from core.clip.served import EngineModel, TorchModel
from core.engines.onnx import OnnxModel
from core.engines.rows import EngineChecks
from core.engines.rules import LEAST_COSINE, EngineCheck, Graphs, architecture_of
from core.engines.served import ServedModel
from core.errors import ArtifactCorrupt, ArtifactMissing, PerennialError
from core.jobs.rules import Monitor
from core.platform import Platform
from core.registry.versions import Weights
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

    def compile(self, version: Digest, monitor: Monitor) -> EngineCheck:
        """Return the check of a version, made now if there is none by the graphs of this release.

        A version that cannot be compiled is served by torch: the check says why. Raises
        ArtifactMissing, ArtifactCorrupt, ArtifactsUnavailable, StorageFull, and what the monitor
        raises to stop it.
        """
        weights = Weights.from_bytes(self._platform.artifacts.get(version))
        with self._platform.transactions(read_only=True) as work:
            found = work[EngineChecks].find(version)
        if found is not None and found.architecture == architecture_of(weights.config):
            return found
        monitor.advance("compiling", 0, 2)
        model = load(version, self._platform.artifacts, moved=monitor.moved).freeze()
        check = self._check(weights, model, monitor)
        with self._platform.transactions() as work:
            work[EngineChecks].put(check)
            work.commit()
        monitor.advance("compiling", 2, 2)
        return check

    def open(self, version: Digest, monitor: Monitor) -> EngineModel | None:
        """Return a version as an exact engine serves it, or None: then torch must answer.

        None on a GPU. Raises what `compile` raises.
        """
        if self._device.type != "cpu":
            return None
        check = self.compile(version, monitor)
        if check.graphs is None or not check.exact:
            return None
        artifacts = self._platform.artifacts
        weights = Weights.from_bytes(artifacts.get(version, monitor.moved))
        try:
            graphs = Graphs.from_bytes(artifacts.get(check.graphs))
            served = OnnxModel(weights, graphs, artifacts, threads=self._threads)
        except Exception:
            log.warning("a version cannot be answered for by onnx: torch does", exc_info=True)
            return None
        return EngineModel(served, weights.config)

    def _check(self, weights: Weights, model: ClipModel, monitor: Monitor) -> EngineCheck:
        graphs, artifact, cosine, problem = None, None, None, None
        try:
            graphs = self._graphs(model, monitor)
            artifact = self._platform.artifacts.put(graphs.to_bytes())
            monitor.advance("compiling", 1, 2)
            cosine = while_computing(partial(self._cosine, weights, graphs, model), monitor)
            if not cosine >= LEAST_COSINE:
                problem = f"Its features differ from torch's: their cosine is {cosine:.8f}."
        except PerennialError:  # a stop, or a store that fails, says nothing about the version
            raise
        except Exception as error:  # of libraries, for architectures that they do not know
            log.warning("a version cannot be compiled", exc_info=True)
            problem = f"{type(error).__name__}: {_first_line(error)}"
        return EngineCheck(
            weights=weights.digest,
            architecture=architecture_of(model.config),
            graphs=artifact,
            least_cosine=None if cosine is None or np.isnan(cosine) else cosine,
            problem=problem,
            checked_at=self._platform.clock(),
        )

    def _cosine(self, weights: Weights, graphs: Graphs, model: ClipModel) -> float:
        served = OnnxModel(weights, graphs, self._platform.artifacts, threads=self._threads)
        return least_cosine(TorchModel(model), served)

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
    inside = one.tokenizer.start  # ids below it are of words
    length = one.tokenizer.context_length
    tokens = np.zeros((SENTENCES, length), dtype=np.int64)
    for row, words in zip(tokens, made.integers(1, length - 1, SENTENCES), strict=True):
        row[: words + 2] = [
            one.tokenizer.start,
            *made.integers(0, inside, words),
            one.tokenizer.end,
        ]
    pairs: Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]] = [
        *((one.encode_images(some), other.encode_images(some)) for some in (noise, smooth)),
        *((one.encode_tokens(some), other.encode_tokens(some)) for some in (tokens, tokens[:1])),
    ]
    cosines = [(mine.astype(float) * theirs).sum(axis=1).min() for mine, theirs in pairs]
    return float(np.min(cosines))  # NaN if one is
