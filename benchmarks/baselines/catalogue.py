"""The baselines by name, each with its class and the recipe values that it requires."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from benchmarks.baselines.a_gem import AGem
from benchmarks.baselines.geodl import GeoDl
from benchmarks.baselines.imm_mode import ModeImm
from benchmarks.baselines.rkr import Rkr
from benchmarks.baselines.zscl_lwfvr import ZsclLwfVr
from core.domain.recipes.choices import Method
from core.domain.values import Json
from core.learning.methods.method import MakeMethod


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A method that exists only for comparison.

    The recipe's `method` decides which columns an update encodes, so each baseline sets the
    method with the same columns; `make` makes the baseline itself.
    """

    make: MakeMethod
    recipe: Json = field(default_factory=dict)  # defaults, which a row's own values override
    remembers: bool = False  # whether it uses the reference set


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
