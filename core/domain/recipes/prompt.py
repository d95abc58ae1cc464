"""The prompt template: a sentence around a class name."""

from collections.abc import Iterable
from dataclasses import dataclass

from core.errors import PromptInvalid

SLOT = "{name}"


@dataclass(frozen=True)
class PromptTemplate:
    """A sentence with one `{name}`, such as `a photo of a {name}.`; raises PromptInvalid."""

    text: str

    def __post_init__(self) -> None:
        if self.text.count(SLOT) != 1 or len(self.text) > 200 or not self.text.isprintable():
            raise PromptInvalid(template=self.text[:220])

    def fill(self, name: str) -> str:
        """Return the prompt of a class; the name is lower-cased, as in the models' training."""
        return self.text.replace(SLOT, name.lower())

    def fill_all(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the prompts of several classes, in their order."""
        return tuple(self.fill(name) for name in names)


DEFAULT_PROMPT = PromptTemplate("a photo of a {name}.")
