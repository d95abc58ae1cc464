"""The recipe: method and hyper-parameters of an update, with defaults and validation."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from core.domain.recipes.bounds import BOUNDS
from core.domain.recipes.choices import (
    Averaging,
    ExemplarChoice,
    LabelSpace,
    Method,
    ModelPart,
    Optimiser,
    Precision,
    Schedule,
    TeacherPolicy,
    Vocabulary,
)
from core.domain.recipes.presets import PRESETS
from core.domain.values import Json
from core.errors import RecipeInvalid


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Method and hyper-parameters of an update. Raises RecipeInvalid on a value out of bounds.

    The defaults are tuned for the bundled model; large pre-trained ones have presets.
    """

    method: Method = Method.VRLWF
    part: ModelPart = ModelPart.WHOLE
    teacher: TeacherPolicy = TeacherPolicy.PARENT
    label_space: LabelSpace = LabelSpace.SESSION
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
    cross_weight: float = 1.0  # beta of vrlwf_cross
    reference_weight: float = 1.0  # of zscl's two terms
    mixing: float = 0.6  # imm_mean: the new weights' share
    exemplars: int = 1000  # replay: images kept of all earlier updates together
    exemplar_choice: ExemplarChoice = ExemplarChoice.HERDING
    exemplar_batch: int = 50  # replay: exemplars that each batch holds besides its own images
    averaging: Averaging = Averaging.NONE
    averaging_decay: float = 0.99  # for averaging "ema"
    averaging_every: int = 1  # steps between two samples of an average
    sentences: int = 100  # M
    sentence_length: int = 10  # L, start and end token included
    vocabulary: Vocabulary = Vocabulary.ALL
    vocabulary_texts: tuple[str, ...] = ()  # for vocabulary "file"
    temperature: float = 1.0  # tau of both distillations
    augment: bool = True  # random crop and flip
    precision: Precision = Precision.AUTO
    micro_batch: int = 0  # images in memory at a time, with the same result; 0: the whole batch
    gradient_checkpointing: bool = False  # recompute activations: less memory, the same result
    seed: int = 0

    def __post_init__(self) -> None:
        for name, bounds in BOUNDS.items():
            if not bounds.contain(getattr(self, name)):
                raise RecipeInvalid(f"{name} must be {bounds.words}.", pointer=f"/recipe/{name}")
        if self.method is Method.ZSCL and self.part is ModelPart.TEXT:
            raise RecipeInvalid(
                "Method 'zscl' distils the image tower, which part 'text' does not train.",
                pointer="/recipe/part",
            )
        if reason := self._texts_flaw():
            raise RecipeInvalid(f"vocabulary_texts {reason}.", pointer="/recipe/vocabulary_texts")

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
        value = _with_preset(value)
        known = cls.__dataclass_fields__
        unknown = sorted(value.keys() - known.keys())
        if unknown:
            escaped = unknown[0].replace("~", "~0").replace("/", "~1")
            raise RecipeInvalid(
                f"The recipe has no field {unknown[0]!r}; it has: {', '.join(known)}.",
                pointer=f"/recipe/{escaped}",
            )
        # __post_init__ checks numbers against their bounds.
        parsed = {name: _parse(name, value[name]) for name in _PARSED if name in value}
        return cls(**{**value, **parsed})

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as plain JSON with every field."""
        values = vars(self)
        words = {name: values[name].value for name in _CHOICES}
        return {**values, **words, "vocabulary_texts": list(self.vocabulary_texts)}


_CHOICES: Mapping[str, Mapping[str, StrEnum]] = {  # by field and by value
    name: {choice.value: choice for choice in choices}
    for name, choices in {
        "method": Method,
        "part": ModelPart,
        "label_space": LabelSpace,
        "teacher": TeacherPolicy,
        "exemplar_choice": ExemplarChoice,
        "averaging": Averaging,
        "optimiser": Optimiser,
        "schedule": Schedule,
        "vocabulary": Vocabulary,
        "precision": Precision,
    }.items()
}

_SWITCHES = ("augment", "unit_gradient", "gradient_checkpointing")
_PARSED = (*_CHOICES, *_SWITCHES, "vocabulary_texts")


def _with_preset(value: Json) -> Json:
    if "preset" not in value:
        return value
    own = dict(value)
    name = own.pop("preset")
    if not isinstance(name, str) or name not in PRESETS:
        words = ", ".join(PRESETS)
        raise RecipeInvalid(f"preset must be one of: {words}.", pointer="/recipe/preset")
    return {**PRESETS[name], **own}


def _parse(name: str, value: object) -> Any:
    pointer = f"/recipe/{name}"
    if name in _CHOICES:
        choice = _CHOICES[name].get(str(value))
        if choice is None:
            words = ", ".join(_CHOICES[name])
            raise RecipeInvalid(f"{name} must be one of: {words}.", pointer=pointer)
        return choice
    if name in _SWITCHES:
        if not isinstance(value, bool):
            raise RecipeInvalid(f"{name} must be true or false.", pointer=pointer)
        return value
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise RecipeInvalid("vocabulary_texts must be a list of texts.", pointer=pointer)
    return tuple(value)
