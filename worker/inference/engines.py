"""The choice of the engine that serves a version on this machine."""

import ctypes
import logging
import sys
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.engines.opening import AUTO, GraphOpener, first_pass
from core.engines.rows import EngineChecks
from core.engines.served import ServedModel
from core.platform import Platform
from core.registry.versions import ServingPrecision, Weights, precision_of
from core.values import Digest
from worker.inference.classifier import MAX_IMAGES, MicroBatcher

if TYPE_CHECKING:
    from core.clip.machine import Devices

log = logging.getLogger(__name__)

DEVICES = Path("/dev")


class EngineChooser:
    """Opens versions by the engine that is fastest here, among those that their checks name.

    torch serves the others, and is not even imported before one of these is loaded. A GPU keeps
    torch for versions in fp32.
    """

    def __init__(self, platform: Platform, batcher: MicroBatcher, *, threads: int) -> None:
        self._platform = platform
        self._batcher = batcher
        self._threads = threads
        self._opener = GraphOpener(
            platform.artifacts, threads=threads, wanted=platform.settings.engine
        )

    @property
    def device(self) -> str:
        """The kind of device that computes: cpu or cuda."""
        return self._devices.chosen.type if self._may_have_gpu else "cpu"

    def open(self, digest: Digest) -> ServedModel:
        """Return a version after its first pass.

        Raises ArtifactMissing, ArtifactCorrupt, ArtifactsUnavailable, DatabaseUnavailable or
        EngineUnavailable.
        """
        served = self._by_graphs(digest) or self._by_torch(digest)
        give_back_memory()
        log.info("a version is loaded", extra={"digest": digest, "engine": served.engine.value})
        return served

    def _by_graphs(self, digest: Digest) -> ServedModel | None:
        weights = Weights.from_bytes(self._platform.artifacts.get(digest))
        if self.device != "cpu" and precision_of(weights.config) is ServingPrecision.FP32:
            return None
        with self._platform.transactions(read_only=True) as work:
            check = work[EngineChecks].find(digest)
        return self._opener.open(weights, check, lambda work: self._batcher.run(work).result())

    def _by_torch(self, digest: Digest) -> ServedModel:
        devices = self._devices  # which sets the number of threads
        from core.clip.model import load
        from core.clip.served import TorchModel

        model = load(digest, self._platform.artifacts, devices.chosen).freeze()
        served = TorchModel(model)
        self._batcher.run(lambda: self._warm(served)).result()  # in turn with others' calls
        return served

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

    def _warm(self, served: ServedModel) -> None:
        """Load what a first pass loads. A GPU has kernels for each size of a batch."""
        first_pass(served, timed=False)
        size = served.input.height, served.input.width, 3
        powers = [2**n for n in range(1, MAX_IMAGES.bit_length())]
        for images in powers if self.device != "cpu" else []:
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
