"""A CLIP model: towers, tokenizer and image preprocessing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from functools import cached_property
from typing import Any, Self, cast

import torch
from open_clip import CLIP, CustomTextCLIP
from torch import Tensor, nn

from core.artifacts.store import Artifacts, BytesCallback, ignore_bytes
from core.clip.inputs import Preprocess, encode_text
from core.clip.text_towers import built_text_cfg
from core.engines.served import AT_ONCE, STORED, read_array
from core.engines.tokens import Tokenizer, tokenizer_of
from core.errors import ClassInvalid, PromptInvalid, PromptTooLong, StorageFull
from core.recipes.fields import PromptTemplate
from core.registry.architecture import TOKENIZER, context_length
from core.registry.text_towers import text_tower_name
from core.registry.versions import TensorEntry, Weights
from core.values import Digest, Json


class ClipModel:
    """A network that open_clip built, with its tokenizer and image preprocessing.

    `config` is the content of an `open_clip_config.json`. Features are L2-normalised fp32 rows.
    """

    def __init__(self, *, network: nn.Module, config: Json) -> None:
        self.network = network
        self.config = config

    @classmethod
    def build(cls, config: Json, state: Mapping[str, Tensor], device: torch.device) -> Self:
        """Build the model of a config and its tensors, in evaluation mode.

        On a GPU, torch computes convolutions of fp32 with the 10 bits of TF32 unless it is told not
        to: then scores would depend on the machine.
        """
        torch.backends.cudnn.allow_tf32 = False
        network = empty_network(config)
        if TOKENIZER in state:
            network.register_buffer(TOKENIZER, torch.empty_like(state[TOKENIZER]))
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
    def bias(self) -> Tensor | None:
        """b, which SigLIP adds to the logit of each pair: a scalar tensor."""
        found: Tensor | None = self.network.logit_bias  # type: ignore[assignment]
        return None if found is None else found.reshape(())

    @property
    def context_length(self) -> int:
        """The number of tokens of a sentence, start and end token included."""
        return context_length(self.config)

    @property
    def trained_tokens(self) -> tuple[int, ...]:
        """Ids of the tokens in the model's training texts; empty if the config lists none."""
        return tuple(self.config.get("perennial", {}).get("trained_tokens", ()))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's own tokenizer or CLIP's, at this model's context length."""
        return tokenizer_of(self.config, self.tokenizer_file)

    @property
    def tokenizer_file(self) -> bytes | None:
        """The `tokenizer.json` of a model that has a tokenizer of its own, a buffer of bytes."""
        held = dict(self.network.named_buffers()).get(TOKENIZER)
        return None if held is None else held.numpy(force=True).tobytes()

    @cached_property
    def preprocess(self) -> Preprocess:
        """The image preprocessing."""
        tower: Any = self.network.visual
        return Preprocess.of(self.config.get("preprocess_cfg", {}), tower.image_size)

    def tokenise(self, texts: Sequence[str]) -> Tensor:
        """Return token ids, (texts, context length), on the CPU; longer texts are cut."""
        return torch.from_numpy(self.tokenizer.rows(texts))

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Return features (images, width) of uint8 pixels (images, 3, height, width)."""
        inputs = self.preprocess.normalise(pixels.to(self.device))
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        return normalised(self.network.encode_image(inputs))  # type: ignore[operator]

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Return features (sentences, width) of token ids (sentences, up to context length)."""
        end = self.tokenizer.frame.end
        return normalised(encode_text(self.network, tokens.to(self.device), end=end))

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
    """Return a config's network with random weights, as `open_clip.create_model` builds it.

    An image tower of timm also has the GELU that `act_kwargs` asks for, which open_clip ignores.
    Raises ModelNotTrainable for a text tower of transformers that cannot be built.
    """
    settings = deepcopy(dict(config["model_cfg"]))
    custom_text = settings.pop("custom_text", False) or text_tower_name(settings) is not None
    if "timm_model_name" in settings["vision_cfg"]:
        settings["vision_cfg"]["timm_model_pretrained"] = False
    with built_text_cfg(config) as settings["text_cfg"]:
        network: nn.Module = (CustomTextCLIP if custom_text else CLIP)(**settings)
    if approximate := _gelu_of_timm(settings["vision_cfg"]):
        for module in network.get_submodule("visual").modules():
            if isinstance(module, nn.GELU):
                module.approximate = approximate
    return network


def _gelu_of_timm(vision_cfg: Json) -> str | None:
    if "timm_model_name" not in vision_cfg:
        return None  # open_clip has told its own towers
    return (vision_cfg.get("act_kwargs") or {}).get("approximate")


def normalised(features: Tensor) -> Tensor:
    """Return features (inputs, width) in fp32, or fp64 if they are, divided by their lengths."""
    features = features if features.dtype == torch.float64 else features.float()
    lengths: Tensor = features.norm(dim=-1, keepdim=True)
    return features / lengths


# Checks before training that a model can read class names and prompts.

SHOWN = 20  # names that an error lists


def require_readable(model: ClipModel, prompt: PromptTemplate, names: Sequence[str]) -> None:
    """Raise unless the model reads every class name and its whole prompt.

    Raises ClassInvalid for names without any token or with an unknown letter, and for names whose
    prompt contains a start or end token, at which the sentence would end; PromptInvalid if the
    template itself contains one.
    Raises PromptTooLong if a prompt would be cut, because several classes could share what is left
    of it. Only the tokenizer knows the number of tokens of a text; it is at most that of its bytes.
    """
    tokenizer = model.tokenizer
    encode, special = tokenizer.encode, {*tokenizer.special}
    if special & set(encode(prompt.fill("a"))):
        raise PromptInvalid(
            "The prompt template contains the tokenizer's start or end token.",
            template=prompt.text,
        )
    unreadable = [
        name
        for name in names
        if not encode(name)
        or not special.isdisjoint(encode(prompt.fill(name)))
        or not set(tokenizer.unknown).isdisjoint(encode(name))
    ]
    if unreadable:
        raise ClassInvalid(
            "The model's tokenizer finds no tokens, a letter that it does not know, or a start or "
            f"end token, in: {_listed(unreadable)}.",
            classes=unreadable[:SHOWN],
        )
    longest = tokenizer.frame.room
    too_long = [name for name in names if len(encode(prompt.fill(name))) > longest]
    if too_long:
        raise PromptTooLong(
            f"The model's prompts have at most {longest} tokens; those of these classes are "
            f"longer: {_listed(too_long)}. Shorten the names or the template {prompt.text!r}.",
            classes=too_long[:SHOWN],
            tokens=longest,
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more


# Weights in the artifact store, one artifact per tensor.

_NAMES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def publish(
    config: Json,
    state: Mapping[str, Tensor],
    artifacts: Artifacts,
    advance: Callable[[int, int], None],
    moved: BytesCallback = ignore_bytes,
) -> Weights:
    """Store every tensor and the list of them; return the weights, whose digest is the list's.

    Half-precision tensors become fp32. `advance(done, total)` is called after each tensor. Raises
    StorageFull, whose `needed_bytes` is the most that the tensors not stored yet can take.
    """
    entries: list[TensorEntry] = []
    try:
        with _transfer_pool() as pool:
            stored = pool.map(
                lambda name: _store(name, state[name], artifacts, moved), sorted(state)
            )
            for done, entry in enumerate(stored, start=1):
                entries.append(entry)
                advance(done, len(state))
    except StorageFull as fault:
        needed = published_bytes(state) - sum(entry.size for entry in entries)
        free = fault.facts.get("free_bytes")
        raise StorageFull(fault.message, needed_bytes=needed, free_bytes=free) from fault
    weights = Weights(config=config, tensors=tuple(entries))
    artifacts.put(weights.to_bytes(), moved)
    return weights


def published_bytes(state: Mapping[str, Tensor]) -> int:
    """Return the number of bytes that the tensors take once published."""
    return sum(
        tensor.numel() * (4 if _is_half(tensor) else tensor.itemsize) for tensor in state.values()
    )


def load(
    digest: Digest,
    artifacts: Artifacts,
    device: torch.device | None = None,
    moved: BytesCallback = ignore_bytes,
) -> ClipModel:
    """Load the model of a version's digest. Raises ArtifactMissing or ArtifactCorrupt."""
    weights = Weights.from_bytes(artifacts.get(digest, moved))
    return ClipModel.build(
        weights.config, read_state(weights, artifacts, moved), device or torch.device("cpu")
    )


def read_state(
    weights: Weights, artifacts: Artifacts, moved: BytesCallback = ignore_bytes
) -> dict[str, Tensor]:
    """Return the tensors of weights by name, each verified against its digest."""

    def read(entry: TensorEntry) -> Tensor:
        return torch.from_numpy(read_array(entry, artifacts, moved))

    with _transfer_pool() as pool:
        tensors = pool.map(read, weights.tensors)
        return {entry.name: tensor for entry, tensor in zip(weights.tensors, tensors, strict=True)}


@contextmanager
def _transfer_pool() -> Iterator[ThreadPoolExecutor]:
    """Yield a thread pool; transfers not begun are cancelled on an error or a stop request."""
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="tensors")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _is_half(tensor: Tensor) -> bool:
    return tensor.dtype in {torch.float16, torch.bfloat16}


def _store(name: str, tensor: Tensor, artifacts: Artifacts, moved: BytesCallback) -> TensorEntry:
    tensor = tensor.detach().cpu().contiguous()
    if _is_half(tensor):
        tensor = tensor.float()
    dtype = _NAMES[tensor.dtype]
    values = tensor.reshape(-1).numpy().astype(STORED[dtype], copy=False)
    return TensorEntry(
        name=name,
        dtype=dtype,
        shape=tuple(tensor.shape),
        digest=artifacts.put(values.view("u1").data, moved),
        size=values.nbytes,
    )
