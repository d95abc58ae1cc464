"""Recipes: method and hyper-parameters of an update."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import MappingProxyType
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
from core.values import Digest, Json, canonical_json, clean_class, sha256

# The learning methods: named sets of a recipe's choices.
#
# A method gives the defaults of the choices below; a recipe's own fields override them, so that
# `{"method": "lwf", "teacher": "root"}` is LwF towards the root.


_FINE_TUNING: Json = {
    "part": ModelPart.WHOLE,
    "augment": True,
    "terms": (),
    "teacher": TeacherPolicy.PARENT,
    "label_space": LabelSpace.SESSION,
    "exemplars": 0,
    "feature_replay": 0,
    "warm_start": 1.0,
    "mixing_choice": MixingChoice.NONE,
}

_VRLWF: Json = {**_FINE_TUNING, "terms": (LossTerm.VR, LossTerm.LWF)}

_REPLAY: Json = {**_FINE_TUNING, "label_space": LabelSpace.SEEN, "exemplars": 1000}

METHODS: Mapping[Method, Json] = MappingProxyType(
    {
        # Don't Stop Learning (Ding et al., 2207.09248).
        Method.VRLWF: _VRLWF,
        # VR-LwF's sentence term towards the root, with exemplars of earlier updates. The errors of
        # successive teachers do not add up, and what was learned since the root is held by the
        # exemplars. Training starts half-way back to the root, so the distances from the root do
        # not add up either.
        Method.VRLWF_REPLAY: {
            **_REPLAY,
            "terms": (LossTerm.VR,),
            "teacher": TeacherPolicy.ROOT,
            "exemplars": 2000,
            "warm_start": 0.5,
        },
        # The same without stored images: features drawn from each earlier class's statistics take
        # the exemplars' place. The image tower must stay as it is, or they would not be its own.
        Method.VRLWF_FEATURES: {
            **_FINE_TUNING,
            "part": ModelPart.TEXT,
            "augment": False,
            "terms": (LossTerm.VR,),
            "teacher": TeacherPolicy.ROOT,
            "label_space": LabelSpace.SEEN,
            "feature_replay": 2000,
            "warm_start": 0.5,
        },
        Method.VRLWF_CROSS: {**_VRLWF, "terms": (LossTerm.VR, LossTerm.LWF, LossTerm.CROSS)},
        # Learning without Forgetting (Li and Hoiem, 1606.09282), on CLIP's class logits.
        Method.LWF: {**_FINE_TUNING, "terms": (LossTerm.LWF,)},
        # Cross entropy alone: the most plastic method, and the baseline of the others.
        Method.FT: _FINE_TUNING,
        # Mean-IMM (Lee et al., 1703.08475). The mixed version is the parent of the next update,
        # so over k updates the root's share falls as (1 - mixing)^k.
        Method.IMM_MEAN: {**_FINE_TUNING, "mixing_choice": MixingChoice.FIXED},
        # WiSE-FT (Wortsman et al., 2109.01903).
        Method.WISE: {**_FINE_TUNING, "mixing_choice": MixingChoice.VALIDATION},
        # ZSCL (Zheng et al., 2303.06628). The paper's teacher is the root, its temperature is 2,
        # and it publishes the running mean of the weights: the preset `zscl` sets these fields.
        Method.ZSCL: {**_FINE_TUNING, "terms": (LossTerm.REFERENCE,)},
        # iCaRL's exemplar sets (Rebuffi et al., 1611.07725) in fine-tuning over the classes seen.
        Method.REPLAY: _REPLAY,
    }
)

COMPOSED = tuple(_FINE_TUNING)  # the fields whose defaults the method gives

_EXCLUDES_FEATURES = (  # choices of a recipe's own with which no features can be replayed
    ("part", ModelPart.WHOLE),
    ("part", ModelPart.IMAGE),
    ("augment", True),
    ("label_space", LabelSpace.SESSION),
    ("feature_replay", 0),
)


def defaults_of(method: Method, own: Json) -> Json:
    """Return the choices that a method makes beside a recipe's own, None where it has none.

    Without exemplars, `vrlwf_replay` replays features. Where the recipe's own choices exclude
    that, it is VR-LwF.
    """
    if method is not Method.VRLWF_REPLAY or own["exemplars"] != 0:
        return METHODS[method]
    excluded = any(own[name] == choice for name, choice in _EXCLUDES_FEATURES)
    excluded |= LossTerm.REFERENCE in (own["terms"] or ())  # it distils the image tower
    return METHODS[Method.VRLWF if excluded else Method.VRLWF_FEATURES]


# Named starting points for a recipe: `{"preset": "released", "epochs": 5}`.
#
# A preset's values come first and the recipe's own fields override them. Versions store the
# full recipe, so a preset can be tuned later without affecting existing versions.


# The trainer published with VR-LwF (Ding et al., 2022, one session, ViT-B/32), as it behaves in
# practice. It clips gradients to norm 1 while they are still multiplied by the loss scale, 65,536
# or more, so every step's gradient has norm 1/65,536 whatever the loss, and Adam's epsilon of 1e-8
# is no longer small. Multiplying both by the scale gives a gradient whose norm is always 1, and an
# epsilon of 6.55e-4. The trainer doubles the scale after every 2,000 steps without overflow; this
# uses its initial scale. Both distillations have the same weight, and the learning rate falls to a
# tenth after ten of fifteen epochs. Precision here is fp32 (there: fp16 for the student alone,
# whose distillation loss therefore did not start at zero).
_RELEASED: Json = {
    "method": "vrlwf",
    "part": "whole",
    "teacher": "parent",
    "label_space": "session",
    "epochs": 15,
    "batch_size": 100,
    "learning_rate": 1e-6,
    "optimiser": "adam",
    "epsilon": 1e-8 * 2**16,
    "weight_decay": 0.0,
    "schedule": "step",
    "clip_norm": 1.0,
    "unit_gradient": True,
    "replay_weight": 0.5,
    "lwf_weight": 0.5,
    "sentences": 100,
    "sentence_length": 10,
    "vocabulary": "all",
    "temperature": 1.0,
    "augment": True,
    "precision": "fp32",
}

# A ViT-B/32 or another pre-trained model of its size (150 M parameters). The learning rate, 1e-5,
# is the usual one in publications that fine-tune pre-trained CLIP models (WiSE-FT, ZSCL): thirty
# times less than the default, which is tuned for the bundled model of a few million parameters.
# This is a starting point, not a result: no model of this size was tuned for this project.
_VIT_B_32: Json = {
    "method": "vrlwf_replay",
    "batch_size": 100,
    "learning_rate": 1e-5,
    "replay_weight": 2.0,
    "optimiser": "adamw",
    "weight_decay": 0.0,
    "schedule": "cosine",
}

# The same for a ViT-L/14 (428 M parameters) on one device of 24 GiB: batches of 64 in parts
# of 16 images, activations recomputed in the backward pass. The result is exactly the same, for a
# quarter more computation. docs/models.md lists the memory of every tensor.
_VIT_L_14_24GB: Json = {
    **_VIT_B_32,
    "batch_size": 64,
    "micro_batch": 16,
    "gradient_checkpointing": True,
}

# ZSCL (Zheng et al., 2023) with its published settings for MTIL on a ViT-B/16: distils reference
# images and sentences from the lineage's root at temperature 2, and saves the running mean of the
# weights, sampled every 100 steps. Omitted: label smoothing 0.2 and the fixed logit scale. An
# update there has 1,000 steps; choose `epochs` accordingly.
_ZSCL: Json = {
    "method": "zscl",
    "teacher": "root",
    "batch_size": 64,
    "learning_rate": 1e-5,
    "optimiser": "adamw",
    "weight_decay": 0.0,
    "schedule": "cosine",
    "reference_weight": 1.0,
    "temperature": 2.0,
    "averaging": "running",
    "averaging_every": 100,
}

PRESETS: Mapping[str, Json] = MappingProxyType(
    {
        "released": _RELEASED,
        "vit_b_32": _VIT_B_32,
        "vit_l_14_24gb": _VIT_L_14_24GB,
        "zscl": _ZSCL,
    }
)


def with_preset(value: Json) -> Json:
    """Return a recipe's JSON with the values of its preset. Raises RecipeInvalid."""
    if "preset" not in value:
        return value
    own = dict(value)
    name = own.pop("preset")
    if not isinstance(name, str) or name not in PRESETS:
        words = ", ".join(PRESETS)
        raise RecipeInvalid(f"preset must be one of: {words}.", pointer="/recipe/preset")
    return {**PRESETS[name], **own}


# The recipe: method and hyper-parameters of an update, with defaults and validation.


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

    @classmethod
    def from_stored(cls, value: Json) -> "Recipe":
        """Return the recipe that `to_json` wrote, in this release or an earlier one.

        Earlier releases stored all fields but `terms`, and used `exemplars` and `label_space` as
        the method decided. All of them started from the parent's weights and replayed no features.
        """
        value = {"warm_start": 1.0, "exemplar_batch": 100, "feature_replay": 0, **value}
        if "terms" in value:
            return cls.from_json(value)
        value = {"method": Method.VRLWF, **value}
        method = METHODS[Method(value["method"])]
        decided = {"exemplars": method["exemplars"] and value.get("exemplars", 1000)}
        if decided["exemplars"] and value.get("label_space") == LabelSpace.SESSION:
            decided["label_space"] = LabelSpace.SEEN
        return cls.from_json({**value, **decided})


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
