"""Advice on an update before it is ordered."""

from dataclasses import dataclass

from core.domain.advice.finding import Finding
from core.domain.advice.images import ClassImages
from core.domain.advice.zero_shot import Recognition
from core.domain.jobs.order import UpdateOrder
from core.domain.registry.version import Model


@dataclass(frozen=True, kw_only=True)
class ClassAdvice:
    """The numbers of one class."""

    images: ClassImages
    recognised: Recognition | None  # by the parent; None: not sampled


@dataclass(frozen=True, kw_only=True)
class Advice:
    """The numbers and findings on an order that could start."""

    model: Model
    order: UpdateOrder
    parent: int | None  # None: the model's root is still being imported
    classes: tuple[ClassAdvice, ...]
    steps: int
    seconds: float | None  # None: unknown
    findings: tuple[Finding, ...]
