"""Versions that encode images in one call, without Python between the operations."""

import copy
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from core.clip.model import ClipModel

log = logging.getLogger(__name__)

MAX_WEIGHTS = 30_000_000  # of an image tower; a larger one computes far longer than Python takes
EXAMPLES = 2  # images that a trace is made from
# Weights times pixels of an image that is sooner encoded by one thread than by two, as those of
# the bundled model are: two wait for each other too often.
ONE_THREAD = 2**35
COMPARED = (1, 3, 1, 4)  # images of calls that are compared; torch changes a trace until the third

Encode = Callable[[Tensor, Sequence[Tensor]], Tensor]  # of pixels and the image tower's tensors


@dataclass(frozen=True, kw_only=True)
class Trace:
    """The trace of an architecture."""

    encode: Encode
    alone: bool = False  # whether a single image is encoded by one thread


class TracedModel(ClipModel):
    """A version that encodes images by the trace of its architecture, with its own tensors."""

    def __init__(self, model: ClipModel, trace: Trace) -> None:
        super().__init__(network=model.network, config=model.config)
        self.trace = trace
        self._tensors = list(_tensors(model).values())

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Return what `ClipModel.encode_images` returns, to the bit."""
        with _one_thread() if self.trace.alone and len(pixels) == 1 else nullcontext():
            return self.trace.encode(pixels, self._tensors)


class Traces:
    """Traces of architectures with small image towers on a CPU.

    All versions of an architecture share a trace, because torch keeps each as long as the process.
    """

    def __init__(self) -> None:
        self._made: dict[str, Trace | None] = {}
        self._making = Lock()

    def apply(self, model: ClipModel) -> ClipModel:
        """Return a version that gives the same features sooner, or this one.

        A trace is used only if it gives the very features that it was made from.
        """
        tensors = _tensors(model)
        if model.device.type != "cpu" or sum(map(Tensor.numel, tensors.values())) > MAX_WEIGHTS:
            return model
        parts = model.config["model_cfg"], model.config.get("preprocess_cfg")
        key = json.dumps(parts, sort_keys=True)
        with self._making:
            if key not in self._made:
                self._made[key] = _exact_trace(model, tensors)
            trace = self._made[key]
        return model if trace is None else TracedModel(model, trace)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Have this thread compute alone within the context.

    Threads whose first large operation falls into it may compute alone from then on. So nothing
    whose rounding depends on the number of threads may be computed on any other thread.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _tensors(model: ClipModel) -> Mapping[str, Tensor]:
    """Return the parameters and buffers of the image tower."""
    return dict([*model.visual.named_parameters(), *model.visual.named_buffers()])


def _exact_trace(model: ClipModel, tensors: Mapping[str, Tensor]) -> Trace | None:
    """Return a trace, or None if there can be none or it gives other features."""
    try:
        with torch.inference_mode():
            trace = Trace(encode=_trace(model, tensors))
            if not _is_exact(TracedModel(model, trace), model, COMPARED):
                log.warning("a trace gives other features: images are encoded without it")
                return None
            height, width = model.preprocess.size
            if sum(map(Tensor.numel, tensors.values())) * height * width <= ONE_THREAD:
                alone = Trace(encode=trace.encode, alone=True)
                if _is_exact(TracedModel(model, alone), model, [1, 1, 1]):
                    return alone
    except Exception:  # an operation that cannot be traced, or a torch that traces no more
        log.warning("an image tower cannot be traced", exc_info=True)
        return None
    return trace


def _is_exact(traced: ClipModel, model: ClipModel, counts: Sequence[int]) -> bool:
    """Return whether calls with so many images each give the same features."""
    calls = [_noise(model, images, seed) for seed, images in enumerate(counts)]
    return all(torch.equal(traced.encode_images(one), model.encode_images(one)) for one in calls)


def _trace(model: ClipModel, tensors: Mapping[str, Tensor]) -> Encode:
    shell = _image_part_sharing_tensors(model)
    places = [_place(shell, name) for name in tensors]
    for owner, attribute in places:
        delattr(owner, attribute)  # a parameter's place takes no plain tensor

    def encode(pixels: Tensor, given: Sequence[Tensor]) -> Tensor:
        for (owner, attribute), tensor in zip(places, given, strict=True):
            setattr(owner, attribute, tensor)
        features = shell.encode_images(pixels)
        for owner, attribute in places:  # torch keeps this function, which is to keep no weights
            delattr(owner, attribute)
        return features

    with warnings.catch_warnings():
        # Tracing is deprecated, but what is to follow takes seconds for each version. It also warns
        # of constants, which are those of the architecture.
        warnings.simplefilter("ignore")
        example: Any = _noise(model, EXAMPLES, 0), list(tensors.values())
        trace: Encode = torch.jit.trace(encode, example, check_trace=False)  # type: ignore[no-untyped-call]
    return trace


def _image_part_sharing_tensors(model: ClipModel) -> ClipModel:
    """Return a copy of a version that can encode images only, and shares their tower's tensors."""
    network, visual = model.network, model.visual
    others = [*network.parameters(recurse=False), *network.buffers(recurse=False)]
    copies: dict[int, object] = {id(tensor): tensor for tensor in _tensors(model).values()}
    copies |= {id(tensor): nn.Parameter(torch.zeros(())) for tensor in others}
    copies |= {id(part): nn.Identity() for part in network.children() if part is not visual}
    return ClipModel(network=copy.deepcopy(network, copies), config=model.config)


def _place(model: ClipModel, name: str) -> tuple[nn.Module, str]:
    """Return the module of the image tower that has a tensor, and its name there."""
    owner, _, attribute = name.rpartition(".")
    return model.visual.get_submodule(owner), attribute


def _noise(model: ClipModel, count: int, seed: int) -> Tensor:
    """Return random pixels (images, 3, height, width), laid out as those of requests are."""
    made = torch.Generator().manual_seed(seed)
    height, width = model.preprocess.size
    rows = torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=made)
    return rows.permute(0, 3, 1, 2)
