"""Mixing of the new weights with old ones by a share for each group of layers.

    θ_g ← a_g θ_new + (1 − a_g) θ_old    over the trained tensors of group g

The shares are chosen on validation parts.
"""

from core.domain.values import Json
from core.learning.methods.layer_groups import layer_groups
from core.learning.methods.weight_mixing import (
    TrainingEnd,
    a_acc,
    best_share,
    mix,
    scored,
    snapshot,
)

STEP = 0.2


def mix_per_layer(ending: TrainingEnd) -> Json:
    """Choose a share for each group of layers (`layer_groups`) by A-Acc on validation parts.

    All groups start with the best share for the whole model (`best_share`). Then each is visited
    once: the image tower's from last to first, then the text tower's. The shares 0, 0.2 less, 0.2
    more and 1 are tried for it alone, and the best of them is kept if its A-Acc is higher than
    that of the weights so far; of equal ones the smallest. On the validation parts, A-Acc is
    therefore never lower than with one share.

    A model is evaluated at most 11 + 4 · 16 = 75 times on the same validation images, so that with
    few of them some of what is gained there is chance. Returns the first share, the share of each
    group, and every share tried with its scores.
    """
    new, old = snapshot(ending.parameters), ending.anchor()
    whole = best_share(ending, new, old)
    first: float = whole["mixing"]
    tried = list(whole["tried"])
    best = max(map(a_acc, tried))
    groups = layer_groups(ending.parameters)
    shares = dict.fromkeys(groups, first)
    for layer, names in reversed(groups.items()):
        parameters = {name: ending.parameters[name] for name in names}
        for share in _candidates(shares[layer]):
            mix(parameters, new, old, share)
            tried.append({"layer": layer, **scored(ending, share)})
            if a_acc(tried[-1]) > best:
                best, shares[layer] = a_acc(tried[-1]), share
        mix(parameters, new, old, shares[layer])
    layers = [{"layer": layer, "mixing": share} for layer, share in shares.items()]
    return {"mixing": first, "layers": layers, "tried": tried}


def _candidates(share: float) -> list[float]:
    """Return the shares to try instead of a share, smallest first."""
    near = {round(min(1.0, max(0.0, share + step)), 1) for step in (-STEP, STEP)}
    return sorted({0.0, *near, 1.0} - {share})
