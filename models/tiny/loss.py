"""The contrastive loss, in which all images of a concept match its text, whatever their style."""

from torch import Tensor
from torch.nn import functional as F


def contrast(
    images: Tensor, texts: Tensor, *, owner: Tensor, smoothing: float,
    text_weight: float, scale: Tensor,
) -> Tensor:  # fmt: skip
    """Return the weighted mean of the cross entropies image to text and text to image.

    `images` (images, d) and `texts` (concepts, d) are unit vectors, with one text for each concept
    of the batch; `owner` (images,) is the row of `texts` that an image belongs to. Sentences of
    other concepts from earlier steps were tried as further negatives: the towers learned to
    distinguish new from old features instead.
    """
    image_loss = F.cross_entropy(
        scale * images @ texts.T, owner, label_smoothing=smoothing
    )  # fmt: skip
    belongs = F.one_hot(owner, len(texts)).T.float()  # (concepts, images)
    wanted = belongs / belongs.sum(1, keepdim=True)
    text_loss = F.cross_entropy(scale * texts @ images.T, wanted, label_smoothing=smoothing)
    return (1 - text_weight) * image_loss + text_weight * text_loss
