"""The fields of a recipe: choices, kinds and bounds."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from types import UnionType
from typing import Any

from core.errors import PromptInvalid
from core.values import Json

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
    FIT = "fit"  # the largest that fits the gate's policy on validation parts; with the parent's

    @property
    def uses_validation(self) -> bool:
        """True if shares are chosen on validation parts."""
        return self.is_best or self is MixingChoice.FIT

    @property
    def is_best(self) -> bool:
        """True if the shares with the best accuracy are chosen, which takes validation images."""
        return self in {MixingChoice.VALIDATION, MixingChoice.PER_LAYER}


class ModelPart(StrEnum):
    """The part of the model that is trained."""

    WHOLE = "whole"
    IMAGE = "image"
    TEXT = "text"
    TOP = "top"  # the text tower, and the last stage and the projection of the image tower

    @property
    def keeps_statistics(self) -> bool:
        """True if what statistics describe of images never changes, so that it can be drawn."""
        return self in {ModelPart.TEXT, ModelPart.TOP}


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


def exemplars_by_kind(count: int, classed: int, captioned: int) -> tuple[int, int]:
    """Return how many of `count` exemplars are of classes, and how many are captioned.

    Both have the share that they have of the images available.
    """
    of_captions = count * captioned // max(1, classed + captioned)
    return count - of_captions, min(of_captions, captioned)


def drawn_features(count: int, replayed: int, *, images: int, classes: int) -> int:
    """Return how many features are drawn of each of the replayed classes.

    As many as an update of so many images has of each of its classes, but at most `count` together.
    """
    return min(exemplar_quota(count, replayed), -(-images // max(1, classes)))


# The kinds of a recipe's fields: their JSON Schema, and how a value is read from JSON.

MOST_EXEMPLARS = 1_000_000
MOST_TEXTS = 100_000
LONGEST_TEXT = 500  # characters of a text, as of a caption
LONGEST_TEXTS = 1_000_000  # characters of all texts together


@dataclass(frozen=True)
class Kind:
    """A kind of fields; `read` returns a value that may be from JSON."""

    schema: Json
    read: Callable[[Any], Any]  # raises ValueError with what is wrong


def number(low: float, high: float) -> Kind:
    """Return the kind of numbers within bounds, both allowed; NaN, true and false are none."""
    return _bounded("number", low, high, int | float, f"a number, {low:g} to {high:g}")


def whole(low: int, high: int) -> Kind:
    """Return the kind of whole numbers within bounds, both allowed."""
    return _bounded("integer", low, high, int, f"a whole number, {low} to {high}")


def _bounded(name: str, low: float, high: float, types: type | UnionType, words: str) -> Kind:
    def read(value: Any) -> Any:
        fits = isinstance(value, types) and not isinstance(value, bool)
        if not fits or not low <= value <= high:
            raise ValueError(f"must be {words}")
        return value

    return Kind({"type": name, "minimum": low, "maximum": high}, read)


def choice(choices: type[StrEnum]) -> Kind:
    """Return the kind of the values of an enumeration."""

    def read(value: Any) -> Any:
        if str(value) not in set(choices):
            raise ValueError(f"must be one of: {', '.join(choices)}")
        return choices(str(value))

    return Kind({"type": "string", "enum": [str(one) for one in choices]}, read)


def _read_switch(value: Any) -> bool:
    if value is not True and value is not False:
        raise ValueError("must be true or false")
    return value


def _read_texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise ValueError("must be a list of texts")
    return tuple(value)


def _read_terms(value: Any) -> tuple[LossTerm, ...]:
    terms = _read_texts(value)
    if unknown := set(terms) - set(LossTerm):
        raise ValueError(f"has no {min(unknown)!r}; it may hold: {', '.join(LossTerm)}")
    if len(set(terms)) < len(terms):
        raise ValueError("may name a term only once")
    return tuple(term for term in LossTerm if term in terms)


def _read_exemplars(value: Any) -> float:
    """Return a number of exemplars, or a share of all between 0 and 1."""
    count = {"none": 0, "all": MOST_EXEMPLARS}.get(str(value), value)
    if not isinstance(count, bool) and isinstance(count, int | float):
        is_whole = isinstance(count, int) or count.is_integer()
        if 0 <= count <= MOST_EXEMPLARS if is_whole else 0 < count < 1:
            return count
    raise ValueError(
        f"must be a whole number, 0 to {MOST_EXEMPLARS}, a share below 1, 'none' or 'all'"
    )


SWITCH = Kind({"type": "boolean"}, _read_switch)
TEXTS = Kind(
    {
        "type": "array",
        "items": {"type": "string", "maxLength": LONGEST_TEXT},
        "maxItems": MOST_TEXTS,
    },
    _read_texts,
)
TERMS = Kind(
    {
        "type": "array",
        "items": choice(LossTerm).schema,
        "maxItems": len(LossTerm),
        "uniqueItems": True,
    },
    _read_terms,
)
EXEMPLARS = Kind(
    {
        "anyOf": [
            whole(0, MOST_EXEMPLARS).schema,
            {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            {"type": "string", "enum": ["none", "all"]},
        ]
    },
    _read_exemplars,
)


def described(description: str, kind: Kind, default: object = None) -> Any:
    """Declare a field of a recipe; without a default, the method gives it."""
    return field(default=default, metadata={"kind": kind, "description": description})


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
