"""Methods that a study looks at for their distance from the default's curve, by name.

None of them has won, so none is part of the service. Each trains through the service's own trainer
and ends in a plain CLIP of the same architecture. The names of a row's options stand beside those
of its recipe in a plan.
"""

from collections.abc import Mapping
from types import MappingProxyType

from benchmarks.baselines.baseline import Baseline
from benchmarks.study.rows.congruence import FocalDistillation, MarginPreserving, SuitesToo
from benchmarks.study.rows.drift import DriftingFeatures
from benchmarks.study.rows.low_rank import KeepLora, NullSpaceLora
from benchmarks.study.rows.merging import MagMax
from benchmarks.study.rows.sharpness import SharpnessAware
from benchmarks.study.rows.texts import KeepLoraOnOwnImages, NamedSentences, OwnImages
from core.recipes.fields import LabelSpace, LossTerm, Method, TeacherPolicy

FOCAL = {"focal_weight": 1.0, "focal_base": 1.0, "focal_extra": 5.0}

ROWS: Mapping[str, Baseline] = MappingProxyType(
    {
        "drifting_features": Baseline(
            make=DriftingFeatures,
            recipe={
                "method": Method.VRLWF,
                "terms": (LossTerm.VR,),
                "teacher": TeacherPolicy.ROOT,
                "label_space": LabelSpace.SEEN,
                "warm_start": 0.5,
            },
            options={"ridge": 0.1},
        ),
        "focal": Baseline(
            make=FocalDistillation,
            recipe={"method": Method.VRLWF, "teacher": TeacherPolicy.BOTH},
            options=FOCAL,
        ),
        "focal_suites": Baseline(
            make=SuitesToo,
            recipe={"method": Method.VRLWF, "teacher": TeacherPolicy.BOTH},
            options={"suite_images": 32, **FOCAL},
            validates=True,
        ),
        "keeplora": Baseline(
            make=KeepLora,
            recipe={"method": Method.FT},
            options={"rank": 16, "kept_energy": 0.99, "kept_features": 0.85},
        ),
        "keeplora_own_images": Baseline(
            make=KeepLoraOnOwnImages,
            recipe={
                "method": Method.VRLWF,
                "terms": (LossTerm.VR, LossTerm.LWF, LossTerm.REFERENCE),
            },
            options={
                "rank": 16,
                "kept_energy": 0.99,
                "kept_features": 0.85,
                "reference_temperature": 2.0,
            },
            remembers=True,
        ),
        "magmax": Baseline(make=MagMax, recipe={"method": Method.FT}, options={"scale": 0.5}),
        "margin": Baseline(
            make=MarginPreserving,
            recipe={"method": Method.VRLWF_REPLAY, "teacher": TeacherPolicy.BOTH},
            options={"margin": 4.0, **FOCAL},
        ),
        "named_sentences": Baseline(
            make=NamedSentences,
            recipe={"method": Method.VRLWF},
            options={"named": "", "named_share": 0.5},
        ),
        "null_space_lora": Baseline(
            make=NullSpaceLora, recipe={"method": Method.FT}, options={"rank": 16}
        ),
        "own_images": Baseline(
            make=OwnImages,
            recipe={
                "method": Method.VRLWF,
                "terms": (LossTerm.VR, LossTerm.LWF, LossTerm.REFERENCE),
            },
            options={"reference_temperature": 2.0},
            remembers=True,
        ),
        "sam": Baseline(
            make=SharpnessAware, recipe={"method": Method.VRLWF}, options={"radius": 0.05}
        ),
    }
)
