"""Names that a model cannot read are told by name before it trains."""

import pytest
import torch

from core.clip.model import ClipModel, require_readable
from core.errors import ClassInvalid, PromptInvalid, PromptTooLong
from core.recipes.fields import DEFAULT_PROMPT, PromptTemplate
from tests.support.learning.tiny_clip import tiny_clip


@pytest.fixture(scope="module")
def model() -> ClipModel:
    return tiny_clip()


def fitting(model: ClipModel, tokens: int) -> str:
    """A name of digits, each a token of its own, whose prompt has so many tokens in all."""
    return "7" * (
        tokens - len(model.tokenizer.encode(DEFAULT_PROMPT.text.replace("{name}", ""))) - 2
    )


def test_ordinary_names_are_read(model: ClipModel) -> None:
    require_readable(model, DEFAULT_PROMPT, ["cat", "Œuvre d'art", "東京", "👩‍🚀", "!"])


def test_prompt_that_just_fits_is_read_and_one_token_more_is_refused(model: ClipModel) -> None:
    name = fitting(model, model.context_length)
    require_readable(model, DEFAULT_PROMPT, [name])
    row = model.tokenise([DEFAULT_PROMPT.fill(name)])[0]
    assert torch.equal(row[-1:], torch.tensor([model.tokenizer.eot_token_id]))
    with pytest.raises(PromptTooLong) as refusal:
        require_readable(model, DEFAULT_PROMPT, ["cat", name + "7"])
    assert refusal.value.facts["classes"] == [name + "7"]
    assert str(model.context_length - 2) in refusal.value.message


@pytest.mark.parametrize(
    "name",
    ["&nbsp;", "\ufeff", "<end_of_text>", "cat <START_OF_TEXT>", "&amp;lt;end_of_text&gt; cat"],
)
def test_name_that_is_nothing_or_an_end_to_the_tokenizer_is_refused(
    model: ClipModel, name: str
) -> None:
    with pytest.raises(ClassInvalid) as refusal:
        require_readable(model, DEFAULT_PROMPT, ["cat", name])
    assert refusal.value.facts["classes"] == [name]


@pytest.mark.parametrize("template", ["a {name} <end_of_text>", "&lt;start_of_text&gt;{name}"])
def test_template_that_ends_the_sentence_itself_is_refused(model: ClipModel, template: str) -> None:
    with pytest.raises(PromptInvalid) as refusal:
        require_readable(model, PromptTemplate(template), ["cat"])
    assert refusal.value.facts["template"] == template


def test_name_that_makes_an_end_with_its_template_is_refused(model: ClipModel) -> None:
    with pytest.raises(ClassInvalid) as refusal:
        require_readable(model, PromptTemplate("a <{name}>"), ["cat", "end_of_text"])
    assert refusal.value.facts["classes"] == ["end_of_text"]
