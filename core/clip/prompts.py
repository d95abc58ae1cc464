"""Checks before training that a model can read class names and prompts."""

from collections.abc import Sequence

from core.clip.model import ClipModel
from core.domain.recipes.prompt import PromptTemplate
from core.errors import ClassInvalid, PromptInvalid, PromptTooLong

SHOWN = 20  # names that an error lists


def require_readable(model: ClipModel, prompt: PromptTemplate, names: Sequence[str]) -> None:
    """Raise unless the model reads every class name and its whole prompt.

    Raises ClassInvalid for names without any token, and for names whose prompt contains a start or
    end token, at which the sentence would end; PromptInvalid if the template itself contains one.
    Raises PromptTooLong if a prompt would be cut, because several classes could share what is left
    of it. Only the tokenizer knows the number of tokens of a text; it is at most that of its bytes.
    """
    encode, special = model.tokenizer.encode, set(model.tokenizer.all_special_ids)
    if special & set(encode(prompt.fill("a"))):
        raise PromptInvalid(
            "The prompt template contains the tokenizer's start or end token.",
            template=prompt.text,
        )
    unreadable = [
        name
        for name in names
        if not encode(name) or not special.isdisjoint(encode(prompt.fill(name)))
    ]
    if unreadable:
        raise ClassInvalid(
            "The model's tokenizer finds no tokens, or a start or end token, in: "
            f"{_listed(unreadable)}.",
            classes=unreadable[:SHOWN],
        )
    longest = model.context_length - 2  # without start and end
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
