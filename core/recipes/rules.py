"""Recipes: method and hyper-parameters of an update."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Any

from core.errors import RecipeInvalid, TooFewClasses
from core.recipes.fields import (
    EXEMPLARS,
    LONGEST_TEXT,
    LONGEST_TEXTS,
    MOST_EXEMPLARS,
    MOST_TEXTS,
    SWITCH,
    TERMS,
    TEXTS,
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
    choice,
    described,
    number,
    whole,
)
from core.recipes.presets import defaults_of, with_preset
from core.values import Digest, Json, canonical_json, clean_class, sha256


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Method and hyper-parameters of an update.

    The method gives the defaults of some fields; every field can be set beside it. The other
    defaults are those of small models; larger ones have a `DefaultRecipe`. Raises RecipeInvalid on
    a value out of bounds and on choices that contradict each other.
    """

    method: Method = described(
        "Learning method: the defaults of the choices that a recipe leaves open.",
        choice(Method),
        Method.VRLWF_REPLAY,
    )
    part: ModelPart = described("Which parameters are trained.", choice(ModelPart))
    terms: tuple[LossTerm, ...] = described(
        "Distillation terms that are added to the cross entropy.", TERMS
    )
    teacher: TeacherPolicy = described(
        "Which version is distilled from: parent, root or both.", choice(TeacherPolicy)
    )
    label_space: LabelSpace = described(
        "Classes in the cross entropy: the update's, all learned ones, or the suites' as well.",
        choice(LabelSpace),
    )
    warm_start: float = described(
        "Share of the parent in the trained weights at the start; the rest is the root's.",
        number(0, 1),
    )
    epochs: int = described("Passes over the training images.", whole(1, 1000), 6)
    batch_size: int = described("Images per step.", whole(2, 4096), 100)
    learning_rate: float = described("Initial or peak learning rate.", number(1e-9, 1.0), 3e-4)
    optimiser: Optimiser = described("Optimiser.", choice(Optimiser), Optimiser.ADAM)
    epsilon: float = described("Adam's epsilon.", number(1e-16, 1), 1e-8)
    weight_decay: float = described(
        "Decoupled for adamw, added to the gradient for adam.", number(0, 1), 0.0
    )
    schedule: Schedule = described("Learning-rate schedule.", choice(Schedule), Schedule.COSINE)
    clip_norm: float = described("Maximum global norm of the gradient.", number(1e-6, 1e6), 1.0)
    unit_gradient: bool = described(
        "Scale every gradient to clip_norm, even smaller ones.", SWITCH, False
    )  # as the released code
    replay_weight: float = described(
        "Weight of the distillation on random sentences.", number(0, 1000), 12.0
    )  # alpha
    lwf_weight: float = described(
        "Weight of the distillation on class prompts.", number(0, 1000), 1.0
    )  # alpha as well
    cross_weight: float = described(
        "Weight of the cross terms, between old and new features.", number(0, 1000), 1.0
    )  # beta
    reference_weight: float = described(
        "term reference: weight of the distillation on the reference set.", number(0, 1000), 1.0
    )  # gamma
    projection: float = described(
        "Share of each weight's spectral energy whose directions steps leave alone.",
        number(0, 1),
        0.0,
    )
    mixing_choice: MixingChoice = described(
        "How new and old weights are mixed after the last step, if at all.", choice(MixingChoice)
    )
    mixing: float = described(
        "mixing_choice fixed: share of the new weights in the mean.", number(0, 1), 0.6
    )
    exemplars: float = described(
        "Images kept from all earlier updates together, or their share below 1.", EXEMPLARS
    )
    exemplar_choice: ExemplarChoice = described(
        "How the exemplars of a class are chosen.", choice(ExemplarChoice), ExemplarChoice.HERDING
    )
    feature_replay: int = described(
        "Image features drawn from statistics of all earlier classes together; parts text and top.",
        whole(0, MOST_EXEMPLARS),
    )
    exemplar_batch: int = described(
        "Exemplars in each step besides its own images; 0: an epoch passes over both alike.",
        whole(0, 4096),
        0,
    )
    averaging: Averaging = described(
        "Weight averaging at the end of the update; works with any method.",
        choice(Averaging),
        Averaging.NONE,
    )
    averaging_decay: float = described(
        "averaging ema: decay at each sample.", number(0, 0.999999), 0.99
    )
    averaging_every: int = described("averaging: steps between samples.", whole(1, 100_000), 1)
    sentences: int = described("Random sentences per step.", whole(2, 10_000), 100)  # M
    sentence_length: int = described(
        "Tokens per sentence, including start and end token.", whole(3, 77), 10
    )  # L
    vocabulary: Vocabulary = described(
        "Which tokens the sentences are drawn from.", choice(Vocabulary), Vocabulary.ALL
    )
    vocabulary_texts: tuple[str, ...] = described(
        f"The sentences themselves, of {LONGEST_TEXTS:,} characters together; only with vocabulary "
        "'file'.",
        TEXTS,
        (),
    )
    temperature: float = described(
        "Temperature of all distillations.", number(0.01, 100), 1.0
    )  # tau
    augment: bool = described("Crop and flip training images at random.", SWITCH)
    precision: Precision = described(
        "Arithmetic of the images' forward pass; auto: bf16 if the device has it, else fp32.",
        choice(Precision),
        Precision.AUTO,
    )
    micro_batch: int = described(
        "Images in memory at a time, 0 for the whole batch; the result is the same.",
        whole(0, 4096),
        0,
    )
    gradient_checkpointing: bool = described(
        "Recompute activations to save memory; the result is the same.", SWITCH, False
    )
    seed: int = described("Seed of all random choices.", whole(0, 2**63 - 1), 0)

    def __post_init__(self) -> None:
        given = {
            name: _read(name, value) for name, value in vars(self).items() if value is not None
        }
        for name, value in {**defaults_of(given["method"], given), **given}.items():
            object.__setattr__(self, name, value)
        if LossTerm.REFERENCE in self.terms and self.part is ModelPart.TEXT:
            raise RecipeInvalid(
                "The term 'reference' distils the image tower, which part 'text' does not train.",
                pointer="/recipe/part",
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
        if not self.part.keeps_statistics:
            return "with part 'text' or 'top', since an image tower that is trained changes them"
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
        if len(texts) > MOST_TEXTS or sum(map(len, texts)) > LONGEST_TEXTS:
            return f"must have at most {MOST_TEXTS:,} texts of {LONGEST_TEXTS:,} characters in all"
        if not all(text.strip() and len(text) <= LONGEST_TEXT for text in texts):
            return f"must have no blank text, and none of more than {LONGEST_TEXT} characters"
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
        return cls(**value)

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as plain JSON with every field."""
        return {name: _plain(value) for name, value in vars(self).items()}


def _read(name: str, value: object) -> Any:
    """Return a field's value, from JSON or as it is. Raises RecipeInvalid."""
    try:
        return Recipe.__dataclass_fields__[name].metadata["kind"].read(value)
    except ValueError as flaw:
        raise RecipeInvalid(f"{name} {flaw}.", pointer=f"/recipe/{name}") from None


def _plain(value: object) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value.value if isinstance(value, StrEnum) else value


# Lists of class names: without duplicates, and those that compete in an update.

_ADVICE = {
    LabelSpace.SESSION: "name at least two classes, or use label space 'seen' or 'open'",
    LabelSpace.SEEN: "name at least two classes. With label space 'open' and a zero-shot suite, "
    "one can be taught, but only a person can promote the version: one class alone shows no gain",
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
