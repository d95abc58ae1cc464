"""The rectification of one weight, and which weights of a CLIP model are linear."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parametrize

from benchmarks.baselines import Rectification, linear_weights
from core.clip.model import empty_network
from tests.support.learning.tiny_clip import tiny_clip

BUNDLED = Path(__file__).parents[4] / "models" / "tiny" / "open_clip_config.json"

BLOCK = ("attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")

torch.set_num_threads(1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(sum(shape)), dtype=torch.float64)


def moved(weight: Tensor, *, transposed: bool = False) -> Rectification:
    """A rectification that is no longer at its start."""
    found = Rectification(weight, generator(), rank=2, transposed=transposed)
    for parameter in found.parameters():
        parameter.data.copy_(drawn(*parameter.shape))
    return found


@pytest.mark.parametrize(
    ("shape", "transposed"), [((6, 5), False), ((5, 6), True), ((6, 3, 2, 2), False)]
)
def test_its_gradients_follow_the_chain_rule(shape: tuple[int, ...], transposed: bool) -> None:
    """With G the gradient of W': dA = ((1+s) G) Bᵀ, dB = Aᵀ ((1+s) G), ds = Σ G (W + A B)."""
    weight, gradient = drawn(*shape), drawn(*shape, 1).reshape(shape)
    found = moved(weight, transposed=transposed)
    result = found(weight)
    (result * gradient).sum().backward()
    W = weight.T if transposed else weight.reshape(6, -1)
    G = gradient.T if transposed else gradient.reshape(6, -1)
    A, B, s = (p.detach() for p in (found.A, found.B, found.s))
    expected = torch.diag(1 + s) @ (W + A @ B)
    torch.testing.assert_close(result.T if transposed else result.reshape(6, -1), expected)
    torch.testing.assert_close(found.A.grad, torch.diag(1 + s) @ G @ B.T)
    torch.testing.assert_close(found.B.grad, A.T @ torch.diag(1 + s) @ G)
    torch.testing.assert_close(found.s.grad, (G * (W + A @ B)).sum(dim=1))


@pytest.mark.parametrize("transposed", [False, True])
def test_at_its_start_it_changes_no_bit_and_only_the_scale_and_a_have_gradients(
    transposed: bool,
) -> None:
    weight = drawn(4, 7)
    found = Rectification(weight, generator(), rank=2, transposed=transposed)
    result = found(weight)
    assert torch.equal(result, weight)
    result.square().sum().backward()
    gradients = {name: float(p.grad.abs().sum()) for name, p in found.named_parameters()}
    assert gradients["A"] > 0
    assert gradients["s"] > 0
    assert gradients["B"] == 0


def test_b_is_drawn_from_the_generator_with_variance_one_over_inputs() -> None:
    one, again, other = (
        Rectification(torch.zeros(3, 400), generator(seed), rank=50).B for seed in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert float(one.detach().var()) * 400 == pytest.approx(1, rel=0.05)


def test_half_precision_around_it_does_not_round_it() -> None:
    weight = drawn(6, 5).float()
    found = moved(weight)
    with torch.autocast("cpu", torch.bfloat16):
        inside = found(weight)
    assert torch.equal(inside, found(weight))


def test_the_linear_weights_of_a_transformer() -> None:
    network = tiny_clip().network
    names = [name for name, _ in network.named_parameters()]
    found = {name: transposed for name, _, _, transposed in linear_weights(network, names)}
    blocks = (
        "visual.transformer.resblocks.0",
        "transformer.resblocks.0",
        "transformer.resblocks.1",
    )
    plain = ["visual.conv1.weight", *(f"{block}.{leaf}" for block in blocks for leaf in BLOCK)]
    assert found == dict.fromkeys(plain, False) | {"visual.proj": True, "text_projection": True}


def test_the_linear_weights_of_the_bundled_model_are_all_matrices_but_embeddings() -> None:
    network = empty_network(json.loads(BUNDLED.read_text()))
    matrices = {name for name, parameter in network.named_parameters() if parameter.ndim > 1}
    names = [name for name, _ in network.named_parameters()]
    found = {name for name, *_ in linear_weights(network, names)}
    assert matrices - found == {"token_embedding.weight", "positional_embedding"}
    assert found < matrices


def test_a_projections_scale_is_of_the_features_dimensions() -> None:
    model = tiny_clip()
    pixels, tokens = torch.randn(3, 3, 16, 16, generator=generator()), model.tokenise(["a", "b c"])

    def encode() -> tuple[Tensor, Tensor]:
        return model.network.encode_image(pixels), model.network.encode_text(tokens)

    with torch.no_grad():
        before = encode()
        for name, layer, leaf, transposed in linear_weights(
            model.network, ["visual.proj", "text_projection"]
        ):
            weight = model.network.get_parameter(name)
            found = Rectification(weight, generator(), rank=2, transposed=transposed)
            found.s.copy_(torch.arange(16))
            parametrize.register_parametrization(layer, leaf, found)
        after = encode()
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new, old * (1 + torch.arange(16)))
