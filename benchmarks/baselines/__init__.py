"""Methods that others published, to compare with, each with the recipe values that it requires."""

from collections.abc import Mapping
from types import MappingProxyType

from benchmarks.baselines.baseline import Baseline
from benchmarks.baselines.fixed_sentences import ZsclLwfVr
from benchmarks.baselines.geodesics import GeoDl
from benchmarks.baselines.gradient_memory import AGem
from benchmarks.baselines.moments import ModeImm
from benchmarks.baselines.rectification import Rkr
from core.recipes.fields import Method

BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {
        "a_gem": Baseline(
            make=AGem, recipe={"method": Method.FT, "exemplar_batch": 100}, remembers=True
        ),
        "geodl": Baseline(make=GeoDl, recipe={"method": Method.LWF}),
        "imm_mode": Baseline(make=ModeImm, recipe={"method": Method.IMM_MEAN}, remembers=True),
        "rkr": Baseline(make=Rkr, recipe={"method": Method.FT, "learning_rate": 3e-3}),
        "zscl_lwfvr": Baseline(make=ZsclLwfVr, recipe={"method": Method.FT, "temperature": 2.0}),
    }
)
