"""Templates of prompts."""

import pytest

from core.errors import PromptInvalid
from core.recipes.fields import PromptTemplate


@pytest.mark.parametrize(
    "template", ["", "a photo", "{name} and {name}", "a\n{name}", "x" * 195 + "{name}", "x" * 300]
)
def test_a_template_without_one_slot_or_too_long_is_refused_and_shown_cut(template: str) -> None:
    with pytest.raises(PromptInvalid) as refusal:
        PromptTemplate(template)
    assert refusal.value.message == (
        "A prompt template must have at most 200 printable characters and '{name}' exactly once."
    )
    assert refusal.value.facts == {"template": template[:220]}


@pytest.mark.parametrize("template", ["{name}", "x" * 194 + "{name}"])
def test_shortest_and_longest_templates_are_taken(template: str) -> None:
    assert PromptTemplate(template).fill_all(["Cat", "DOG"]) == (
        template.replace("{name}", "cat"),
        template.replace("{name}", "dog"),
    )
