"""The queries that evaluate every version of a study, and their hits and scores."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.study.images.study_data import StudyData, on_part
from benchmarks.study.plan import PlanInvalid
from core.domain.datasets.manifest import ManifestEntry
from core.domain.datasets.split import Part
from core.domain.evaluation.metrics import average_accuracy, macro_accuracy, micro_accuracy, recalls
from core.domain.evaluation.query import (
    Answers,
    ClassAnswers,
    ClassQuery,
    EvalQuery,
    RetrievalAnswers,
    RetrievalQuery,
)
from core.domain.recipes.class_lists import distinct
from core.domain.recipes.prompt import PromptTemplate
from core.domain.values import Digest, canonical_json, sha256

NEW = "new"
RETRIEVAL = "retrieval"
IMAGE_TO_TEXT = "image_to_text"
TEXT_TO_IMAGE = "text_to_image"

Hits = Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True, kw_only=True)
class StudyQueries:
    """A study's queries by name: `new`, `retained/<name>`, `union/<name>` and `retrieval`.

    `new` classifies the new classes' images over all new classes, including those of later
    sessions. A union classifies the images of both over the new and the retained classes.
    """

    sessions: tuple[tuple[str, ...], ...]
    by_name: Mapping[str, EvalQuery]

    @classmethod
    def of(cls, study_data: StudyData, sessions: int, prompt: PromptTemplate, part: Part) -> Self:
        """Make the queries on one part of the test images.

        Raises PlanInvalid where the part has no image of a new class or of a retained measure.
        """
        new = ClassQuery(
            entries=on_part(study_data.test, part), classes=study_data.classes, prompt=prompt
        )
        _require_each(study_data.classes, new.entries, part)
        queries: dict[str, EvalQuery] = {NEW: new}
        for name, measure in study_data.retained.items():
            kept = ClassQuery(
                entries=on_part(measure.entries, part), classes=measure.classes, prompt=prompt
            )
            if not kept.entries:
                raise PlanInvalid(f"the {part} part of {name!r} is empty")
            queries[f"retained/{name}"] = kept
            queries[f"union/{name}"] = ClassQuery(
                entries=(*new.entries, *kept.entries),
                classes=distinct((*new.classes, *kept.classes)),
                prompt=prompt,
            )
        if study_data.retrieval:
            queries[RETRIEVAL] = RetrievalQuery(entries=on_part(study_data.retrieval, part))
        return cls(sessions=study_data.sessions(sessions), by_name=queries)

    @property
    def digest(self) -> Digest:
        """The digest of the queries and sessions."""
        digests = {name: query.digest for name, query in self.by_name.items()}
        return sha256(canonical_json([digests, self.sessions]))

    @property
    def new(self) -> ClassQuery:
        """The query of the new classes."""
        query = self.by_name[NEW]
        assert isinstance(query, ClassQuery)
        return query

    @property
    def captions(self) -> RetrievalQuery | None:
        """The query of the captioned images, if the study has any."""
        query = self.by_name.get(RETRIEVAL)
        return query if isinstance(query, RetrievalQuery) else None

    @property
    def retained(self) -> tuple[str, ...]:
        """The names of the retained measures."""
        return tuple(n.removeprefix("retained/") for n in self.by_name if "retained/" in n)

    def score(self, answers: Sequence[Answers], session: int) -> tuple[dict[str, Any], Hits]:
        """Return scores by name, and hits by query, one for each image or retrieval query.

        `session` counts from 0. With several sessions, UT-Acc is the mean over those learned so
        far, as in the literature.
        """
        scores: dict[str, Any] = {}
        hits: dict[str, NDArray[np.bool_]] = {}
        for (name, query), given in zip(self.by_name.items(), answers, strict=True):
            if isinstance(query, ClassQuery) and isinstance(given, ClassAnswers):
                hits[name] = np.array(given.hits(query))
                counts = _counts(query, hits[name])
                scores[name] = micro_accuracy(counts.values())
                scores[f"{name}/macro"] = macro_accuracy(counts.values())
                if name == NEW:
                    scores |= self._by_session(counts, session)
            elif isinstance(given, RetrievalAnswers):
                for way, ranks in _ways(given):
                    hits[f"{name}/{way}"] = np.array([rank == 0 for rank in ranks])
                    scores |= {f"{name}/{way}/{k}": v for k, v in recalls(ranks).items()}
        if self.retained:
            kept = fmean(scores[f"retained/{name}"] for name in self.retained)
            scores["retained"] = kept
            scores["a_acc"] = average_accuracy(scores["ut_acc"], kept)
        return scores, hits

    def _by_session(self, counts: Mapping[str, tuple[int, int]], session: int) -> dict[str, Any]:
        groups = [[counts[name] for name in group] for group in self.sessions]
        macro = [macro_accuracy(group) for group in groups]
        micro = [micro_accuracy(group) for group in groups]
        one = len(self.sessions) == 1
        # One session: hits over all images. Several: mean of the sessions' class means.
        ut_acc = micro[0] if one else fmean(macro[: session + 1])
        return {"ut_acc": ut_acc, "sessions/macro": macro, "sessions/micro": micro}


def _require_each(classes: Sequence[str], entries: Sequence[ManifestEntry], part: Part) -> None:
    found = {entry.class_name for entry in entries}
    if missing := [name for name in classes if name not in found]:
        raise PlanInvalid(f"no test image of class {missing[0]!r} is in the {part} part")


def _counts(query: ClassQuery, hits: NDArray[np.bool_]) -> dict[str, tuple[int, int]]:
    found = dict.fromkeys(query.classes, (0, 0))
    for entry, hit in zip(query.entries, hits.tolist(), strict=True):
        right, total = found.get(entry.class_name, (0, 0))
        found[entry.class_name] = right + hit, total + 1
    return found


def _ways(answers: RetrievalAnswers) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield IMAGE_TO_TEXT, answers.image_ranks
    yield TEXT_TO_IMAGE, answers.caption_ranks


def pack(hits: NDArray[np.bool_]) -> dict[str, Any]:
    """Encode hits as JSON: their number, and their bits in base64, first bit highest."""
    return {"count": len(hits), "bits": base64.b64encode(np.packbits(hits).tobytes()).decode()}


def unpack(value: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Return the hits that `pack` encoded."""
    bits = np.frombuffer(base64.b64decode(value["bits"]), dtype=np.uint8)
    return np.unpackbits(bits, count=value["count"]).astype(bool)
