"""The preparation of a training run from a training spec."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.clip.images import read_image
from core.clip.model import ClipModel
from core.clip.prompts import require_readable
from core.clip.weights import load
from core.domain.datasets.manifest import ManifestEntry
from core.domain.recipes.choices import ModelPart
from core.domain.registry.architecture import require_recipe_fits
from core.domain.values import Digest, sha256
from core.errors import ModelNotTrainable
from core.learning.class_columns import Columns
from core.learning.data.exemplars import choose_exemplars
from core.learning.data.loader import BatchLoader
from core.learning.data.vocabulary import Replay, generator_of, sentences_of
from core.learning.distributed.ranks import Ranks, SingleRank
from core.learning.gradients import LossGradients
from core.learning.methods.method import LearningMethod, MakeMethod, TrainingStart
from core.learning.methods.weight_mixing import mix
from core.learning.student_and_teachers import CachedFeatures, Models
from core.learning.training_run import TrainingRun
from core.ports import Artifacts, BytesCallback, TrainingSpec, ignore_bytes, ignore_progress

BLOCK_SENTENCES = 512  # sentences that a frozen text tower encodes at once
BLOCK_IMAGES = 128


@dataclass(frozen=True, kw_only=True)
class PreparedRun:
    """A training run at step 0 and the loader of its batches."""

    update: TrainingRun
    reading: BatchLoader
    exemplars: int  # how many of the images that are read

    def fingerprint(self) -> Digest:
        """Hash what must be equal in every rank: the order of images, the step and the weights."""
        found = hashlib.sha256(repr((self.reading.pixels, self.update.step)).encode())
        for parameter in self.update.models.parameters.values():
            found.update(parameter.detach().cpu().numpy().tobytes())
        return Digest(found.hexdigest())


def prepare_run(
    spec: TrainingSpec,
    parent: ClipModel,
    artifacts: Artifacts,
    *,
    ranks: Ranks | None = None,
    make_method: MakeMethod = LearningMethod,
    advance: Callable[[int, int], None] = ignore_progress,
    moved: BytesCallback = ignore_bytes,
) -> PreparedRun:
    """Prepare a training run; `parent` becomes its student.

    With a `warm_start` below 1, its trained tensors first become a mean of the parent's and the
    root's, unless exemplars were wanted and there are none. `advance(done, total)` is called while
    images are read before the first step, `moved` while weights are loaded. Raises
    ModelNotTrainable, PromptInvalid, PromptTooLong, ClassInvalid.
    """
    recipe, ranks = spec.recipe, ranks or SingleRank()
    require_recipe_fits(parent.config, recipe)  # a job may be ordered before its parent exists
    columns = Columns.of(recipe, spec.classes, spec.learned, spec.open_classes)
    require_readable(parent, spec.prompt, columns.names)
    method = make_method(recipe, columns)
    if method.reference_terms() and not spec.reference:
        raise ModelNotTrainable("This recipe requires a reference set.", pointer="/reference")
    if method.scores and ranks.rank == 0 and spec.selection is None:  # only rank 0 scores
        raise ModelNotTrainable(
            "This recipe requires validation images.", pointer="/recipe/mixing_choice"
        )
    exemplars: Sequence[ManifestEntry] = ()
    if recipe.exemplars:
        encode = _Encoder(parent, artifacts, advance)
        learned = {name.lower() for name in spec.learned}
        candidates = [e for e in spec.exemplars if e.class_name.lower() in learned]
        exemplars = choose_exemplars(
            candidates,
            encode,
            count=recipe.exemplars_of(len(candidates)),
            choice=recipe.exemplar_choice,
            seed=recipe.seed,
            advance=advance,
        )

    def loaded(digest: Digest) -> ClipModel:
        return load(digest, artifacts, parent.device, moved)

    models = Models.of(
        spec,
        parent,
        columns.names,
        distils=method.distils,
        load=loaded,
    )
    none_left = recipe.exemplars and not exemplars  # nothing would restore what was learned
    if recipe.warm_start < 1 and spec.root != spec.parent and not none_left:
        root = dict(loaded(spec.root).network.named_parameters())
        mix(models.parameters, models.parameters, root, recipe.warm_start)
    method.prepare(TrainingStart(spec=spec, models=models, artifacts=artifacts))
    loader = BatchLoader(
        recipe,
        columns,
        artifacts,
        parent.preprocess,
        images=spec.images,
        exemplars=exemplars,
        reference=spec.reference if method.reference_terms() else (),
        ranks=ranks,
    )
    gradients = LossGradients(
        method=method,
        models=models,
        competing=columns.competing,
        micro_batch=recipe.micro_batch,
        reference_texts=_reference_texts(spec, models) if method.reference_terms() else (),
        reference_weight=1 / ranks.size,
        known=None if recipe.augment else _known(method, models, loader, advance),
    )
    run = TrainingRun(
        spec=spec,
        models=models,
        gradients=gradients,
        replay=_replay(spec, models) if method.replays_vocabulary else None,
        steps=loader.sampler.steps,
        images=sha256(repr(loader.pixels).encode()),
        advance=advance,
        ranks=ranks,
    )
    return PreparedRun(update=run, reading=loader, exemplars=len(exemplars))


def _replay(spec: TrainingSpec, models: Models) -> Replay:
    return Replay(
        sentences_of(spec.recipe, models.student),
        generator_of("sentences", spec.recipe.seed),
        [_reader(model) for model in models.readers],
        block=max(1, BLOCK_SENTENCES // spec.recipe.sentences),
    )


def _reader(model: ClipModel) -> Callable[[Tensor], Tensor]:
    return torch.no_grad()(model.encode_tokens)


def _reference_texts(spec: TrainingSpec, models: Models) -> tuple[Tensor, ...]:
    """Return E' of each teacher, over every text of the reference set."""
    texts = tuple(dict.fromkeys(text for entry in spec.reference for text in entry.texts))
    tokens = models.student.tokenise(texts)
    return tuple(
        torch.cat([_reader(teacher)(block) for block in torch.split(tokens, BLOCK_SENTENCES)])
        for teacher in models.teachers
    )


def _known(
    method: LearningMethod,
    models: Models,
    loader: BatchLoader,
    advance: Callable[[int, int], None],
) -> CachedFeatures | None:
    """Return frozen towers' features of all images, which must not be augmented; None if none."""
    if models.part is not ModelPart.TEXT and not method.distils_batches:
        return None
    blocks = []
    for start in range(0, loader.count, BLOCK_IMAGES):
        pixels = loader.whole(start, start + BLOCK_IMAGES)
        blocks.append(models.know(pixels, distils=method.distils_batches))
        advance(min(start + BLOCK_IMAGES, loader.count), loader.count)
    students = [block.student for block in blocks if block.student is not None]
    return CachedFeatures(
        student=torch.cat(students) if students else None,
        teachers=tuple(torch.cat(rows) for rows in zip(*(b.teachers for b in blocks), strict=True)),
    )


class _Encoder:
    """Encodes stored images with the parent, preprocessed as for evaluation."""

    def __init__(
        self, model: ClipModel, artifacts: Artifacts, advance: Callable[[int, int], None]
    ) -> None:
        self._model = model
        self._artifacts = artifacts
        self._advance = advance

    @torch.no_grad()
    def __call__(self, entries: Sequence[ManifestEntry]) -> Tensor:
        """Return L2-normalised features (images, width)."""
        blocks = []
        for start in range(0, len(entries), BLOCK_IMAGES):
            block = entries[start : start + BLOCK_IMAGES]
            blocks.append(self._model.encode_images(torch.stack([self._pixels(e) for e in block])))
            self._advance(start + len(block), len(entries))
        return torch.cat(blocks)

    def _pixels(self, entry: ManifestEntry) -> Tensor:
        image = read_image(self._artifacts.get(entry.artifact))
        return self._model.preprocess.evaluation_pixels(image)
