"""A CLIP model: towers, tokenizer and image preprocessing."""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cached_property, lru_cache
from typing import Any, Self, cast

import torch
from open_clip import CLIP, CustomTextCLIP
from torch import Tensor, nn

from core.clip.images import Preprocess
from core.clip.text import encode_text
from core.clip.tokenizer import BoundedTokenizer
from core.domain.registry.architecture import context_length
from core.domain.values import Json


class ClipModel:
    """A network that open_clip built, with its tokenizer and image preprocessing.

    `config` is the content of an `open_clip_config.json`. Features are L2-normalised fp32 rows.
    """

    def __init__(self, *, network: nn.Module, config: Json) -> None:
        self.network = network
        self.config = config

    @classmethod
    def build(cls, config: Json, state: Mapping[str, Tensor], device: torch.device) -> Self:
        """Build the model of a config and its tensors, in evaluation mode."""
        network = empty_network(config)
        network.load_state_dict(state)
        # Older releases of torch declare no call of `to` with a layout alone.
        cast("Any", network.to(device)).to(memory_format=torch.channels_last)
        return cls(network=network.eval(), config=config)

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.network.parameters()).device

    @property
    def logit_scale(self) -> nn.Parameter:
        """ln s: the logarithm of the factor that similarities are multiplied by."""
        return self.network.get_parameter("logit_scale")

    @property
    def scale(self) -> Tensor:
        """s, the factor that similarities are multiplied by: a scalar tensor."""
        return self.logit_scale.exp().reshape(())

    @property
    def context_length(self) -> int:
        """The number of tokens of a sentence, start and end token included."""
        return context_length(self.config)

    @property
    def trained_tokens(self) -> tuple[int, ...]:
        """Ids of the tokens in the model's training texts; empty if the config lists none."""
        return tuple(self.config.get("perennial", {}).get("trained_tokens", ()))

    @cached_property
    def tokenizer(self) -> BoundedTokenizer:
        """CLIP's own tokenizer, at this model's context length."""
        settings = self.config["model_cfg"]["text_cfg"].get("tokenizer_kwargs", {})
        return _tokenizer(self.context_length, json.dumps(settings, sort_keys=True))

    @cached_property
    def preprocess(self) -> Preprocess:
        """The image preprocessing."""
        tower: Any = self.network.visual
        return Preprocess.of(self.config.get("preprocess_cfg", {}), tower.image_size)

    def tokenise(self, texts: Sequence[str]) -> Tensor:
        """Return token ids, (texts, context length), on the CPU; longer texts are cut."""
        tokens: Tensor = self.tokenizer(list(texts), context_length=self.context_length)
        return tokens

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Return features (images, width) of uint8 pixels (images, 3, height, width)."""
        inputs = self.preprocess.normalise(pixels.to(self.device))
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        return _normalised(self.network.encode_image(inputs))  # type: ignore[operator]

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Return features (sentences, width) of token ids (sentences, up to context length)."""
        end = self.tokenizer.eot_token_id
        return _normalised(encode_text(self.network, tokens.to(self.device), end=end))

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Return features (texts, width) of texts."""
        return self.encode_tokens(self.tokenise(texts))

    @property
    def visual(self) -> nn.Module:
        """The image tower."""
        return self.network.get_submodule("visual")

    def checkpoint_gradients(self) -> None:
        """Recompute activations in the backward pass: less memory for a third more computation."""
        self.network.set_grad_checkpointing(True)  # type: ignore[operator]

    def freeze(self) -> Self:
        """Disable gradients, switch to evaluation mode and return the model."""
        self.network.requires_grad_(False).eval()
        return self


def empty_network(config: Json) -> nn.Module:
    """Return a config's network with random weights, as `open_clip.create_model` builds it."""
    settings = deepcopy(dict(config["model_cfg"]))
    custom_text = settings.pop("custom_text", False)
    if "timm_model_name" in settings["vision_cfg"]:
        settings["vision_cfg"]["timm_model_pretrained"] = False
    network: nn.Module = (CustomTextCLIP if custom_text else CLIP)(**settings)
    return network


@lru_cache(maxsize=8)
def _tokenizer(context_length: int, settings: str) -> BoundedTokenizer:
    return BoundedTokenizer(context_length=context_length, **json.loads(settings))


def _normalised(features: Tensor) -> Tensor:
    features = features if features.dtype == torch.float64 else features.float()
    lengths: Tensor = features.norm(dim=-1, keepdim=True)
    return features / lengths
