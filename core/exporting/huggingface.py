"""The folder that `CLIPModel` and `CLIPProcessor` of transformers load."""

import re
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from core.clip.huggingface import huggingface_places
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
    tensors = {  # each of one part: only SigLIP's have more
        name: part.contiguous()
        for name, (part,) in huggingface_places(model.network.state_dict()).items()
    }
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
