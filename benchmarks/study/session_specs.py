"""The training specs of a study: one per session, each on top of the previous one."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from benchmarks.study.images.study_data import StudyData, digest_of
from benchmarks.study.measures.queries import StudyQueries
from benchmarks.study.run_config import RunConfig
from core.domain.datasets.manifest import ManifestEntry
from core.domain.datasets.split import Part
from core.domain.evaluation.query import ClassQuery
from core.domain.recipes.class_lists import distinct
from core.domain.recipes.prompt import PromptTemplate
from core.domain.values import Digest
from core.ports import Selection, TrainingSpec


@dataclass(frozen=True)
class SessionSpecs:
    """The images and classes of a study, session by session."""

    study_data: StudyData
    count: int  # sessions
    prompt: PromptTemplate

    @cached_property
    def sessions(self) -> tuple[tuple[str, ...], ...]:
        """The classes of each session. Raises PlanInvalid on a remainder."""
        return self.study_data.sessions(self.count)

    def spec(
        self, run_config: RunConfig, session: int, *, parent: Digest, root: Digest
    ) -> TrainingSpec:
        """Return the training spec of a session, counted from 0, as the service would make it."""
        learned = tuple(name for group in self.sessions[:session] for name in group)
        return TrainingSpec(
            parent=parent,
            root=root,
            recipe=run_config.recipe,
            classes=self.sessions[session],
            learned=learned,
            open_classes=self._retained_classes,
            images=self._images(self.sessions[session]),
            prompt=self.prompt,
            exemplars=self._images(learned),
            reference=self.study_data.reference if run_config.reads_reference else (),
            selection=self._selection(session) if run_config.chooses else None,
        )

    def facts(self, run_config: RunConfig, session: int) -> dict[str, Any]:
        """Return everything except the base that decides the weights after a session."""
        return {
            **run_config.facts(),
            "prompt": self.prompt.text,
            "sessions": [list(group) for group in self.sessions[: session + 1]],
            "train": self._train_digests[: session + 1],
            "open": list(self._retained_classes),
            "reference": self._reference_digest if run_config.reads_reference else None,
            "selection": self._selection_digests if run_config.chooses else None,
        }

    def _images(self, classes: Sequence[str]) -> tuple[ManifestEntry, ...]:
        wanted = set(classes)
        return tuple(entry for entry in self.study_data.train if entry.class_name in wanted)

    def _selection(self, session: int) -> Selection:
        validation = self._validation_queries
        classes = self.sessions[session]
        own = tuple(e for e in validation.new.entries if e.class_name in set(classes))
        kept = tuple(q for name, q in validation.by_name.items() if name.startswith("ret"))
        return Selection(
            new=ClassQuery(entries=own, classes=classes, prompt=self.prompt), kept=kept
        )

    @cached_property
    def _validation_queries(self) -> StudyQueries:
        return StudyQueries.of(self.study_data, self.count, self.prompt, Part.VALIDATION)

    @cached_property
    def _retained_classes(self) -> tuple[str, ...]:
        return distinct(n for m in self.study_data.retained.values() for n in m.classes)

    @cached_property
    def _train_digests(self) -> list[Digest]:
        return [digest_of(self._images(group)) for group in self.sessions]

    @cached_property
    def _reference_digest(self) -> Digest:
        return digest_of(self.study_data.reference)

    @cached_property
    def _selection_digests(self) -> Digest:
        return self._validation_queries.digest
