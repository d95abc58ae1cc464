"""What is minimised: images and names of one concept belong together, whatever drew the image."""

from torch import Tensor
from torch.nn import functional as F


def contrast(
    images: Tensor, texts: Tensor, *, owner: Tensor, smoothing: float,
    text_weight: float, scale: Tensor,
) -> Tensor:  # fmt: skip
    """Cross entropy both ways, for unit vectors.

    `images` (images, d), `texts` (concepts, d): one sentence for each concept of the batch,
    `owner` (images,): the row of `texts` that an image belongs to. (Remembered sentences of
    other concepts as more negatives were tried: the towers learn to tell fresh from stale instead.)
    """
    image_loss = F.cross_entropy(
        scale * images @ texts.T, owner, label_smoothing=smoothing
    )  # fmt: skip
    belongs = F.one_hot(owner, len(texts)).T.float()  # (concepts, images)
    wanted = belongs / belongs.sum(1, keepdim=True)
    text_loss = F.cross_entropy(scale * texts @ images.T, wanted, label_smoothing=smoothing)
    return (1 - text_weight) * image_loss + text_weight * text_loss
