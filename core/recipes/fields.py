"""The fields of a recipe: choices, bounds and parsing."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from core.errors import PromptInvalid, RecipeInvalid

# Bounds of a recipe's numbers.


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The least and the largest value of a number, both allowed."""

    whole: bool
    low: float
    high: float

    def contain(self, value: object) -> bool:
        """Return whether a value is a number within bounds; NaN, true and false are not."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        return self.low <= value <= self.high

    @property
    def words(self) -> str:
        """The bounds as an error message states them."""
        if self.whole:
            return f"a whole number, {self.low} to {self.high}"
        return f"a number, {self.low:g} to {self.high:g}"


def _whole(low: int, high: int) -> Bounds:
    return Bounds(whole=True, low=low, high=high)


def _real(low: float, high: float) -> Bounds:
    return Bounds(whole=False, low=low, high=high)


MOST_EXEMPLARS = 1_000_000
BOUNDS: Mapping[str, Bounds] = MappingProxyType(
    {
        "epochs": _whole(1, 1000),
        "batch_size": _whole(2, 4096),
        "learning_rate": _real(1e-9, 1.0),
        "epsilon": _real(1e-16, 1),
        "weight_decay": _real(0, 1),
        "clip_norm": _real(1e-6, 1e6),
        "replay_weight": _real(0, 1000),
        "lwf_weight": _real(0, 1000),
        "cross_weight": _real(0, 1000),
        "reference_weight": _real(0, 1000),
        "projection": _real(0, 1),
        "mixing": _real(0, 1),
        "warm_start": _real(0, 1),
        "feature_replay": _whole(0, MOST_EXEMPLARS),
        "exemplar_batch": _whole(0, 4096),
        "averaging_decay": _real(0, 0.999999),
        "averaging_every": _whole(1, 100_000),
        "micro_batch": _whole(0, 4096),
        "sentences": _whole(2, 10_000),
        "sentence_length": _whole(3, 77),
        "temperature": _real(0.01, 100),
        "seed": _whole(0, 2**63 - 1),
    }
)


def counts_exemplars(value: object) -> bool:
    """Return whether a value is a number of exemplars, or a share of all between 0 and 1."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    whole = isinstance(value, int) or value.is_integer()
    return 0 <= value <= MOST_EXEMPLARS if whole else 0 < value < 1


# The choices of a recipe, by field.


class Method(StrEnum):
    """The learning method: a named set of the other choices, listed in `methods`."""

    VRLWF = "vrlwf"
    VRLWF_REPLAY = "vrlwf_replay"
    VRLWF_FEATURES = "vrlwf_features"
    VRLWF_CROSS = "vrlwf_cross"
    LWF = "lwf"
    FT = "ft"
    IMM_MEAN = "imm_mean"
    WISE = "wise"
    ZSCL = "zscl"
    REPLAY = "replay"


class LossTerm(StrEnum):
    """The distillation terms that are added to the cross entropy."""

    VR = "vr"  # keeps each image's ranking of random sentences
    LWF = "lwf"  # keeps each image's ranking of the classes seen
    CROSS = "cross"  # keeps new vectors comparable with the teacher's
    REFERENCE = "reference"  # keeps the similarities of a reference set


class MixingChoice(StrEnum):
    """The share of the new weights when they are mixed with the old ones after the last step."""

    NONE = "none"  # no mixing
    FIXED = "fixed"  # the recipe's `mixing`
    VALIDATION = "validation"  # the best on validation parts
    PER_LAYER = "per_layer"  # the best on validation parts, of each group of layers

    @property
    def uses_validation(self) -> bool:
        """True if shares are chosen on validation parts."""
        return self in {MixingChoice.VALIDATION, MixingChoice.PER_LAYER}


class ModelPart(StrEnum):
    """The part of the model that is trained."""

    WHOLE = "whole"
    IMAGE = "image"
    TEXT = "text"


class LabelSpace(StrEnum):
    """The columns of the cross entropy."""

    SESSION = "session"  # the update's own classes, as in the paper
    SEEN = "seen"  # and all classes learned before
    OPEN = "open"  # and the class names of the model's suites, as text-only negatives


class Vocabulary(StrEnum):
    """The replayed vocabulary: the tokens that replayed sentences are drawn from."""

    ALL = "all"  # every token, as in the paper
    WORD_FINAL = "word_final"  # tokens that end a word
    TRAINED = "trained"  # tokens of the model's own training texts
    FILE = "file"  # real names or captions, given with the recipe


class TeacherPolicy(StrEnum):
    """The teacher of an update; weights are mixed with the same version."""

    PARENT = "parent"  # the version that the update starts from, as in the paper
    ROOT = "root"  # the root of the lineage
    BOTH = "both"  # the mean of the two losses


class ExemplarChoice(StrEnum):
    """The choice of an earlier update's exemplars."""

    HERDING = "herding"  # those whose running mean stays closest to the class mean
    RANDOM = "random"


class Averaging(StrEnum):
    """The averaging of weights over the steps of an update."""

    NONE = "none"  # the last step's
    EMA = "ema"  # an exponential moving average over the steps
    RUNNING = "running"  # the plain mean over the steps, the start included (as ZSCL)


class Optimiser(StrEnum):
    """The optimiser."""

    ADAM = "adam"
    ADAMW = "adamw"


class Schedule(StrEnum):
    """The schedules of the learning rate."""

    CONSTANT = "constant"
    STEP = "step"  # a tenth after two thirds of the epochs, as the released one-session code
    COSINE = "cosine"  # 5 % warm-up, then a half cosine to zero


class Precision(StrEnum):
    """The arithmetic of the image towers' forward pass; parameters stay fp32."""

    AUTO = "auto"  # bf16 where the device computes natively in it, or else fp32
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"  # with a scaled loss; gradients are unscaled before they are clipped

    def on(self, native: Collection["Precision"]) -> "Precision":
        """Return the arithmetic on a device that computes natively in `native`; never `auto`."""
        if self is not Precision.AUTO:
            return self
        return Precision.BF16 if Precision.BF16 in native else Precision.FP32


# The number of exemplars that are kept of each class, and of features that are drawn.


def exemplar_quota(count: int, classes: int) -> int:
    """Return the share of each class in `count` exemplars; at least one."""
    return max(1, count // max(1, classes))


def kept_exemplars(count: int, available: Collection[int]) -> int:
    """Return how many exemplars are kept of the numbers of images available, one of each class."""
    quota = exemplar_quota(count, len(available))
    return sum(min(quota, images) for images in available)


def drawn_features(count: int, replayed: int, *, images: int, classes: int) -> int:
    """Return how many features are drawn of each of the replayed classes.

    As many as an update of so many images has of each of its classes, but at most `count` together.
    """
    return min(exemplar_quota(count, replayed), -(-images // max(1, classes)))


# The JSON of a recipe's fields.

CHOICES: Mapping[str, Mapping[str, StrEnum]] = {  # by field and by value
    name: {choice.value: choice for choice in choices}
    for name, choices in {
        "method": Method,
        "part": ModelPart,
        "label_space": LabelSpace,
        "teacher": TeacherPolicy,
        "mixing_choice": MixingChoice,
        "exemplar_choice": ExemplarChoice,
        "averaging": Averaging,
        "optimiser": Optimiser,
        "schedule": Schedule,
        "vocabulary": Vocabulary,
        "precision": Precision,
    }.items()
}

SWITCHES = ("augment", "unit_gradient", "gradient_checkpointing")
PARSED = (*CHOICES, *SWITCHES, "terms", "exemplars", "vocabulary_texts")


def parse_field(name: str, value: object) -> Any:
    """Return a field's value from its JSON. Raises RecipeInvalid."""
    pointer = f"/recipe/{name}"
    if name in CHOICES:
        choice = CHOICES[name].get(str(value))
        if choice is None:
            words = ", ".join(CHOICES[name])
            raise RecipeInvalid(f"{name} must be one of: {words}.", pointer=pointer)
        return choice
    if name in SWITCHES:
        if not isinstance(value, bool):
            raise RecipeInvalid(f"{name} must be true or false.", pointer=pointer)
        return value
    if name == "exemplars":
        return {"none": 0, "all": MOST_EXEMPLARS}.get(str(value), value)
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise RecipeInvalid(f"{name} must be a list of texts.", pointer=pointer)
    return _terms(value) if name == "terms" else tuple(value)


def _terms(value: Collection[str]) -> tuple[LossTerm, ...]:
    """Return the terms in the order of `LossTerm`. Raises RecipeInvalid."""
    if unknown := set(value) - set(LossTerm):
        raise RecipeInvalid(
            f"terms has no {min(unknown)!r}; it may hold: {', '.join(LossTerm)}.",
            pointer="/recipe/terms",
        )
    if len(set(value)) < len(value):
        raise RecipeInvalid("terms may name a term only once.", pointer="/recipe/terms")
    return tuple(term for term in LossTerm if term in value)


# The prompt template: a sentence around a class name.

SLOT = "{name}"


@dataclass(frozen=True)
class PromptTemplate:
    """A sentence with one `{name}`, such as `a photo of a {name}.`; raises PromptInvalid."""

    text: str

    def __post_init__(self) -> None:
        if self.text.count(SLOT) != 1 or len(self.text) > 200 or not self.text.isprintable():
            raise PromptInvalid(template=self.text[:220])

    def fill(self, name: str) -> str:
        """Return the prompt of a class; the name is lower-cased, as in the models' training."""
        return self.text.replace(SLOT, name.lower())

    def fill_all(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the prompts of several classes, in their order."""
        return tuple(self.fill(name) for name in names)


DEFAULT_PROMPT = PromptTemplate("a photo of a {name}.")
