"""What happens when memory runs out in a step: halves once, then an error with a name."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from core.clip.machine import raising_out_of_memory
from core.errors import OutOfMemory, StopRequested
from core.evaluation.queries import ClassQuery
from core.learning.student import Models
from core.recipes.fields import Method
from core.scoring.evaluator import VersionEvaluator
from core.training.trainer import TrainingSpec
from tests.support.learning.lessons import Watching, square, train, trained, with_recipe
from tests.support.memory_artifacts import MemoryArtifacts

CPU = torch.device("cpu")

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory"
    ),
    RuntimeError("not enough memory: you tried to allocate 1000 bytes."),
    MemoryError(),
]


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets for how many images the student's tower has room, from which of its calls on."""
    real = Models.student_images

    def limit(images: int, *, error: Exception = ERRORS[0], after: int = 0) -> None:
        calls = [0]

        def student_images(self: Models, pixels: Tensor) -> Tensor:
            calls[0] += 1
            features = real(self, pixels)
            if len(pixels) > images and calls[0] > after:
                raise error
            return features

        monkeypatch.setattr(Models, "student_images", student_images)

    return limit


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error)[:20] or "MemoryError")
def test_a_batch_that_does_not_fit_is_read_in_halves_from_then_on(
    error: Exception, artifacts: MemoryArtifacts, spec: TrainingSpec, room: Callable[..., None]
) -> None:
    ordered = train(artifacts, with_recipe(spec, micro_batch=2))
    room(2, error=error)
    monitor = Watching()
    given = trained(artifacts, spec, monitor)
    assert given.weights.digest == ordered.digest
    assert given.notes["micro_batch"] == 2
    assert monitor.told == [("out_of_memory", {"step": 1, "micro_batch": 2})]


def test_what_torch_raises_today_where_no_memory_is_left_is_recognised() -> None:
    with pytest.raises(OutOfMemory), raising_out_of_memory():
        torch.empty(2**60, dtype=torch.uint8)


def test_gradients_of_the_parts_before_the_want_count_once(
    artifacts: MemoryArtifacts, spec: TrainingSpec, room: Callable[..., None]
) -> None:
    ordered = train(artifacts, with_recipe(spec, micro_batch=1))
    room(1, after=1)  # the second of two parts meets it
    spec = with_recipe(spec, micro_batch=2)
    assert trained(artifacts, spec, Watching()).weights.digest == ordered.digest


@pytest.mark.parametrize(
    ("images", "changes"),
    [
        (1, {}),
        (0, {"micro_batch": 1}),  # one image has no half
        (3, {"method": Method.ZSCL}),  # a reference batch is read whole
    ],
)
def test_a_want_that_halves_do_not_cure_is_an_error_with_a_name(
    images: int,
    changes: dict[str, Any],
    artifacts: MemoryArtifacts,
    spec: TrainingSpec,
    room: Callable[..., None],
) -> None:
    room(images)
    monitor = Watching()
    with pytest.raises(OutOfMemory) as raised:
        trained(artifacts, with_recipe(spec, **changes), monitor)
    assert raised.value.facts["allocator"] == str(ERRORS[0])
    assert monitor.told == []


def test_another_fault_stays_what_it_is(
    artifacts: MemoryArtifacts, spec: TrainingSpec, room: Callable[..., None]
) -> None:
    room(2, error=RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes"):
        trained(artifacts, spec, Watching())


def test_who_resumes_reads_in_halves_too(
    artifacts: MemoryArtifacts, spec: TrainingSpec, room: Callable[..., None]
) -> None:
    spec = with_recipe(spec, epochs=3)
    room(2, after=2)  # the third of six steps meets it
    whole = trained(artifacts, spec, Watching()).weights
    room(2, after=2)
    stopped = Watching(every=1, stop_at=4, stop_with=StopRequested)
    with pytest.raises(StopRequested):
        trained(artifacts, spec, stopped)
    assert stopped.told == [("out_of_memory", {"step": 3, "micro_batch": 2})]
    room(2)
    _, kept = stopped.saved[-1]
    rest = Watching()
    assert train(artifacts, spec, rest, resume=kept).digest == whole.digest
    assert rest.told == []


def test_what_the_failed_step_held_is_free_before_the_next(
    artifacts: MemoryArtifacts, spec: TrainingSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[Any]] = []
    real = Models.student_images

    def student_images(self: Models, pixels: Tensor) -> Tensor:
        if held:
            assert all(reference() is None for reference in held[:1])
        features = real(self, pixels)
        held.append(weakref.ref(features))
        if len(pixels) > 2:
            raise ERRORS[0]
        return features

    monkeypatch.setattr(Models, "student_images", student_images)
    trained(artifacts, spec, Watching())
    assert len(held) > 2


def evaluator(artifacts: MemoryArtifacts) -> VersionEvaluator:
    """Return an evaluator that keeps no features yet."""
    return VersionEvaluator(artifacts, device=CPU, batch=8)


def test_a_version_is_scored_in_halves_too_and_once(
    artifacts: MemoryArtifacts, spec: TrainingSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    greens = tuple(square(artifacts, "green", (9, 250 - shade, 0)) for shade in range(8))
    question = ClassQuery(entries=greens, classes=("green", "red"), prompt=spec.prompt)
    expected = evaluator(artifacts).answer(spec.parent, [question], Watching())
    real = torch.nn.Module.__call__
    room = [4]

    def call(self: torch.nn.Module, *arguments: Any, **more: Any) -> Any:
        first = arguments[0] if arguments else None
        if isinstance(first, Tensor) and first.ndim == 4 and len(first) > room[0]:
            raise MemoryError
        return real(self, *arguments, **more)

    monkeypatch.setattr(torch.nn.Module, "__call__", call)
    monitor = Watching()
    assert evaluator(artifacts).answer(spec.parent, [question], monitor) == expected
    assert monitor.told == [("out_of_memory", {"batch": 4})]
    room[0] = 2
    with pytest.raises(OutOfMemory):
        evaluator(artifacts).answer(spec.parent, [question], monitor)
