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
    """Classes and the prompt of each."""

    classes: tuple[str, ...]
    prompts: tuple[str, ...]

    @cached_property
    def digest(self) -> Digest:
        """The digest of the prompts."""
        return digest_of(self.prompts)


def digest_of(texts: Sequence[str]) -> Digest:
    """Return the digest of a list of texts."""
    return sha256(canonical_json(list(texts)))


@lru_cache(maxsize=KEPT)
def class_texts(names: tuple[str, ...], template: PromptTemplate) -> ClassTexts:
    """Return the texts of classes, each once whatever its case. Raises ClassInvalid."""
    classes = distinct(map(clean_class, names))
    return ClassTexts(classes=classes, prompts=template.fill_all(classes))
