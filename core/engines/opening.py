"""Open a version by the fastest engine of this machine that may serve it."""

import logging
import os
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from statistics import median

import numpy as np

from core.artifacts.store import Artifacts
from core.engines import onnx, openvino
from core.engines.graph_model import GraphModel, OpenTower
from core.engines.rules import Engine, EngineCheck, Graphs
from core.engines.served import ServedModel
from core.errors import EngineUnavailable, PerennialError
from core.registry.versions import ServingPrecision, Weights, precision_of
from core.values import Digest

log = logging.getLogger(__name__)

AUTO = "auto"  # the fastest one here
BATCHES, TURNS = (1, 16), 3  # that are timed
# By these, times are multiplied: OpenVINO, which holds tensors nearly twice, must be faster by it.
HANDICAPS = {Engine.ONNX: 1.0, Engine.OPENVINO: 1.2}

# Variables that hide instructions from a part of OpenVINO alone, which then crashes the process.
LIMITS = {"ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"}

_LIBRARIES = {Engine.ONNX: "onnxruntime", Engine.OPENVINO: "openvino"}

# The way to do a first pass, as in turn with others on the device.
Pass = Callable[[Callable[[], float]], float]


def release_of(engine: Engine) -> str | None:
    """Return the release of an engine's library, None if it is not installed."""
    try:
        release: str = import_module(_LIBRARIES[engine]).__version__
    except ImportError:
        return None
    return release.partition("-")[0]


def engines_here(precision: ServingPrecision, wanted: str = AUTO) -> dict[Engine, str]:
    """Return the engines of this machine that compute in a precision, with their releases.

    In fp32 these are all, or the one that is `wanted`.
    """
    if precision is not ServingPrecision.FP32:
        engines = [Engine.OPENVINO]
    else:
        engines = [engine for engine in _LIBRARIES if wanted in {AUTO, engine}]
    if LIMITS & os.environ.keys():
        engines = [engine for engine in engines if engine is not Engine.OPENVINO]
    here = {engine: release for engine in engines if (release := release_of(engine))}
    if precision is ServingPrecision.BF16 and here and not openvino.has_bf16():
        return {}
    return here


def require_precision(precision: ServingPrecision) -> None:
    """Raise EngineUnavailable unless this machine computes in a precision."""
    if precision is not ServingPrecision.FP32 and not engines_here(precision):
        raise EngineUnavailable(
            f"No engine of this machine computes in {precision}: that takes the extra `openvino` "
            f"and a CPU with instructions for {precision}."
        )


def opener_of(engine: Engine, precision: ServingPrecision) -> OpenTower:
    """Return an engine's way to load a tower in a precision."""
    return onnx.open_tower if engine is Engine.ONNX else openvino.opener(precision)


def open_by(
    engine: Engine, weights: Weights, graphs: Graphs, artifacts: Artifacts, *, threads: int
) -> GraphModel:
    """Return a version by one engine. Raises what that raises if it cannot run the version."""
    open_tower = opener_of(engine, precision_of(weights.config))
    return GraphModel(weights, graphs, artifacts, open_tower, engine=engine, threads=threads)


class GraphOpener:
    """Opens versions by graphs, each by the fastest engine here that its check names.

    Engines are timed at the first version of an architecture that several may serve; this process
    remembers the fastest. `wanted` is the only one to be used, or `auto`.
    """

    def __init__(self, artifacts: Artifacts, *, threads: int, wanted: str = AUTO) -> None:
        self._artifacts = artifacts
        self._threads = threads
        self._wanted = wanted
        self._fastest: dict[tuple[Digest, ServingPrecision], Engine] = {}

    def open(
        self,
        weights: Weights,
        check: EngineCheck | None,
        run: Pass = lambda work: work(),
    ) -> GraphModel | None:
        """Return a version after its first pass, or None if torch must serve it.

        Raises EngineUnavailable if the version's precision is not fp32, the one that torch has, and
        no engine here computes in it.
        """
        precision = precision_of(weights.config)
        if precision is not ServingPrecision.FP32:
            require_precision(precision)
        opened = self._opened(weights, check, precision, run) if check else None
        if opened is None and precision is not ServingPrecision.FP32:
            raise EngineUnavailable(
                f"The version's precision is {precision}, in which no engine here can load it."
            )
        return opened

    def _opened(
        self,
        weights: Weights,
        check: EngineCheck,
        precision: ServingPrecision,
        run: Pass,
    ) -> GraphModel | None:
        known = self._fastest.get((check.architecture, precision))
        here = engines_here(precision, self._wanted)
        engines = [engine for engine in here if engine in check.serving]
        engines.sort(key=lambda engine: engine is not known)
        if check.graphs is None or not engines:
            if check.serving and self._wanted != Engine.TORCH.value:
                log.warning("none of %s is here: torch serves a version", ", ".join(check.serving))
            return None
        try:
            graphs = Graphs.from_bytes(self._artifacts.get(check.graphs))
        except Exception:
            log.warning("the graphs of a version cannot be read: torch serves it", exc_info=True)
            return None
        timed = known is None and len(engines) > 1
        passes: dict[float, GraphModel] = {}
        for engine in engines:
            try:
                model = open_by(engine, weights, graphs, self._artifacts, threads=self._threads)
                seconds = run(partial(first_pass, model, timed=timed))
                passes[seconds * HANDICAPS[engine]] = model
            except PerennialError:  # its tensors cannot be read: not by another engine either
                raise
            except Exception:  # of the engine's own, for what its release cannot run
                log.warning("%s cannot serve a version: another does", engine, exc_info=True)
            if passes and not timed:
                break
        if not passes:
            return None
        fastest = passes[min(passes)]
        if timed:
            self._fastest[check.architecture, precision] = fastest.engine
        compared = check.engines[fastest.engine].release
        if here[fastest.engine] != compared:
            log.warning(
                "%s %s serves a version that was compared by %s: have it scored again",
                fastest.engine,
                here[fastest.engine],
                compared,
            )
        return fastest


def first_pass(model: ServedModel, *, timed: bool) -> float:
    """Load what a first pass loads. Return the seconds an image takes, if they are to be timed.

    The mean is of single images and of images in a batch, which callers send alike.
    """
    model.encode_tokens(model.tokenizer.rows(["a"]))
    size = model.input.height, model.input.width, 3
    means = []
    for batch in BATCHES if timed else BATCHES[:1]:
        pixels = np.zeros((batch, *size), dtype=np.uint8)
        model.encode_images(pixels)
        if timed:
            means.append(median(_seconds(model, pixels) for _ in range(TURNS)) / batch)
    return float(np.mean(means)) if means else 0.0


def _seconds(model: ServedModel, pixels: np.ndarray) -> float:
    began = time.perf_counter()
    model.encode_images(pixels)
    return time.perf_counter() - began
