"""The training specs of a study: one per session, each on top of the previous one."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from benchmarks.study.images.material import Material, digest_of
from benchmarks.study.measures.exam import Exam
from benchmarks.study.setting import Setting
from core.domain.datasets.manifest import ManifestEntry
from core.domain.datasets.split import Part
from core.domain.evaluation.query import ClassQuery
from core.domain.recipes.class_lists import distinct
from core.domain.recipes.prompt import PromptTemplate
from core.domain.values import Digest
from core.ports import Selection, TrainingSpec


@dataclass(frozen=True)
class Lessons:
    """The images and classes of a study, session by session."""

    material: Material
    count: int  # sessions
    prompt: PromptTemplate

    @cached_property
    def sessions(self) -> tuple[tuple[str, ...], ...]:
        """The classes of each session. Raises PlanInvalid on a remainder."""
        return self.material.sessions(self.count)

    def spec(self, setting: Setting, session: int, *, parent: Digest, root: Digest) -> TrainingSpec:
        """Return the training spec of a session, counted from 0, as the service would make it."""
        learned = tuple(name for group in self.sessions[:session] for name in group)
        return TrainingSpec(
            parent=parent,
            root=root,
            recipe=setting.recipe,
            classes=self.sessions[session],
            learned=learned,
            open_classes=self._retained_classes,
            images=self._images(self.sessions[session]),
            prompt=self.prompt,
            exemplars=self._images(learned),
            reference=self.material.reference if setting.reads_reference else (),
            selection=self._selection(session) if setting.chooses else None,
        )

    def facts(self, setting: Setting, session: int) -> dict[str, Any]:
        """Return everything except the base that decides the weights after a session."""
        return {
            **setting.facts(),
            "prompt": self.prompt.text,
            "sessions": [list(group) for group in self.sessions[: session + 1]],
            "train": self._train_digests[: session + 1],
            "open": list(self._retained_classes),
            "reference": self._reference_digest if setting.reads_reference else None,
            "selection": self._selection_digests if setting.chooses else None,
        }

    def _images(self, classes: Sequence[str]) -> tuple[ManifestEntry, ...]:
        wanted = set(classes)
        return tuple(entry for entry in self.material.train if entry.class_name in wanted)

    def _selection(self, session: int) -> Selection:
        chooser = self._chooser
        classes = self.sessions[session]
        own = tuple(e for e in chooser.new.entries if e.class_name in set(classes))
        kept = tuple(q for name, q in chooser.questions.items() if name.startswith("ret"))
        return Selection(
            new=ClassQuery(entries=own, classes=classes, prompt=self.prompt), kept=kept
        )

    @cached_property
    def _chooser(self) -> Exam:
        return Exam.of(self.material, self.count, self.prompt, Part.VALIDATION)

    @cached_property
    def _retained_classes(self) -> tuple[str, ...]:
        return distinct(n for m in self.material.retained.values() for n in m.classes)

    @cached_property
    def _train_digests(self) -> list[Digest]:
        return [digest_of(self._images(group)) for group in self.sessions]

    @cached_property
    def _reference_digest(self) -> Digest:
        return digest_of(self.material.reference)

    @cached_property
    def _selection_digests(self) -> Digest:
        return self._chooser.digest
