"""The folder that `CLIPModel` and `CLIPProcessor` of transformers load."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from core.clip.inputs import Preprocess
from core.clip.model import ClipModel
from core.engines.tokens import ClipTokenizer
from core.exporting.towers import END, START, Towers, write_json, write_vocabulary
from core.registry.architecture import VOCABULARY
from core.values import Json

RESAMPLE = {"bilinear": 2, "bicubic": 3}  # Pillow's numbers
_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # in the messages of safetensors


def write_huggingface(model: ClipModel, folder: Path) -> None:
    """Write weights, config, tokenizer and preprocessing of a model that `CLIPModel` can hold."""
    tensors = huggingface_tensors(model.network.state_dict())
    _save(tensors, folder / "model.safetensors")
    write_json(folder / "config.json", clip_config(model.config))
    write_json(folder / "preprocessor_config.json", processor_config(model.preprocess))
    write_tokenizer(model, folder)


def write_tokenizer(model: ClipModel, folder: Path) -> None:
    """Write the files of `CLIPTokenizer`, which cuts texts to the model's context length."""
    if isinstance(model.tokenizer, ClipTokenizer):  # `require_exportable` has refused any other
        write_vocabulary(model.tokenizer, folder)
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": model.context_length,
        **special,
    }
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "special_tokens_map.json", special)


def clip_config(config: Json) -> dict[str, Any]:
    """Return the `config.json` of the model of an open_clip config."""
    settings = config["model_cfg"]
    vision, text = settings["vision_cfg"], settings["text_cfg"]
    activation = "quick_gelu" if settings.get("quick_gelu") else "gelu"
    image_size = vision.get("image_size", 224)
    width, text_width = vision.get("width", 768), text.get("width", 512)
    shared = {"hidden_act": activation, "projection_dim": settings["embed_dim"]}
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": settings["embed_dim"],
        "dtype": "float32",
        "torch_dtype": "float32",  # what releases before 5 read
        "vision_config": {
            **shared,
            "model_type": "clip_vision_model",
            "hidden_size": width,
            "intermediate_size": int(width * vision.get("mlp_ratio", 4.0)),
            "num_hidden_layers": vision.get("layers", 12),
            "num_attention_heads": width // vision.get("head_width", 64),
            "image_size": image_size if isinstance(image_size, int) else image_size[0],
            "patch_size": vision.get("patch_size", 16),
        },
        "text_config": {
            **shared,
            "model_type": "clip_text_model",
            "hidden_size": text_width,
            "intermediate_size": int(text_width * text.get("mlp_ratio", 4.0)),
            "num_hidden_layers": text.get("layers", 12),
            "num_attention_heads": text.get("heads", 8),
            "max_position_embeddings": text.get("context_length", 77),
            "vocab_size": VOCABULARY,
            "bos_token_id": VOCABULARY - 2,
            "eos_token_id": VOCABULARY - 1,
            "pad_token_id": VOCABULARY - 1,
        },
    }


def processor_config(preprocess: Preprocess) -> dict[str, Any]:
    """Return the `preprocessor_config.json` of a model's image preprocessing."""
    height, width = preprocess.size
    settings = preprocess.settings
    whole = {"height": height, "width": width}
    squashed = settings.resize_mode == "squash"
    return {
        "image_processor_type": "CLIPImageProcessor",
        "processor_class": "CLIPProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": whole if squashed else {"shortest_edge": height},
        "resample": RESAMPLE[settings.interpolation],
        "do_center_crop": not squashed,
        "crop_size": whole,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(settings.mean),
        "image_std": list(settings.std),
    }


def load_huggingface(folder: Path) -> Towers:
    """Load a folder as its users do."""
    from transformers import CLIPModel, CLIPProcessor
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model = CLIPModel.from_pretrained(folder, local_files_only=True).eval()
    processor = CLIPProcessor.from_pretrained(folder, local_files_only=True)

    def images(batch: list[Image.Image]) -> Tensor:
        inputs = processor(images=batch, return_tensors="pt")
        features: Tensor = model.visual_projection(model.vision_model(**inputs).pooler_output)
        return features

    def texts(batch: list[str]) -> Tensor:
        inputs = processor(text=batch, padding=True, truncation=True, return_tensors="pt")
        features: Tensor = model.text_projection(model.text_model(**inputs).pooler_output)
        return features

    return Towers(images=images, texts=texts)


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    """Write tensors to a file. Raises OSError, as the standard library does."""
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:
        if found := _OS_ERROR.search(str(error)):
            raise OSError(int(found[1]), str(error)) from error
        raise


# Names and layout of a model's tensors in `CLIPModel`.

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
