"""Class names that a model cannot read, told before anything is trained on them."""

from collections.abc import Sequence

from core.clip.model import ClipModel
from core.domain.recipes.prompt import PromptTemplate
from core.errors import ClassInvalid, PromptInvalid, PromptTooLong

SHOWN = 20  # names that an error lists


def require_readable(model: ClipModel, prompt: PromptTemplate, names: Sequence[str]) -> None:
    """Raise unless the model reads every name, and its whole prompt.

    ClassInvalid for names that its tokenizer makes nothing of, and for those whose prompt holds
    its start or end token: the sentence would end there, and PromptInvalid where the template
    itself does. PromptTooLong where the prompt would be cut, so that classes might share what is
    left of it. How many tokens a text has, only the tokenizer tells; no more than it has bytes.
    """
    read, marks = model.tokenizer.encode, set(model.tokenizer.all_special_ids)
    if marks & set(read(prompt.fill("a"))):
        raise PromptInvalid(
            "The template holds the tokenizer's start or end token.", template=prompt.text
        )
    unread = [
        name for name in names if not read(name) or not marks.isdisjoint(read(prompt.fill(name)))
    ]
    if unread:
        raise ClassInvalid(
            f"The model's tokenizer reads nothing, or an end, in: {_listed(unread)}.",
            classes=unread[:SHOWN],
        )
    room = model.context_length - 2  # without start and end
    long = [name for name in names if len(read(prompt.fill(name))) > room]
    if long:
        raise PromptTooLong(
            f"The model reads {room} tokens of a prompt; those of these classes are longer: "
            f"{_listed(long)}. Shorten the names or the template {prompt.text!r}.",
            classes=long[:SHOWN],
            tokens=room,
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more
