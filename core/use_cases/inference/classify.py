"""Prepare a classification: resolve the version, its classes and their prompts."""

from collections.abc import Sequence

from core.domain.recipes.class_lists import distinct
from core.domain.recipes.prompt import PromptTemplate
from core.domain.values import clean_class
from core.errors import EmbeddingSpaceChanged, FieldInvalid
from core.ports import ClassificationRequest, Platform
from core.use_cases.registry.model_reference import resolve
from core.use_cases.registry.model_suites import open_classes_of

MAX_CLASSES = 10_000


def prepare_classification(
    platform: Platform,
    reference: str,
    *,
    classes: Sequence[str] | None,
    prompt: str | None,
    expect_digest: str | None,
) -> ClassificationRequest:
    """Resolve a reference and settle classes and prompts.

    By default the classes are those the version has learned; for a root, those of the
    model's zero-shot suites. Raises what `resolve` raises, ClassInvalid, PromptInvalid,
    FieldInvalid without any class, EmbeddingSpaceChanged when the reference resolves to another
    digest than the expected one.
    """
    with platform.transactions(read_only=True) as work:
        model, version = resolve(work, reference)
        known = version.classes or open_classes_of(work, model)
    if expect_digest is not None and expect_digest.removeprefix("sha256:") != version.digest:
        raise EmbeddingSpaceChanged(digest=version.digest, expected=expect_digest[:80])
    wanted = distinct(map(clean_class, classes) if classes else known)
    if not wanted:
        raise FieldInvalid(
            "This version has learned no classes and its model has no zero-shot suite: "
            "send `classes`.",
            pointer="/classes",
        )
    if len(wanted) > MAX_CLASSES:
        raise FieldInvalid(f"Send at most {MAX_CLASSES:,} classes.", pointer="/classes")
    template = PromptTemplate(prompt) if prompt else version.prompt
    return ClassificationRequest(
        model=model, version=version, classes=wanted, prompts=template.fill_all(wanted)
    )
