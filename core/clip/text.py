"""The text tower, run only up to the end of the longest sentence."""

from typing import Any

from open_clip import CLIP, CustomTextCLIP
from open_clip.transformer import TextTransformer, text_global_pool
from torch import Tensor, nn


def sentence_lengths(tokens: Tensor, end: int) -> Tensor:
    """Return the number of tokens of each sentence (sentences,), start and end token included.

    `tokens` holds ids, (sentences, context); every row contains `end`.
    """
    return (tokens == end).int().argmax(dim=1) + 1


def sentence_length(tokens: Tensor, end: int) -> int:
    """Return the number of tokens of the longest sentence."""
    return int(sentence_lengths(tokens, end).max())


def is_croppable(network: nn.Module) -> bool:
    """Return whether nothing after a sentence's end token can change its feature.

    True for causal towers that pool at the end token: there, cropping is exact. Others (no
    causal mask, a class token at the end, another pooling) must run at full length.
    """
    tower = _tower(network)
    if isinstance(tower, CLIP):
        pool = tower.text_pool_type
    elif type(tower) is TextTransformer and tower.cls_emb is None and not tower.output_tokens:
        pool = tower.pool_type
    else:
        return False
    return tower.attn_mask is not None and pool in {"argmax", "eos"}


def encode_text(network: nn.Module, tokens: Tensor, *, end: int) -> Tensor:
    """Return what `network.encode_text` does, features not normalised, for less computation.

    `tokens` is (sentences, context); the result is (sentences, width of the joint space).
    """
    if not is_croppable(network):
        features: Tensor = network.encode_text(tokens)  # type: ignore[operator]
        return features
    tower = _tower(network)
    length = sentence_length(tokens, end)
    tokens = tokens[:, :length]
    dtype = tower.transformer.get_cast_dtype()
    words = tower.token_embedding(tokens).to(dtype)  # (sentences, length, width)
    words = words + tower.positional_embedding[:length].to(dtype)
    words = tower.transformer(words, attn_mask=tower.attn_mask[:length, :length])
    pooled: Tensor = text_global_pool(  # (sentences, width)
        tower.ln_final(words),
        tokens,
        tower.text_pool_type if isinstance(tower, CLIP) else tower.pool_type,
        eos_token_id=tower.text_eos_id if isinstance(tower, CLIP) else tower.eos_id,
    )
    return _projected(pooled, tower.text_projection)


def _projected(pooled: Tensor, projection: nn.Linear | Tensor | None) -> Tensor:
    if projection is None:
        return pooled
    if isinstance(projection, nn.Linear):
        return projection.forward(pooled)
    return pooled @ projection


def _tower(network: nn.Module) -> Any:
    return network.text if isinstance(network, CustomTextCLIP) else network
