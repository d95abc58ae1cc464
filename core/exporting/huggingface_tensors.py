"""Names and layout of a model's tensors in `CLIPModel` of transformers."""

from collections.abc import Iterator, Mapping

from torch import Tensor

_TOWERS = {"visual.": "vision_model.", "": "text_model."}  # the longer prefix first
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


def huggingface_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a model of open_clip as `CLIPModel` names and shapes them.

    Projections are transposed, and the joint weight of queries, keys and values becomes three.
    Raises KeyError for a tensor that `CLIPModel` has no place for.
    """
    return {
        new: tensor.contiguous()
        for name, old in state.items()
        for new, tensor in _renamed(name, old)
    }


def _renamed(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if name == "logit_scale":
        yield name, tensor.reshape(())
    elif name in _PROJECTIONS:
        yield f"{_PROJECTIONS[name]}.weight", tensor.T
    else:
        prefix = next(prefix for prefix in _TOWERS if name.startswith(prefix))
        rest = name.removeprefix(prefix)
        for new, part in _in_tower(rest, tensor):
            yield _TOWERS[prefix] + new, part


def _in_tower(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if name in _WHOLE:
        yield _WHOLE[name], tensor
    elif name.startswith(_BLOCKS):
        block, _, rest = name.removeprefix(_BLOCKS).partition(".")
        for new, part in _in_block(rest, tensor):
            yield f"encoder.layers.{block}.{new}", part
    else:
        layer, _, kind = name.rpartition(".")
        yield f"{_LAYERS[layer]}.{kind}", tensor


def _in_block(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if name.startswith("attn.in_proj_"):
        kind = name.removeprefix("attn.in_proj_")
        for letter, part in zip("qkv", tensor.chunk(3), strict=True):
            yield f"self_attn.{letter}_proj.{kind}", part
    else:
        layer, _, kind = name.rpartition(".")
        yield f"{_IN_BLOCK[layer]}.{kind}", tensor
