"""The choice of the engine that serves a version on this machine."""

import ctypes
import logging
import sys
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.engines.onnx import OnnxModel
from core.engines.rows import EngineChecks
from core.engines.rules import EngineCheck, Graphs
from core.engines.served import ServedModel
from core.platform import Platform
from core.registry.versions import Weights
from core.values import Digest
from worker.inference.classifier import MAX_IMAGES, MicroBatcher

if TYPE_CHECKING:
    from core.clip.machine import Devices

log = logging.getLogger(__name__)

AUTO = "auto"
DEVICES = Path("/dev")


class EngineChooser:
    """Opens versions by the engine that is fastest here, among those that are exact.

    On a CPU that is ONNX Runtime for each version that the worker has found exact by it, and torch
    for the others; torch is not even imported before one of these is loaded. A GPU keeps torch.
    """

    def __init__(self, platform: Platform, batcher: MicroBatcher, *, threads: int) -> None:
        self._platform = platform
        self._batcher = batcher
        self._threads = threads

    @property
    def device(self) -> str:
        """The kind of device that computes: cpu or cuda."""
        return self._devices.chosen.type if self._may_have_gpu else "cpu"

    def open(self, digest: Digest) -> ServedModel:
        """Return a version after its first pass.

        Raises ArtifactMissing, ArtifactCorrupt, ArtifactsUnavailable or DatabaseUnavailable.
        """
        served = self._by_onnx(digest) or self._by_torch(digest)
        give_back_memory()
        log.info("a version is loaded", extra={"digest": digest, "engine": served.engine.value})
        return served

    def _by_onnx(self, digest: Digest) -> ServedModel | None:
        if self.device != "cpu":
            return None
        check = self._check(digest)
        if check is None or check.graphs is None or not check.exact:
            return None
        try:
            weights = Weights.from_bytes(self._platform.artifacts.get(digest))
            graphs = Graphs.from_bytes(self._platform.artifacts.get(check.graphs))
            served = OnnxModel(weights, graphs, self._platform.artifacts, threads=self._threads)
            return self._warmed(served)
        except Exception:  # a missing library, a damaged file, or one that this release refuses
            log.warning("a version cannot be served by onnx: torch serves it", exc_info=True)
            return None

    def _check(self, digest: Digest) -> EngineCheck | None:
        with self._platform.transactions(read_only=True) as work:
            return work[EngineChecks].find(digest)

    def _by_torch(self, digest: Digest) -> ServedModel:
        devices = self._devices  # which sets the number of threads
        from core.clip.model import load
        from core.clip.served import TorchModel

        model = load(digest, self._platform.artifacts, devices.chosen).freeze()
        return self._warmed(TorchModel(model))

    @cached_property
    def _devices(self) -> "Devices":
        import torch

        from core.clip.machine import find_devices

        torch.set_num_threads(self._threads)
        devices = find_devices(self._platform.settings.device)
        log.info("inference found its device", extra=devices.facts)
        return devices

    @cached_property
    def _may_have_gpu(self) -> bool:
        """True if torch, which takes seconds and memory to import, must be asked for a GPU."""
        setting = self._platform.settings.device
        return setting.startswith("cuda") or (setting == AUTO and gpu_files())

    def _warmed(self, served: ServedModel) -> ServedModel:
        """Return a version after its first pass, in turn with others' on the device."""
        self._batcher.run(lambda: self._warm(served)).result()
        return served

    def _warm(self, served: ServedModel) -> None:
        """Load what a first pass loads. A GPU has kernels for each size of a batch."""
        size = served.input.height, served.input.width, 3
        powers = [2**n for n in range(MAX_IMAGES.bit_length())]
        served.encode_tokens(served.tokenizer.rows(["a"]))
        for images in [1] if self.device == "cpu" else powers:
            served.encode_images(np.zeros((images, *size), dtype=np.uint8))


def give_back_memory() -> None:
    """Give the system what this process has freed: as loads, nearly as much as a version takes."""
    with suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)


def gpu_files() -> bool:
    """Return whether this machine has files of NVIDIA's or AMD's driver, or of Windows' in WSL."""
    if not sys.platform.startswith("linux"):
        return True  # ask torch
    return any(any(DEVICES.glob(name)) for name in ("nvidia[0-9]*", "kfd*", "dxg"))
