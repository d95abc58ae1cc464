"""The losses of continual CLIP updates, with the symbols of VR-LwF (Ding et al., 2207.09248).

I, T and P are the features of images, class prompts and random sentences, each row of length
one; s is the scale. The student's are plain; the frozen teacher's carry a prime: I', T', P', s'.

    Z = s I Tᵀ    Z' = s' I' T'ᵀ    class logits       (images, classes)
    V = s I Pᵀ    V' = s' I' P'ᵀ    sentence logits    (images, sentences)

    VR-LwF   L = L_ce(Z, y) + α L_vr(V, V')  [ + α' L_lwf(Z, Z') once classes were learned before ]
    crossed  L + β L_cross
    LwF      L = L_ce(Z, y) + α' L_lwf(Z, Z')
    ZSCL     L = L_ce(Z, y) + γ L_zscl(S, S')          S = s I_R E'ᵀ over a reference set

Every one but the last is a mean over images, so a batch may be read in parts.
"""

import torch.nn.functional as F
from torch import Tensor


def logits(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Z = s I Tᵀ, or V = s I Pᵀ."""
    return scale * images @ texts.T  # (images, texts)


def cross_entropy(class_logits: Tensor, target: Tensor) -> Tensor:
    """L_ce = mean over images of −ln softmax(Z)[y]; `target` is (images,) of column indices."""
    return F.cross_entropy(class_logits, target)


def distillation(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """D(S, R; τ) = KL(q ‖ p), mean over images, with q = softmax(R/τ) and p = softmax(S/τ).

    q is the teacher's: where it puts weight, the student must. Its gradient at S is
    (p − q) / (τ · images). There is no factor τ², as in the paper.
    """
    log_p = F.log_softmax(student / temperature, dim=1)  # (images, texts)
    log_q = F.log_softmax(teacher / temperature, dim=1)  # (images, texts)
    return F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)


def vr_lwf(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """L_vr = D(V, V'; τ): rank the replayed sentences against each image as the teacher does."""
    return distillation(student, teacher, temperature)


def lwf(student: Tensor, teacher: Tensor, seen: Tensor, temperature: float = 1.0) -> Tensor:
    """L_lwf = D(Z, Z'; τ) over the columns `seen`: classes learned before and current ones."""
    return distillation(student[:, seen], teacher[:, seen], temperature)


def cross(new_on_old: Tensor, old_on_new: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """L_cross = D(s' I P'ᵀ, V'; τ) + D(s' I' Pᵀ, V'; τ): each new tower against the old other one.

    L_vr sees only products of new with new, so turning both towers together leaves it as it
    is. These do not: they keep new vectors comparable with those in an existing index.
    """
    return distillation(new_on_old, teacher, temperature) + distillation(
        old_on_new, teacher, temperature
    )


def soft_cross_entropy(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """τ² · mean over rows of −Σ softmax(R/τ) ln softmax(S/τ); its gradient has D's direction.

    Source: ZSCL (Zheng et al., 2303.06628). On the transposes, rows are texts and the softmax
    is over the batch: then the loss is not a mean over images, and a batch is read whole.
    """
    q = F.softmax(teacher / temperature, dim=1)
    log_p = F.log_softmax(student / temperature, dim=1)
    return -(temperature**2) * (q * log_p).sum(dim=1).mean()
