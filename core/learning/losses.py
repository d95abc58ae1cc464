"""The losses of continual CLIP updates, with the symbols of VR-LwF (Ding et al., 2207.09248).

I, T, C and P are the L2-normalised features of images, class prompts, captions and random
sentences; s is the scale. The student's symbols are plain; the frozen teacher's have a prime: I',
T', P', s'.

    Z = s I Tᵀ    Z' = s' I' T'ᵀ    class logits       (images, classes)
    V = s I Pᵀ    V' = s' I' P'ᵀ    sentence logits    (images, sentences)
    K = s I Cᵀ [ + b ]              caption logits     (images, captions)

    VR-LwF   L = L_ce(Z, y) + α L_vr(V, V')  [ + α' L_lwf(Z, Z') if classes were learned before ]
    crossed  L + β L_cross
    LwF      L = L_ce(Z, y) + α' L_lwf(Z, Z')
    ZSCL     L = L_ce(Z, y) + γ L_zscl(S, S')          S = s I_R E'ᵀ over a reference set

A captioned image has L_con in place of L_ce, or L_sig if the model has a logit bias b. In a batch
where a share c of the images is captioned,

    L_ce is the sum over the others, divided by all images; L_con and L_sig are weighted by c

All except L_con, L_sig and L_zscl are means over images, so a batch may be split into parts.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def logits(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Return Z = s I Tᵀ or V = s I Pᵀ, (images, texts)."""
    return scale * images @ texts.T


def cross_entropy(class_logits: Tensor, target: Tensor) -> Tensor:
    """Return L_ce, the mean over images of −ln softmax(Z)[y], which is 0 without a class.

    `target` is y, column indices or `vocabulary.NO_CLASS` (images,).
    """
    return F.cross_entropy(class_logits, target, reduction="sum") / len(target)


def contrastive(caption_logits: Tensor, positive: Tensor) -> Tensor:
    """Return L_con, the mean of −Σ Q ln softmax over images, and over captions of Kᵀ, halved.

    `positive` is Y (images, captions), true where a caption is one of the image's; a row of Q is
    the row of Y divided by its sum. With one caption an image it is the loss that CLIP was trained
    with. Captions that say the same are no negatives of each other's images. It compares all
    captions of a batch, so a batch cannot be split: see `parts.py`.
    Source: UniCL (Yang et al., 2204.03610) for the rows of Q.
    """
    by_image = _several(caption_logits, positive)
    return (by_image + _several(caption_logits.T, positive.T)) / 2


def sigmoid(caption_logits: Tensor, positive: Tensor) -> Tensor:
    """Return L_sig, the sum over captions of −ln σ(±K), as a mean over images.

    `caption_logits` is K with its bias and `positive` is Y (images, captions), true where a caption
    is one of the image's: there the sign is +, elsewhere −. So an image may have any number of
    captions, each a question of its own. A batch cannot be split, because each image meets the
    captions of all: see `parts.py`.
    Source: SigLIP (Zhai et al., 2303.15343), equation 1 and algorithm 1.
    """
    signed = torch.where(positive, caption_logits, -caption_logits)
    return -F.logsigmoid(signed).sum(dim=1).mean()


def _several(rows: Tensor, positive: Tensor) -> Tensor:
    wanted = positive / positive.sum(dim=1, keepdim=True)
    return -(wanted * F.log_softmax(rows, dim=1)).sum(dim=1).mean()


def distillation(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Return D(S, R; τ), the mean over images of KL(q ‖ p).

    q = softmax(R/τ) is the teacher's distribution, p = softmax(S/τ) the student's. The gradient
    at S is (p − q) / (τ · images). As in the paper, there is no factor τ².
    """
    log_p = F.log_softmax(student / temperature, dim=1)  # (images, texts)
    log_q = F.log_softmax(teacher / temperature, dim=1)  # (images, texts)
    return F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)


def vr_lwf(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Return L_vr = D(V, V'; τ), which preserves each image's ranking of the replayed sentences."""
    return distillation(student, teacher, temperature)


def lwf(student: Tensor, teacher: Tensor, seen: Tensor, temperature: float = 1.0) -> Tensor:
    """Return L_lwf = D(Z, Z'; τ) over the columns `seen`: the classes learned before and now."""
    return distillation(student[:, seen], teacher[:, seen], temperature)


def cross(new_on_old: Tensor, old_on_new: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return L_cross = D(s' I P'ᵀ, V'; τ) + D(s' I' Pᵀ, V'; τ).

    Each term compares one of the student's towers with the teacher's other tower. L_vr depends
    only on products of the student's own features, so rotating both towers together does not
    change it. L_cross does change, and so keeps new vectors comparable with an existing index.
    """
    return distillation(new_on_old, teacher, temperature) + distillation(
        old_on_new, teacher, temperature
    )


def soft_cross_entropy(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return τ² · mean over rows of −Σ softmax(R/τ) ln softmax(S/τ).

    Its gradient has the direction of D's. On transposed logits, rows are texts and the softmax
    is over the batch: the loss is then no mean over images, and a batch cannot be split.
    Source: ZSCL (Zheng et al., 2303.06628).
    """
    q = F.softmax(teacher / temperature, dim=1)
    log_p = F.log_softmax(student / temperature, dim=1)
    return -(temperature**2) * (q * log_p).sum(dim=1).mean()
