"""The preparation of a training run from a training spec."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from core.artifacts.store import Artifacts, BytesCallback, ignore_bytes
from core.clip.model import ClipModel, load, require_readable
from core.datasets.manifests import ManifestEntry
from core.errors import ModelNotTrainable
from core.learning.captions import Captions, Learned
from core.learning.data import BatchLoader, choose_captioned, choose_exemplars, encode_stored
from core.learning.distributed import Ranks, SingleRank
from core.learning.features import draw_features, known_features
from core.learning.methods import LearningMethod, MakeMethod, TrainingStart
from core.learning.mixing import mix
from core.learning.run import TrainingRun
from core.learning.step import LossGradients
from core.learning.student import CachedFeatures, Models
from core.learning.vocabulary import Columns, Replay, generator_of
from core.recipes.fields import exemplars_by_kind
from core.registry.architecture import require_recipe_fits
from core.training.trainer import TrainingSpec
from core.values import Digest, ignore_progress, sha256

BLOCK_SENTENCES = 512  # sentences that a frozen text tower encodes at once


@dataclass(frozen=True, kw_only=True)
class PreparedRun:
    """A training run at step 0 and the loader of its batches."""

    update: TrainingRun
    reading: BatchLoader
    exemplars: int  # how many of the images that are read
    features: int  # how many features are drawn beside the images
    known: CachedFeatures | None  # of the images, then the drawn ones

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
    root's, unless exemplars were wanted and there are none, or features of every class learned
    before were and some class has no statistics, or captions were learned before and no image of
    them is replayed. `advance(done, total)` is called while images are read and features drawn
    before the first step, `moved` while weights are loaded. Raises ModelNotTrainable,
    PromptInvalid, PromptTooLong, ClassInvalid; and, if statistics of features are to be read,
    ArtifactMissing and ArtifactCorrupt.
    """
    recipe, ranks = spec.recipe, ranks or SingleRank()
    require_recipe_fits(parent.config, recipe)  # a job may be ordered before its parent exists
    images = learned_images(spec, partial(encode_stored, parent, artifacts, advance), advance)
    columns = Columns.of(
        recipe,
        spec.classes,
        spec.learned,
        spec.open_classes,
        captions=images.teaches_captions,
        classed=bool(
            images.images or images.exemplars or (recipe.feature_replay and spec.feature_statistics)
        ),
    )
    require_readable(parent, spec.prompt, columns.names)
    method = make_method(recipe, columns)
    if method.reference_terms() and not spec.reference:
        raise ModelNotTrainable("This recipe requires a reference set.", pointer="/reference")
    if method.scores and ranks.rank == 0 and spec.selection is None:  # only rank 0 scores
        raise ModelNotTrainable(
            "This recipe requires validation images.", pointer="/recipe/mixing_choice"
        )
    loaded = partial(load, artifacts=artifacts, device=parent.device, moved=moved)
    models = Models.of(
        spec,
        parent,
        columns.names,
        distils=method.distils,
        load=loaded,
    )
    drawn = draw_features(spec, models, artifacts, advance)
    # What the parent has learned since the root is restored by what is replayed, or stays.
    wanted = images.exemplars if spec.learned else images.captioned_exemplars
    lost = recipe.exemplars and not wanted
    lost = lost or (recipe.feature_replay and drawn.lacks(spec))
    lost = lost or (spec.captions_before and not images.captioned_exemplars)
    if recipe.warm_start < 1 and spec.root != spec.parent and not lost:
        root = dict(loaded(spec.root).network.named_parameters())
        mix(models.parameters, models.parameters, root, recipe.warm_start)
    method.prepare(TrainingStart(spec=spec, models=models, artifacts=artifacts))
    loader = BatchLoader(
        recipe,
        columns,
        artifacts,
        parent.preprocess,
        images=images,
        features=drawn.class_names,
        reference=spec.reference if method.reference_terms() else (),
        captions=Captions.of(spec, models.student, images, drawn.class_names)
        if images.teaches_captions
        else None,
        ranks=ranks,
    )
    known = None if recipe.augment else known_features(method, models, loader, drawn, advance)
    gradients = LossGradients(
        method=method,
        models=models,
        competing=columns.competing,
        micro_batch=recipe.micro_batch,
        reference_texts=_reference_texts(spec, models) if method.reference_terms() else (),
        reference_weight=1 / ranks.size,
        known=known,
    )
    run = TrainingRun(
        spec=spec,
        models=models,
        gradients=gradients,
        replay=_replay(spec, models, method) if method.replays_vocabulary else None,
        steps=max(1, round(method.share_of_steps * loader.sampler.steps)),
        images=sha256(repr((*loader.pixels, *sorted(spec.feature_statistics.items()))).encode()),
        advance=advance,
        ranks=ranks,
    )
    return PreparedRun(
        update=run,
        reading=loader,
        exemplars=images.replayed,
        features=len(drawn.class_names),
        known=known,
    )


def learned_images(
    spec: TrainingSpec,
    encode: Callable[[Sequence[ManifestEntry]], Tensor],
    advance: Callable[[int, int], None] = ignore_progress,
) -> Learned:
    """Return an update's own images and the exemplars that its recipe keeps of earlier ones."""
    recipe = spec.recipe
    own = Learned(images=spec.images, captioned=spec.captioned)
    if not recipe.exemplars:
        return own
    learned = {name.lower() for name in spec.learned}
    classed = [e for e in spec.exemplars if e.class_name.lower() in learned]
    captioned = spec.captioned_exemplars
    count = recipe.exemplars_of(len(classed) + len(captioned))
    of_classes, of_captions = exemplars_by_kind(count, len(classed), len(captioned))
    return replace(
        own,
        exemplars=choose_exemplars(
            classed,
            encode,
            count=of_classes,
            choice=recipe.exemplar_choice,
            seed=recipe.seed,
            advance=advance,
        ),
        captioned_exemplars=choose_captioned(captioned, count=of_captions, seed=recipe.seed),
    )


def _replay(spec: TrainingSpec, models: Models, method: LearningMethod) -> Replay:
    return Replay(
        method.sentences(spec, models.student),
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
