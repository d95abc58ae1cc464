"""Recipes: method and hyper-parameters of an update."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from core.errors import RecipeInvalid, TooFewClasses
from core.recipes.fields import (
    BOUNDS,
    CHOICES,
    MOST_EXEMPLARS,
    PARSED,
    Averaging,
    ExemplarChoice,
    LabelSpace,
    LossTerm,
    Method,
    MixingChoice,
    ModelPart,
    Optimiser,
    Precision,
    PromptTemplate,
    Schedule,
    TeacherPolicy,
    Vocabulary,
    counts_exemplars,
    parse_field,
)
from core.recipes.presets import COMPOSED, defaults_of, with_preset
from core.values import Digest, Json, canonical_json, clean_class, sha256

_BY_METHOD: Any = None  # replaced by the method's choice


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Method and hyper-parameters of an update.

    The method gives the defaults of some fields; every field can be set beside it. The other
    defaults are tuned for the bundled model; large pre-trained ones have presets. Raises
    RecipeInvalid on a value out of bounds and on choices that contradict each other.
    """

    method: Method = Method.VRLWF_REPLAY
    part: ModelPart = _BY_METHOD
    terms: tuple[LossTerm, ...] = _BY_METHOD  # added to the cross entropy
    teacher: TeacherPolicy = _BY_METHOD
    label_space: LabelSpace = _BY_METHOD
    warm_start: float = _BY_METHOD  # the parent's share of the first weights; the rest: root's
    epochs: int = 6
    batch_size: int = 100
    learning_rate: float = 3e-4
    optimiser: Optimiser = Optimiser.ADAM
    epsilon: float = 1e-8  # of Adam
    weight_decay: float = 0.0
    schedule: Schedule = Schedule.COSINE
    clip_norm: float = 1.0  # global norm of the unscaled gradient
    unit_gradient: bool = False  # scale even smaller ones to clip_norm, as the released code
    replay_weight: float = 12.0  # alpha of VR-LwF's sentence term
    lwf_weight: float = 1.0  # alpha of the class-logit term
    cross_weight: float = 1.0  # beta of the cross term
    reference_weight: float = 1.0  # gamma of the reference term's two parts
    projection: float = 0.0  # share of the weights' spectral energy that steps leave alone
    mixing_choice: MixingChoice = _BY_METHOD
    mixing: float = 0.6  # for mixing choice "fixed": the new weights' share
    exemplars: float = _BY_METHOD  # images kept of all earlier updates; below 1: their share
    exemplar_choice: ExemplarChoice = ExemplarChoice.HERDING
    feature_replay: int = _BY_METHOD  # features drawn of all earlier classes together
    exemplar_batch: int = 0  # exemplars beside each batch; 0: an epoch passes over them as well
    averaging: Averaging = Averaging.NONE
    averaging_decay: float = 0.99  # for averaging "ema"
    averaging_every: int = 1  # steps between two samples of an average
    sentences: int = 100  # M
    sentence_length: int = 10  # L, start and end token included
    vocabulary: Vocabulary = Vocabulary.ALL
    vocabulary_texts: tuple[str, ...] = ()  # for vocabulary "file"
    temperature: float = 1.0  # tau of both distillations
    augment: bool = _BY_METHOD  # random crop and flip
    precision: Precision = Precision.AUTO
    micro_batch: int = 0  # images in memory at a time, with the same result; 0: the whole batch
    gradient_checkpointing: bool = False  # recompute activations: less memory, the same result
    seed: int = 0

    def __post_init__(self) -> None:
        defaults = defaults_of(self.method, vars(self))
        for name in COMPOSED:
            if getattr(self, name) is None:
                object.__setattr__(self, name, defaults[name])
        for name, bounds in BOUNDS.items():
            if not bounds.contain(getattr(self, name)):
                raise RecipeInvalid(f"{name} must be {bounds.words}.", pointer=f"/recipe/{name}")
        if LossTerm.REFERENCE in self.terms and self.part is ModelPart.TEXT:
            raise RecipeInvalid(
                "The term 'reference' distils the image tower, which part 'text' does not train.",
                pointer="/recipe/part",
            )
        if not counts_exemplars(self.exemplars):
            raise RecipeInvalid(
                f"exemplars must be a whole number, 0 to {MOST_EXEMPLARS}, a share below 1, 'none' "
                "or 'all'.",
                pointer="/recipe/exemplars",
            )
        if (self.exemplars or self.feature_replay) and self.label_space is LabelSpace.SESSION:
            raise RecipeInvalid(
                "Exemplars and replayed features belong to classes learned before, which do not "
                "compete in label space 'session'. Choose 'seen' or 'open', or set exemplars and "
                "feature_replay to 0.",
                pointer="/recipe/label_space",
            )
        if self.feature_replay and (reason := self._features_flaw()):
            raise RecipeInvalid(
                f"Features can be replayed only {reason}.", pointer="/recipe/feature_replay"
            )
        if reason := self._texts_flaw():
            raise RecipeInvalid(f"vocabulary_texts {reason}.", pointer="/recipe/vocabulary_texts")

    def exemplars_of(self, images: int) -> int:
        """Return how many of so many images of earlier updates may be kept."""
        return math.ceil(self.exemplars * images) if self.exemplars < 1 else int(self.exemplars)

    def epoch_of(self, images: int, exemplars: int) -> int:
        """Return how many images an epoch passes over, of an update's own and its exemplars."""
        return images if self.exemplar_batch else images + exemplars

    def batches_of(self, images: int) -> int:
        """Return the batches of an epoch; a partial last batch is dropped unless alone."""
        return max(1, images // self.batch_size)

    def steps_of(self, images: int) -> int:
        """Return the steps of an update with so many training images."""
        return self.batches_of(images) * self.epochs

    @property
    def replays_vocabulary(self) -> bool:
        """True if the loss uses random sentences."""
        return LossTerm.VR in self.terms or LossTerm.CROSS in self.terms

    def _features_flaw(self) -> str | None:
        """Return when features could be replayed, if they cannot be with the other choices."""
        if self.part is not ModelPart.TEXT:
            return "with part 'text', since an image tower that is trained changes them"
        if self.augment:
            return "without augment, since an image's crops have other features than the image"
        if self.exemplars:
            return "in place of exemplars: set exemplars to 'none'"
        return None

    def _texts_flaw(self) -> str | None:
        """Return what is wrong with the given texts, if anything; equal texts cannot be ranked."""
        texts = self.vocabulary_texts
        if (self.vocabulary is Vocabulary.FILE) != bool(texts):
            return "must be given with vocabulary 'file', and only with it"
        if len(texts) > 100_000:
            return "must have at most 100,000 texts"
        if not all(map(str.strip, texts)):
            return "must have no blank text"
        if len(set(texts)) == 1:
            return "must have at least two different texts"
        return None

    @classmethod
    def from_json(cls, value: Json) -> "Recipe":
        """Return the recipe of a client's or a stored version's JSON.

        `preset` names the values that the other fields override. Raises RecipeInvalid, also for
        unknown fields.
        """
        value = with_preset(value)
        known = cls.__dataclass_fields__
        unknown = sorted(value.keys() - known.keys())
        if unknown:
            escaped = unknown[0].replace("~", "~0").replace("/", "~1")
            raise RecipeInvalid(
                f"The recipe has no field {unknown[0]!r}; it has: {', '.join(known)}.",
                pointer=f"/recipe/{escaped}",
            )
        if empty := [name for name in value if value[name] is None]:
            raise RecipeInvalid(f"{empty[0]} must not be null.", pointer=f"/recipe/{empty[0]}")
        # __post_init__ checks numbers against their bounds.
        parsed = {name: parse_field(name, value[name]) for name in PARSED if name in value}
        return cls(**{**value, **parsed})

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as plain JSON with every field."""
        values = vars(self)
        words = {name: values[name].value for name in CHOICES}
        lists = {
            "terms": [term.value for term in self.terms],
            "vocabulary_texts": list(self.vocabulary_texts),
        }
        return {**values, **words, **lists}


# Lists of class names: without duplicates, and those that compete in an update.

_ADVICE = {
    LabelSpace.SESSION: "name at least two classes, or use label space 'seen' or 'open'",
    LabelSpace.SEEN: "name at least two classes, or use label space 'open'",
    LabelSpace.OPEN: "name at least two classes, or add a zero-shot suite to the model",
}


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names without case-insensitive duplicates, in order of first appearance."""
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(name.lower(), name)
    return tuple(found.values())


def competing_classes(
    recipe: Recipe, classes: Sequence[str], learned: Sequence[str], open_classes: Sequence[str]
) -> tuple[str, ...]:
    """Return the columns of the cross entropy: the update's own classes first, then the others.

    Names that differ only in case have the same prompt, so they are one column.
    """
    before = learned if recipe.label_space is not LabelSpace.SESSION else ()
    negatives = open_classes if recipe.label_space is LabelSpace.OPEN else ()
    return distinct((*classes, *before, *negatives))


def require_learnable(
    recipe: Recipe, classes: Sequence[str], learned: Sequence[str], open_classes: Sequence[str]
) -> None:
    """Raise TooFewClasses if the cross entropy has fewer than two columns: its gradient is 0."""
    names = competing_classes(recipe, classes, learned, open_classes)
    if len(names) < 2:
        raise TooFewClasses(
            f"In the label space '{recipe.label_space}' the only class is {', '.join(names)}, so "
            f"the loss would be zero: {_ADVICE[recipe.label_space]}.",
            pointer="/recipe/label_space",
        )


# The texts that stand for classes when a version classifies.

KEPT = 16  # lists; the longest takes 16 MiB


@dataclass(frozen=True, kw_only=True)
class ClassTexts:
    """Classes and the prompts of each: as many as there are templates, class after class."""

    classes: tuple[str, ...]
    prompts: tuple[str, ...]
    templates: int = 1

    @cached_property
    def digest(self) -> Digest:
        """The digest of the prompts and of how many stand for a class."""
        return digest_of(self.prompts, self.templates)


def digest_of(prompts: Sequence[str], templates: int = 1) -> Digest:
    """Return the digest of a list of prompts, of which `templates` at a time stand for a class."""
    return sha256(canonical_json([*prompts] if templates == 1 else [templates, *prompts]))


@lru_cache(maxsize=KEPT)
def class_texts(names: tuple[str, ...], *templates: PromptTemplate) -> ClassTexts:
    """Return the texts of classes, each once whatever its case. Raises ClassInvalid."""
    classes = distinct(map(clean_class, names))
    prompts = tuple(template.fill(name) for name in classes for template in templates)
    return ClassTexts(classes=classes, prompts=prompts, templates=len(templates))
