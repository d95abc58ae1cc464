"""The cropped text tower gives what the full-length one gives."""

import pytest
import torch

from core.clip.inputs import encode_text, is_croppable, sentence_length
from core.clip.model import ClipModel
from tests.support.learning.rounding import feature_error
from tests.support.learning.tiny_clip import tiny_clip, tiny_config

TEXTS = ("a photo of a red panda.", "an okapi", "this is a photo of the blue whale .")


@pytest.fixture
def model() -> ClipModel:
    model = tiny_clip()
    model.network.double()
    return model


def test_cropped_features_equal_full_length_ones(model: ClipModel) -> None:
    tokens = model.tokenise(TEXTS)
    full = model.network.encode_text(tokens)
    cropped = encode_text(model.network, tokens, end=49407)
    assert sentence_length(tokens, 49407) < tokens.shape[1]
    within = feature_error(model, torch.float64) * full.norm(dim=-1).max().item()
    torch.testing.assert_close(cropped, full, rtol=0, atol=within)


def test_cropped_gradients_equal_full_length_ones(model: ClipModel) -> None:
    tokens = model.tokenise(TEXTS)
    weights = torch.randn(3, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    names = [name for name, _ in model.network.named_parameters() if "visual" not in name]
    found = []
    for run in (model.network.encode_text, lambda ids: encode_text(model.network, ids, end=49407)):
        model.network.zero_grad()
        (run(tokens) * weights).sum().backward()
        grads = [model.network.get_parameter(name).grad for name in names]
        found.append([None if grad is None else grad.clone() for grad in grads])
    for full, cropped in zip(*found, strict=True):
        assert (full is None) == (cropped is None)
        if full is not None:
            within = feature_error(model, torch.float64) * full.abs().max().item()
            torch.testing.assert_close(cropped, full, rtol=0, atol=within)


def test_the_causal_tower_of_a_custom_text_model_is_cropped_too() -> None:
    config = tiny_config()
    config["model_cfg"]["custom_text"] = True
    model = tiny_clip(config=config)
    model.network.double()
    tokens = model.tokenise(TEXTS)
    assert is_croppable(model.network)
    torch.testing.assert_close(
        encode_text(model.network, tokens, end=49407), model.network.encode_text(tokens)
    )


@pytest.mark.parametrize("change", [{"no_causal_mask": True}, {"pool_type": "last"}])
def test_a_tower_that_looks_behind_the_end_runs_at_full_length(change: dict[str, object]) -> None:
    model = tiny_clip(config=tiny_config(**change))
    tokens = model.tokenise(TEXTS)
    assert not is_croppable(model.network)
    assert torch.equal(
        encode_text(model.network, tokens, end=49407), model.network.encode_text(tokens)
    )


def test_features_have_length_one_and_do_not_depend_on_their_neighbours() -> None:
    model = tiny_clip()
    together = model.encode_texts(TEXTS)
    assert together.shape == (3, 16)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(model.encode_texts(TEXTS[1:2]), together[1:2])
