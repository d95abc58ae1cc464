"""Images, texts and tokens become what open_clip makes of them, in fewer steps and less memory."""

import io
from itertools import product

import pytest
import torch
from open_clip.transform import image_transform_v2
from PIL import Image

from core.clip.inputs import (
    Preprocess,
    encode_text,
    is_croppable,
    read_image,
    sentence_length,
)
from core.clip.model import ClipModel, require_readable
from core.errors import ClassInvalid, PromptInvalid, PromptTooLong
from core.recipes.fields import DEFAULT_PROMPT, PromptTemplate
from tests.support.learning.rounding import feature_error
from tests.support.learning.steps import in_double
from tests.support.learning.tiny_clip import tiny_clip, tiny_config


def picture(width: int, height: int, image_format: str = "WEBP") -> bytes:
    """A photograph-like gradient with a corner that tells left from right."""
    image = Image.new("RGB", (width, height))
    image.putdata(
        [
            (x * 255 // width, y * 255 // height, (x * y) % 256)
            for y in range(height)
            for x in range(width)
        ]
    )
    out = io.BytesIO()
    image.save(out, image_format, lossless=True)
    return out.getvalue()


SIZES = [(40, 30), (30, 40), (16, 16), (9, 31), (60, 9), (1, 1), (61, 17), (17, 61)]

INPUTS = [(16, 16), (17, 17), (12, 20), (20, 12)]  # height, width


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "random"])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_evaluation_input_equals_open_clips(mode: str, interpolation: str) -> None:
    config = {"resize_mode": mode, "interpolation": interpolation, "fill_color": 128}
    for size, given in product(SIZES, INPUTS):
        preprocess = Preprocess.of({**config, "mean": [0.4, 0.5, 0.6]}, given)
        image = read_image(picture(*size))
        ours = preprocess.normalise(preprocess.evaluation_pixels(image))
        theirs = image_transform_v2(preprocess.settings, is_train=False)(image)
        assert torch.equal(ours, theirs), (size, given)


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ((36, 36), (3, 18, 18)),
        ((72, 36), (3, 18, 36)),
        ((36, 54), (3, 27, 18)),
        ((8, 4), (3, 18, 36)),
    ],
)
def test_training_pixels_leave_a_margin_and_keep_the_shape(
    size: tuple[int, int], shape: tuple[int, int, int]
) -> None:
    assert tiny_clip().preprocess.training_pixels(read_image(picture(*size))).shape == shape


TEXTS = ("a photo of a red panda.", "an okapi", "this is a photo of the blue whale .")


@pytest.mark.parametrize("custom_text", [False, True])
def test_cropped_features_equal_full_length_ones(custom_text: bool) -> None:
    config = tiny_config()
    config["model_cfg"]["custom_text"] = custom_text
    model = in_double(tiny_clip(config=config))
    tokens = model.tokenise(TEXTS)
    assert is_croppable(model.network)
    full = model.network.encode_text(tokens)
    cropped = encode_text(model.network, tokens, end=49407)
    assert sentence_length(tokens, 49407) < tokens.shape[1]
    within = feature_error(model, torch.float64) * full.norm(dim=-1).max().item()
    torch.testing.assert_close(cropped, full, rtol=0, atol=within)


def test_cropped_gradients_equal_full_length_ones() -> None:
    model = in_double(tiny_clip())
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


@pytest.fixture(scope="module")
def reader() -> ClipModel:
    return tiny_clip()


def test_ordinary_names_are_read(reader: ClipModel) -> None:
    require_readable(reader, DEFAULT_PROMPT, ["cat", "Œuvre d'art", "東京", "👩‍🚀", "!"])


def test_prompt_that_just_fits_is_read_and_one_token_more_is_refused(reader: ClipModel) -> None:
    around = len(reader.tokenizer.encode(DEFAULT_PROMPT.text.replace("{name}", ""))) + 2
    name = "7" * (reader.context_length - around)  # each digit is a token of its own
    require_readable(reader, DEFAULT_PROMPT, [name])
    row = reader.tokenise([DEFAULT_PROMPT.fill(name)])[0]
    assert torch.equal(row[-1:], torch.tensor([reader.tokenizer.frame.end]))
    with pytest.raises(PromptTooLong) as refusal:
        require_readable(reader, DEFAULT_PROMPT, ["cat", name + "7"])
    assert refusal.value.facts["classes"] == [name + "7"]
    assert str(reader.context_length - 2) in refusal.value.message


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("a {name}", "&nbsp;"),
        ("a {name}", "\ufeff"),
        ("a {name}", "<end_of_text>"),
        ("a {name}", "cat <START_OF_TEXT>"),
        ("a {name}", "&amp;lt;end_of_text&gt; cat"),
        ("a <{name}>", "end_of_text"),
    ],
)
def test_name_that_is_nothing_or_an_end_to_the_tokenizer_is_refused(
    reader: ClipModel, template: str, name: str
) -> None:
    with pytest.raises(ClassInvalid) as refusal:
        require_readable(reader, PromptTemplate(template), ["cat", name])
    assert refusal.value.facts["classes"] == [name]


@pytest.mark.parametrize("template", ["a {name} <end_of_text>", "&lt;start_of_text&gt;{name}"])
def test_template_that_ends_the_sentence_itself_is_refused(
    reader: ClipModel, template: str
) -> None:
    with pytest.raises(PromptInvalid) as refusal:
        require_readable(reader, PromptTemplate(template), ["cat"])
    assert refusal.value.facts["template"] == template
