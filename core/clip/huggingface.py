"""Names and layout of a model's tensors in `CLIPModel` and `SiglipModel` of transformers.

Exports write them, imports read them.
"""

from collections.abc import Iterator, Mapping

from torch import Tensor

Places = Mapping[str, list[Tensor]]

IMAGE_PREFIX, TEXT_PREFIX = "vision_model.", "text_model."
_POOLING = "visual.trunk.attn_pool.latent"  # a tensor that only SigLIP's image towers have
_TRUNK = "visual.trunk."  # of timm

_WHOLE = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "class_embedding": "embeddings.class_embedding",
    "conv1.weight": "embeddings.patch_embedding.weight",
}
_LAYERS = {
    "ln_pre": "pre_layrnorm",  # as transformers spells it
    "ln_post": "post_layernorm",
    "ln_final": "final_layer_norm",
    "text_projection": "head",  # of SigLIP
}
_IN_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_PROJECTIONS = {"visual.proj": "visual_projection", "text_projection": "text_projection"}
_BLOCKS = "transformer.resblocks."

_TRUNK_LAYERS = {
    "patch_embed.proj": "embeddings.patch_embedding",
    "norm": "post_layernorm",
    "attn_pool.proj": "head.attention.out_proj",
    "attn_pool.norm": "head.layernorm",
    "attn_pool.mlp.fc1": "head.mlp.fc1",
    "attn_pool.mlp.fc2": "head.mlp.fc2",
}
_IN_TRUNK_BLOCK = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.proj": "self_attn.out_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def huggingface_places(state: Mapping[str, Tensor]) -> Places:
    """Return a model's tensors as views that transformers name and shape.

    Projections are transposed, and a joint weight of queries, keys and values becomes three. Where
    transformers join several tensors, a name has these parts in their order, along dimension 0.
    Raises KeyError for a tensor that neither model has a place for.
    """
    places: dict[str, list[Tensor]] = {}
    for old, tensor in state.items():
        for name, part in _siglip(old, tensor) if _POOLING in state else _clip(old, tensor):
            places.setdefault(name, []).append(part)
    return places


def _clip(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if name == "logit_scale":
        yield name, tensor.reshape(())
    elif name in _PROJECTIONS:
        yield f"{_PROJECTIONS[name]}.weight", tensor.T
    elif name.startswith("visual."):
        yield from _prefixed(IMAGE_PREFIX, _in_tower(name.removeprefix("visual."), tensor))
    else:
        yield from _prefixed(TEXT_PREFIX, _in_tower(name, tensor))


def _siglip(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if name in {"logit_scale", "logit_bias"}:
        yield name, tensor.reshape(1)
    elif name.startswith(_TRUNK):
        yield from _prefixed(IMAGE_PREFIX, _in_trunk(name.removeprefix(_TRUNK), tensor))
    elif name.startswith("text."):
        yield from _prefixed(TEXT_PREFIX, _in_tower(name.removeprefix("text."), tensor))
    else:
        raise KeyError(name)


def _prefixed(prefix: str, found: Iterator[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    return ((prefix + name, part) for name, part in found)


# The towers of open_clip.


def _in_tower(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if name in _WHOLE:
        yield _WHOLE[name], tensor
    elif name.startswith(_BLOCKS):
        block, _, rest = name.removeprefix(_BLOCKS).partition(".")
        if rest.startswith("attn.in_proj_"):
            found = _queries_keys_values(rest.removeprefix("attn.in_proj_"), tensor)
        else:
            layer, _, kind = rest.rpartition(".")
            found = iter([(f"{_IN_BLOCK[layer]}.{kind}", tensor)])
        yield from _prefixed(f"encoder.layers.{block}.", found)
    else:
        layer, _, kind = name.rpartition(".")
        yield f"{_LAYERS[layer]}.{kind}", tensor


# SigLIP's image tower, of timm.


def _in_trunk(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    layer, _, kind = name.rpartition(".")
    if name == "pos_embed":
        yield "embeddings.position_embedding.weight", tensor[0]
    elif name == "attn_pool.latent":
        yield "head.probe", tensor
    elif layer in {"attn_pool.q", "attn_pool.kv"}:
        yield f"head.attention.in_proj_{kind}", tensor
    elif name.startswith("blocks."):
        _, block, rest = layer.split(".", 2)
        if rest == "attn.qkv":
            found = _queries_keys_values(kind, tensor)
        else:
            found = iter([(f"{_IN_TRUNK_BLOCK[rest]}.{kind}", tensor)])
        yield from _prefixed(f"encoder.layers.{block}.", found)
    else:
        yield f"{_TRUNK_LAYERS[layer]}.{kind}", tensor


def _queries_keys_values(kind: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    for letter, part in zip("qkv", tensor.chunk(3), strict=True):
        yield f"self_attn.{letter}_proj.{kind}", part
