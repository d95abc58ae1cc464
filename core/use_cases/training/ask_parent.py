"""Ask the parent of an update about a sample of its images."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from core.domain.advice.finding import Finding
from core.domain.advice.zero_shot import (
    Recognition,
    recognitions,
    sample,
    zero_shot_findings,
    zero_shot_unknown,
)
from core.domain.datasets.manifest import Manifest, ManifestEntry
from core.domain.recipes.class_lists import distinct
from core.domain.recipes.prompt import PromptTemplate
from core.domain.registry.class_texts import class_texts
from core.domain.registry.version import Version
from core.errors import PerennialError
from core.inference_limits import MAX_IMAGES
from core.ports import Artifacts, ClassificationRequest, Classifier, Decoder
from core.use_cases.registry.image_inputs import ImageInputs


def ask_parent(
    artifacts: Artifacts,
    classifier: Classifier,
    decoder: Decoder,
    parent: Version | None,
    *,
    manifest: Manifest,
    prompt: str | None,
) -> tuple[Mapping[str, Recognition], Sequence[Finding]]:
    """Return what the parent recognises by class, and what follows from that.

    As for the verdict, all classes compete that the line will have learned. If the parent cannot
    be asked, the only finding is the reason.
    """
    if parent is None:
        return {}, [zero_shot_unknown("The model's root is still being imported.")]
    classes = distinct((*parent.classes, *manifest.classes))
    template = PromptTemplate(prompt) if prompt else parent.prompt
    entries = sample(manifest)
    try:
        request = ClassificationRequest(
            version=parent,
            input=ImageInputs(artifacts).of(parent.digest),
            texts=class_texts(classes, template),
        )

        def pixels(entry: ManifestEntry) -> bytes:
            return decoder.pixels(artifacts.get(entry.artifact), request.input)

        answers = list(_answers(classifier, request, pixels, entries))
    except PerennialError as refusal:  # the rest of the advice does not depend on it
        return {}, [zero_shot_unknown(refusal.message)]
    recognised = recognitions(entries, answers)
    return recognised, list(zero_shot_findings(recognised, competing=len(classes)))


def _answers(
    classifier: Classifier,
    request: ClassificationRequest,
    pixels: Callable[[ManifestEntry], bytes],
    entries: Sequence[ManifestEntry],
) -> Iterator[str]:
    """Yield the most probable class of each image; a few images at a time are in memory."""
    for start in range(0, len(entries), MAX_IMAGES):
        part = entries[start : start + MAX_IMAGES]
        for [best] in classifier.classify(request, list(map(pixels, part)), top_k=1):
            yield best["class"]
