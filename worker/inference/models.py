"""The versions that the inference process has loaded, and how they encode images quickly."""

import copy
import json
import logging
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from core.artifacts.store import Artifacts
from core.clip.model import ClipModel, load
from core.errors import ArtifactMissing, Corrupt, TrialNotFound, Unavailable, VersionNotFound
from core.platform import Platform
from core.registry.alias_rows import Aliases
from core.registry.rows import Versions
from core.registry.versions import Weights
from core.trials.rows import Trials
from core.values import Digest

log = logging.getLogger(__name__)


# A cache bounded by bytes.

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class ByteLimitedCache(Generic[_Key, _Value]):
    """Values by key; safe to share between threads.

    When they exceed `max_bytes`, the least recently used are evicted. The last one put stays, even
    if it alone is larger.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._values: OrderedDict[_Key, tuple[_Value, int]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def get(self, key: _Key) -> _Value | None:
        """Return the value, which counts as a use, or None."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: _Key, value: _Value, size: int) -> None:
        """Store a value of `size` bytes."""
        self.make_room(size)
        with self._lock:
            _, before = self._values.pop(key, (None, 0))
            self._values[key] = (value, size)
            self._bytes += size - before

    def make_room(self, size: int) -> None:
        """Evict values until one of `size` bytes fits."""
        with self._lock:
            while self._values and self._bytes + size > self.max_bytes:
                _, (_, evicted) = self._values.popitem(last=False)
                self._bytes -= evicted

    def keys(self) -> list[_Key]:
        """Return the stored keys, the least recently used first."""
        with self._lock:
            return list(self._values)


# The versions that the inference process has loaded.


class ModelCache:
    """Loaded versions by digest, verified at every load; the least recently used are evicted.

    `prepare` is called with each version before it counts as loaded, and returns what is served.
    """

    def __init__(
        self,
        artifacts: Artifacts,
        device: torch.device,
        *,
        max_bytes: int,
        prepare: Callable[[ClipModel], ClipModel] = lambda model: model,
    ) -> None:
        self._artifacts = artifacts
        self.device = device
        self._prepare = prepare
        self._loading = Lock()
        self._sizes: dict[Digest, int] = {}
        self._models: ByteLimitedCache[Digest, ClipModel] = ByteLimitedCache(max_bytes=max_bytes)

    @property
    def max_bytes(self) -> int:
        """The limit on the bytes of loaded tensors; a single larger version is loaded anyway."""
        return self._models.max_bytes

    def get(self, digest: Digest) -> ClipModel:
        """Return the version, loading it if needed. Raises ArtifactMissing or ArtifactCorrupt."""
        found = self._models.get(digest)
        if found is None:
            with self._loading:  # one load at a time; loaded versions are served meanwhile
                found = self._models.get(digest) or self._load(digest)
        return found

    def size_of(self, digest: Digest) -> int:
        """Return the bytes of a version's tensors. Raises ArtifactMissing or ArtifactCorrupt."""
        if digest not in self._sizes:
            weights = Weights.from_bytes(self._artifacts.get(digest))
            self._sizes[digest] = sum(entry.size for entry in weights.tensors)
        return self._sizes[digest]

    def digests(self) -> list[Digest]:
        """Return the digests of the loaded versions, sorted."""
        return sorted(self._models.keys())

    def _load(self, digest: Digest) -> ClipModel:
        size = self.size_of(digest)
        self._models.make_room(size)  # before the new version takes memory
        model = self._prepare(load(digest, self._artifacts, self.device).freeze())
        self._models.put(digest, model, size)
        return model


# Hot swap: a version that goes live is loaded before the first request for it.

LOOK_EVERY_S = 0.5
FOLLOWED = 4  # most recently moved aliases; other versions are loaded on request
# Damage, an unavailable store, and what torch raises for lack of memory or tensors that do not fit.
_CANNOT_LOAD = (Corrupt, ArtifactMissing, Unavailable, OSError, RuntimeError, MemoryError)


class AliasFollower:
    """Keeps the aliases' versions loaded, so that a promotion or rollback takes effect at once.

    So are the candidates of their trials. The newest versions of the same models are loaded while
    they are scored: they may go live next.
    """

    def __init__(self, platform: Platform, models: ModelCache) -> None:
        self._platform = platform
        self._models = models
        self._stopping = Event()
        self._thread = Thread(target=self._follow, name="aliases", daemon=True)
        self._warned: dict[str, str] = {}

    def start(self) -> None:
        """Start the thread that follows the aliases."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait for it to end."""
        self._stopping.set()
        self._thread.join()

    def look(self) -> None:
        """Load the versions that are or may go live, skipping those that cannot be loaded."""
        try:
            named = self._named()
        except Unavailable as fault:
            self._warn_once("database", fault.message)
            return
        self._warned.pop("database", None)
        room = self._models.max_bytes
        for place, digest in enumerate(dict.fromkeys(named)):
            try:
                room -= self._models.size_of(digest)
                if place > 0 and room < 0:  # it would only evict the ones before it
                    return
                self._models.get(digest)
            except _CANNOT_LOAD as fault:
                self._warn_once(digest, str(fault))

    def _named(self) -> Sequence[Digest]:
        with self._platform.transactions(read_only=True) as work:
            latest = sorted(work[Aliases].all(), key=lambda alias: alias.updated_at, reverse=True)
            followed = latest[:FOLLOWED]
            digests = []
            for alias in followed:
                with suppress(
                    VersionNotFound, TrialNotFound
                ):  # deleted since, with its model or after a move
                    digests.append(work[Versions].get(alias.model, alias.version).digest)
                    if alias.trial is not None:
                        candidate = work[Trials].get(alias.trial).candidate
                        digests.append(work[Versions].get(alias.model, candidate).digest)
            for model in dict.fromkeys(alias.model for alias in followed):
                newest = work[Versions].newest(model)
                if newest is not None and newest.collected_at is None:
                    digests.append(newest.digest)
            return digests

    def _follow(self) -> None:
        while not self._stopping.is_set():
            self.look()
            self._stopping.wait(LOOK_EVERY_S)

    def _warn_once(self, about: str, problem: str) -> None:
        """Log a warning unless it repeats the last one about the same subject."""
        if self._warned.get(about) != problem:
            self._warned[about] = problem
            log.warning("cannot follow the aliases: %s (%s)", problem, about[:12])


# Traces: versions that encode images in one call, without Python between the operations.

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
