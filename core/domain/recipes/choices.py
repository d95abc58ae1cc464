"""The choices of a recipe, by field."""

from collections.abc import Collection
from enum import StrEnum


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
