"""The learning methods: named sets of a recipe's choices.

A method gives the defaults of the choices below; a recipe's own fields override them, so that
`{"method": "lwf", "teacher": "root"}` is LwF towards the root.
"""

from collections.abc import Mapping
from types import MappingProxyType

from core.domain.recipes.choices import (
    LabelSpace,
    LossTerm,
    Method,
    MixingChoice,
    ModelPart,
    TeacherPolicy,
)
from core.domain.values import Json

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
