"""The texts that stand for classes when a version classifies."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from core.domain.recipes.class_lists import distinct
from core.domain.recipes.prompt import PromptTemplate
from core.domain.values import Digest, canonical_json, clean_class, sha256

KEPT = 16  # lists; the longest takes 16 MiB


@dataclass(frozen=True, kw_only=True)
class ClassTexts:
    """Classes and the prompts of each: as many as there are templates, class after class."""

    classes: tuple[str, ...]
    prompts: tuple[str, ...]
    templates: int = 1

    @cached_property
    def digest(self) -> Digest:
        """The digest of the prompts and of how many stand for a class."""
        return digest_of(self.prompts, self.templates)


def digest_of(prompts: Sequence[str], templates: int = 1) -> Digest:
    """Return the digest of a list of prompts, of which `templates` at a time stand for a class."""
    return sha256(canonical_json([*prompts] if templates == 1 else [templates, *prompts]))


@lru_cache(maxsize=KEPT)
def class_texts(names: tuple[str, ...], *templates: PromptTemplate) -> ClassTexts:
    """Return the texts of classes, each once whatever its case. Raises ClassInvalid."""
    classes = distinct(map(clean_class, names))
    prompts = tuple(template.fill(name) for name in classes for template in templates)
    return ClassTexts(classes=classes, prompts=prompts, templates=len(templates))
