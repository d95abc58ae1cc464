"""Questions to the inference process about images or texts, in calls that callers share."""

import json
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from core import errors
from core.inference.wire import (
    TEXTS_AT_ONCE,
    TEXTS_UNKNOWN,
    Embedded,
    images_per_request,
    read_embedded,
)
from core.values import Digest

MAX_WAITING = 4096  # inputs, each an image or a text, that wait or are in a call
MAX_WAITING_BYTES = 512 * 1024 * 1024  # of their pixels and texts
MAX_CALLS = 8  # of all keys, each with a thread
MAX_BYTES = 512 * 1024 * 1024  # of pixels that requests hold until they are answered

K = TypeVar("K")
R = TypeVar("R")


class Reply(NamedTuple):
    """The response to a call."""

    status: int
    media_type: str
    content: bytes
    on_gpu: bool = False

    @property
    def is_success(self) -> bool:
        """Return whether the call was answered."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """Return the value of a JSON document."""
        return json.loads(self.content)


class Row(NamedTuple):
    """The answer for an image: columns and probabilities of classes, two greatest cosines."""

    best: Sequence[tuple[int, float]]  # the most probable first
    cosines: Sequence[float]  # one if there is one class


class Post(Protocol):
    def __call__(self, path: str, head: dict[str, Any], images: Sequence[bytes] = ()) -> Reply:
        """Send a request and return the response. Raises InferenceUnavailable."""


class Question(Protocol):
    """A question about inputs; requests that ask the same share a call."""

    @property
    def most(self) -> int:
        """The most inputs of one call."""

    def ask(self, post: Post, inputs: Sequence[bytes]) -> Sequence[Any]:
        """Make one call and return a result for each input."""


@dataclass(frozen=True, kw_only=True)
class _OfImages:
    """The common part of questions about images; inputs are pixels."""

    digest: Digest
    image_bytes: int

    @property
    def most(self) -> int:
        """The most images of one call."""
        return images_per_request(self.image_bytes)


@dataclass(frozen=True, kw_only=True)
class ClassifyImages(_OfImages):
    """A classification of images by texts; a result is a `Row`."""

    texts: Digest
    top_k: int
    prompts: Sequence[str] = field(compare=False)  # those that `texts` names
    templates: int = field(compare=False)  # how many prompts stand for a class

    def ask(self, post: Post, inputs: Sequence[bytes]) -> Sequence[Row]:
        """Make one call; the texts are sent only if the inference process does not know them."""
        head: dict[str, Any] = {"digest": self.digest, "texts": self.texts, "top_k": self.top_k}
        response = post("/classify", head, inputs)
        if _code_of(response) == TEXTS_UNKNOWN:
            head |= {"prompts": self.prompts, "templates": self.templates}
            response = post("/classify", head, inputs)
        found = successful(response).json()
        return list(map(Row, found["predictions"], found["cosines"]))


@dataclass(frozen=True, kw_only=True)
class EmbedImages(_OfImages):
    """The vectors of images."""

    def ask(self, post: Post, inputs: Sequence[bytes]) -> Sequence[Embedded]:
        """Make one call and return a vector for each image."""
        return _embedded(post("/embed", {"digest": self.digest}, inputs), len(inputs))


@dataclass(frozen=True, kw_only=True)
class EmbedTexts:
    """The vectors of texts; inputs are texts in UTF-8."""

    digest: Digest
    most: int = TEXTS_AT_ONCE

    def ask(self, post: Post, inputs: Sequence[bytes]) -> Sequence[Embedded]:
        """Make one call and return a vector for each text."""
        texts = [text.decode() for text in inputs]
        return _embedded(post("/embed", {"digest": self.digest, "texts": texts}), len(inputs))


def _embedded(response: Reply, count: int) -> Sequence[Embedded]:
    return read_embedded(successful(response).content, count)


def successful(response: Reply) -> Reply:
    """Return a response that answers. Raises what another one tells."""
    if not response.is_success:
        raise _error_from(response)
    return response


def _code_of(response: Reply) -> str | None:
    if response.is_success or response.media_type != "application/json":
        return None
    code: str | None = response.json().get("code")
    return code


def _error_from(response: Reply) -> errors.PerennialError:
    body = response.json() if response.media_type == "application/json" else {}
    message = str(body.get("message", f"The inference process returned {response.status}."))
    if response.status == 401:
        return errors.InferenceUnavailable(
            "The inference process rejected this service's key: set PERENNIAL_INFERENCE_KEY to the "
            "same key for both."
        )
    if body.get("code") == "inference_busy":
        return errors.InferenceBusy()
    if body.get("code") == "engine_unavailable":
        return errors.EngineUnavailable(message)
    kinds: dict[int, type[errors.PerennialError]] = {
        404: errors.NotServable,
        422: errors.FieldInvalid,
    }
    return kinds.get(response.status, errors.InferenceUnavailable)(message)


# Calls that concurrent callers share.


@dataclass(frozen=True, kw_only=True, eq=False)
class _Entry(Generic[K, R]):
    """A caller's inputs to one question; the call for them has not begun yet."""

    key: K
    inputs: Sequence[bytes]
    label: str
    future: "Future[Sequence[R]]" = field(default_factory=Future)

    @property
    def bytes(self) -> int:
        return sum(map(len, self.inputs))


class SharedCalls(Generic[K, R]):
    """Makes few calls for a key at once; inputs that arrive meanwhile share the next ones.

    So a single caller never waits for others, and the more there are, the larger are the calls.
    Keys do not wait for each other until there are `max_calls`, so that a call that takes long
    delays those that ask the same. `call(key, inputs, labels)` runs in a thread and returns a
    result for each input. A call that fails fails for all its callers.
    """

    def __init__(
        self,
        call: Callable[[K, Sequence[bytes], Sequence[str]], Sequence[R]],
        *,
        most: Callable[[K], int],
        at_once: int,
        max_calls: int = MAX_CALLS,
        max_waiting: int = MAX_WAITING,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        self._call = call
        self._most = most  # inputs in one call
        self.at_once = at_once  # calls for one key; may be raised
        self._idle = max_calls
        self._max_waiting = max_waiting
        self._max_waiting_bytes = max_waiting_bytes
        self._inputs = 0
        self._bytes = 0
        self._waiting: deque[_Entry[K, R]] = deque()
        self._calls: Counter[K] = Counter()  # under way
        self._lock = Lock()
        self._threads = ThreadPoolExecutor(max_calls, thread_name_prefix="calls")

    def submit(
        self, key: K, inputs: Sequence[bytes], label: str
    ) -> "Sequence[Future[Sequence[R]]]":
        """Return the future results for inputs, in parts that fit into one call each.

        Raises InferenceBusy if too many wait already, and then asks for none of these; an empty
        queue takes any.
        """
        most = self._most(key)
        entries: list[_Entry[K, R]] = [
            _Entry(key=key, inputs=inputs[first : first + most], label=label)
            for first in range(0, len(inputs), most)
        ]
        with self._lock:
            self._require_room(entries)
            self._count(entries, 1)
            self._waiting.extend(entries)
            begin = min(len(entries), self._idle, self.at_once - self._calls[key])
            self._idle -= begin
        for _ in range(begin):
            self._threads.submit(self._work)
        return [entry.future for entry in entries]

    def close(self) -> None:
        """Let the calls in progress end; inputs that still wait get no result."""
        with self._lock:
            for entry in self._waiting:
                entry.future.cancel()
            self._waiting.clear()
        self._threads.shutdown()

    def _require_room(self, entries: Sequence[_Entry[K, R]]) -> None:
        inputs = self._inputs + sum(len(entry.inputs) for entry in entries)
        size = self._bytes + sum(entry.bytes for entry in entries)
        if self._inputs and (inputs > self._max_waiting or size > self._max_waiting_bytes):
            raise errors.InferenceBusy

    def _count(self, entries: Sequence[_Entry[K, R]], sign: int) -> None:
        """Count entries that have come, or with -1 those that have gone."""
        self._inputs += sign * sum(len(entry.inputs) for entry in entries)
        self._bytes += sign * sum(entry.bytes for entry in entries)

    def _work(self) -> None:
        while taken := self._take():
            asking = [entry for entry in taken if entry.future.set_running_or_notify_cancel()]
            if asking:
                self._answer(asking)
            with self._lock:
                self._count(taken, -1)
                key = taken[0].key
                self._calls[key] -= 1
                if not self._calls[key]:
                    del self._calls[key]

    def _take(self) -> Sequence[_Entry[K, R]]:
        """Take the inputs that have waited longest, and as many others for the same key as fit.

        Inputs of a key that has all its calls under way are passed over.
        """
        with self._lock:
            waiting = (entry.key for entry in self._waiting)
            key = next((key for key in waiting if self._calls[key] < self.at_once), None)
            if key is None:
                self._idle += 1
                return ()
            room = self._most(key)
            taken: list[_Entry[K, R]] = []
            left: deque[_Entry[K, R]] = deque()
            for entry in self._waiting:
                fits = entry.key == key and (not taken or len(entry.inputs) <= room)
                (taken if fits else left).append(entry)
                room -= len(entry.inputs) if fits else 0
            self._waiting = left
            self._calls[key] += 1
            return taken

    def _answer(self, asking: Sequence[_Entry[K, R]]) -> None:
        inputs = [one for entry in asking for one in entry.inputs]
        try:
            results = self._call(asking[0].key, inputs, [entry.label for entry in asking])
        except BaseException as fault:  # noqa: BLE001 - it is raised by whoever waits
            for entry in asking:
                entry.future.set_exception(fault)
            return
        first = 0
        for entry in asking:
            entry.future.set_result(results[first : first + len(entry.inputs)])
            first += len(entry.inputs)


# A bound on the pixels that requests hold until they are answered.


class PixelBudget:
    """Bounds the pixels of all requests together; safe to share between threads.

    An image of a few bytes is as many pixels as any other once it is decoded, so that the sizes of
    requests bound nothing.
    """

    def __init__(self, *, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.held = 0
        self.lock = Lock()

    @contextmanager
    def request(self) -> Iterator["Taken"]:
        """Provide what a request takes, all of which is given back at the end."""
        taken = Taken(self)
        try:
            yield taken
        finally:
            with self.lock:
                self.held -= taken.own


class Taken:
    """The bytes that a request has taken of a budget."""

    def __init__(self, budget: PixelBudget) -> None:
        self._budget = budget
        self.own = 0

    def __call__(self, size: int) -> None:
        """Take bytes that the answer needs.

        Raises InferenceBusy if these and what other requests hold would be too many. A request
        that is alone may take any number.
        """
        budget = self._budget
        with budget.lock:
            if budget.held > self.own and budget.held + size > budget.max_bytes:
                raise errors.InferenceBusy
            self._add(size)

    def spare(self, size: int) -> bool:
        """Take bytes that the answer does not need, while half of all are free; return whether."""
        budget = self._budget
        with budget.lock:
            fits = budget.held + size <= budget.max_bytes // 2
            if fits:
                self._add(size)
            return fits

    def _add(self, size: int) -> None:
        self._budget.held += size
        self.own += size
