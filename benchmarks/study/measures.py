"""The queries that evaluate every version of a study, and their hits and scores."""

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.study import matrix_scores
from benchmarks.study.images import StudyData, digest_of, on_part
from benchmarks.study.plan import PlanInvalid, RunConfig
from core.artifacts.store import Artifacts
from core.clip.inputs import read_image
from core.clip.model import ClipModel
from core.datasets.manifests import ManifestEntry, Part
from core.evaluation.answers import Answers, ClassAnswers, RetrievalAnswers
from core.evaluation.queries import ClassQuery, EvalQuery, RetrievalQuery
from core.evaluation.results import (
    Matrix,
    average_accuracy,
    backward_transfer,
    macro_accuracy,
    micro_accuracy,
    recall_at,
    recalls,
)
from core.gate.intervals import Flips, Interval, paired_interval
from core.recipes.fields import PromptTemplate
from core.recipes.rules import distinct
from core.scoring.evaluator import caption_ranks, image_ranks
from core.scoring.search import nearest, share_in_common
from core.training.trainer import Selection, TrainingSpec
from core.values import Digest, canonical_json, sha256

# Recall as a mean over galleries of 1,000 images, as often reported for COCO.
#
# Recall is higher in smaller galleries, so its name differs from that of recall over all images.


FOLD = 1000  # images


def fold_recalls(
    images: Tensor, captions: Tensor, owner: Tensor, size: int = FOLD
) -> tuple[dict[int, float], dict[int, float]]:
    """Return R@1, R@5 and R@10, image to text and text to image, each a mean over folds.

    Shapes are as in `image_ranks`. A fold is `size` consecutive images with their captions; a
    shorter rest is left out. Raises ValueError when there are fewer than `size` images.
    """
    if len(images) < size:
        raise ValueError(f"{len(images)} images make no fold of {size}")
    found: tuple[list[dict[int, float]], list[dict[int, float]]] = ([], [])
    for start in range(0, len(images) - size + 1, size):
        own = (owner >= start) & (owner < start + size)
        fold = images[start : start + size], captions[own], owner[own] - start
        found[0].append(dict(recalls(image_ranks(*fold))))
        found[1].append(dict(recalls(caption_ranks(*fold))))
    return _mean(found[0]), _mean(found[1])


def _mean(folds: list[dict[int, float]]) -> dict[int, float]:
    return {depth: fmean(fold[depth] for fold in folds) for depth in folds[0]}


# The compatibility of one version's index with another version's queries.


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """A version's vectors of images (images, width) and captions (captions, width)."""

    images: Tensor
    captions: Tensor


@dataclass(frozen=True, kw_only=True)
class Compatibility:
    """The quality of retrieval when two versions' vectors are mixed.

    The recalls are of the new version's queries on the old version's gallery and the reverse;
    each is image-to-text and text-to-image R@1. `neighbours_kept` is the mean share of each
    image's ten nearest images that both versions have in common.
    """

    new_on_old: tuple[float, float]
    old_on_new: tuple[float, float]
    image_cosine: float
    caption_cosine: float
    neighbours_kept: float


def neighbours_kept(old: Tensor, new: Tensor) -> float:
    """Return the mean share of each image's ten nearest that are the same within both versions."""
    return share_in_common(nearest(old, old), nearest(new, new))


def compatibility(old: Embeddings, new: Embeddings, owner: Tensor) -> Compatibility:
    """Compare two versions on the same captioned images; `owner` is each caption's image."""
    return Compatibility(
        new_on_old=_recall(new, old, owner),
        old_on_new=_recall(old, new, owner),
        image_cosine=_cosine(old.images, new.images),
        caption_cosine=_cosine(old.captions, new.captions),
        neighbours_kept=neighbours_kept(old.images, new.images),
    )


def _recall(queries: Embeddings, gallery: Embeddings, owner: Tensor) -> tuple[float, float]:
    return (
        recall_at(image_ranks(queries.images, gallery.captions, owner), 1),
        recall_at(caption_ranks(gallery.images, queries.captions, owner), 1),
    )


def _cosine(old: Tensor, new: Tensor) -> float:
    return float((old * new).sum(dim=1).double().mean())


# A version's vectors of a captioned set, and the scores computed from them.


_BATCH = 128

Item = TypeVar("Item")


@torch.inference_mode()
def embed(model: ClipModel, query: RetrievalQuery, artifacts: Artifacts) -> Embeddings:
    """Encode the captioned images with a model, as evaluation does."""

    def pixels(artifact: Digest) -> Tensor:
        return model.preprocess.evaluation_pixels(read_image(artifacts.get(artifact)))

    return Embeddings(
        images=_in_batches(
            [entry.artifact for entry in query.entries],
            lambda group: model.encode_images(torch.stack([pixels(one) for one in group])),
        ),
        captions=_in_batches(
            [text for entry in query.entries for text in entry.texts], model.encode_texts
        ),
    )


def compare(old: Embeddings, new: Embeddings, query: RetrievalQuery) -> dict[str, float]:
    """Return the compatibility of `old` as index with queries of `new`, as scores `index/...`."""
    found = asdict(compatibility(old, new, _owner(new, query)))
    scores: dict[str, float] = {}
    for name, value in found.items():
        if isinstance(value, tuple):
            scores[f"index/{name}/image_to_text"], scores[f"index/{name}/text_to_image"] = value
        else:
            scores[f"index/{name}"] = value
    return scores


def in_folds(new: Embeddings, query: RetrievalQuery) -> dict[str, float]:
    """Return recalls over galleries of 1,000 images as `folds_1k/...`, or none for smaller sets."""
    if len(query.entries) <= FOLD:
        return {}
    ways = fold_recalls(new.images, new.captions, _owner(new, query))
    return {
        f"folds_1k/{way}/{depth}": recall
        for way, found in zip(("image_to_text", "text_to_image"), ways, strict=True)
        for depth, recall in found.items()
    }


def _owner(embedded: Embeddings, query: RetrievalQuery) -> Tensor:
    owner = [index for index, entry in enumerate(query.entries) for _ in entry.texts]
    return torch.tensor(owner, device=embedded.images.device)


def _in_batches(items: Sequence[Item], encode: Callable[[Sequence[Item]], Tensor]) -> Tensor:
    return torch.cat([encode(items[i : i + _BATCH]) for i in range(0, len(items), _BATCH)])


# A check of the matrix scores against published accuracy matrices.


SCORES: Mapping[str, Callable[[Matrix], float]] = {
    "transfer": matrix_scores.transfer_by_columns,
    "avg": matrix_scores.average,
    "last": matrix_scores.last_accuracy,
    "bwt": backward_transfer,
}

TOLERANCE = 0.05 + 1e-9  # half a unit of the first decimal


def beside_published(methods: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return our and the published score per method, and whether they agree to one decimal."""
    return [
        {
            "method": name,
            "score": score,
            "ours": formula(given["matrix"]),
            "published": given[score],
            "agree": abs(formula(given["matrix"]) - given[score]) <= TOLERANCE,
        }
        for name, given in methods.items()
        for score, formula in SCORES.items()
    ]


def main(path: Path, console: Console) -> int:
    """Print the comparison to one decimal; return 1 if a score differs by more than rounding."""
    rows = beside_published(json.loads(path.read_bytes())["methods"])
    table = Table(title=path.name)
    table.add_column("method")
    for score in SCORES:
        table.add_column(score, justify="right")
        table.add_column("published", justify="right", style="dim")
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]
        cells = [f"{row[which]:.1f}" for row in own for which in ("ours", "published")]
        table.add_row(name, *cells)
    console.print(table)
    apart = [row for row in rows if not row["agree"]]
    for row in apart:
        console.print(f"differs: {row}", markup=False)
    if not apart:
        console.print(f"all {len(rows)} scores are within 0.05 of the published ones")
    return 1 if apart else 0


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


# The share of fine-tuning's forgetting that a method avoids, with intervals.


ALPHA = 0.025  # each side: two-sided 95 %

RESAMPLES = 5000

_BLOCK = 250  # resamples at a time

ImageHits = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One retained measure, image by image: `before` (images,), the others (seeds, images).

    Row s of both methods has the same seed.
    """

    before: ImageHits
    method: ImageHits
    tuned: ImageHits  # fine-tuning


@dataclass(frozen=True, kw_only=True)
class Share:
    """The share of fine-tuning's loss that a method avoids.

    1 means no loss, 0 the same loss as fine-tuning, less than 0 a larger one. `interval` is None
    where fine-tuning's own loss is not significantly above zero, for then the ratio has no meaning.
    """

    value: float
    interval: Interval | None
    tuned_loss: float
    method_loss: float


def share_kept(measures: Sequence[Measured], *, seed: int = 0, resamples: int = RESAMPLES) -> Share:
    """Return 1 - loss(method) / loss(fine-tuning), each loss a mean over seeds and measures.

    The interval of level 95 % is a percentile bootstrap over images (within each measure) and
    seeds. A resample takes the same images and seeds for the untouched model and both methods, so
    variation that they share cancels. With three seeds, the variation between seeds is poorly
    estimated.
    """
    tuned = float(np.mean([m.before.mean() - m.tuned.mean() for m in measures]))
    method = float(np.mean([m.before.mean() - m.method.mean() for m in measures]))
    draws = np.random.default_rng(seed)
    seeds = len(measures[0].tuned)
    picked = draws.integers(seeds, size=(resamples, seeds))  # (resamples, seeds)
    losses = np.zeros((2, resamples))  # fine-tuning, method
    for measure in measures:
        # (1 + 2 seeds, images): the untouched model, fine-tuning, the method
        answers = np.vstack([measure.before, measure.tuned, measure.method])
        before, *both = resampled(answers, draws, resamples)
        by_seed = np.array(both).reshape(2, seeds, resamples)
        for which in range(2):
            mean = np.take_along_axis(by_seed[which], picked.T, axis=0).mean(axis=0)
            losses[which] += (before - mean) / len(measures)
    interval = None
    if tuned > 0 and np.quantile(losses[0], ALPHA) > 0:
        lower, upper = np.quantile(1 - losses[1] / losses[0], [ALPHA, 1 - ALPHA])
        interval = Interval(lower=float(lower), upper=float(upper))
    value = 1 - method / tuned if tuned else float("nan")
    return Share(value=value, interval=interval, tuned_loss=tuned, method_loss=method)


def resampled(hits: ImageHits, draws: np.random.Generator, resamples: int) -> NDArray[np.float64]:
    """Return accuracies (rows, resamples) over resampled images; hits are (rows, images)."""
    images = hits.shape[1]
    answers = hits.astype(np.float32)
    blocks = []
    for start in range(0, resamples, _BLOCK):
        count = min(_BLOCK, resamples - start)
        weights = draws.multinomial(images, np.full(images, 1 / images), size=count)
        blocks.append(answers @ weights.T.astype(np.float32))  # (rows, count)
    shares: NDArray[np.float64] = np.concatenate(blocks, axis=1).astype(np.float64) / images
    return shares


@dataclass(frozen=True, kw_only=True)
class Difference:
    """An accuracy minus fine-tuning's, with Tango's paired interval of level 95 %."""

    value: float
    interval: Interval


def difference(method: ImageHits, tuned: ImageHits) -> Difference:
    """Return UT-Acc minus fine-tuning's, paired by image; both hits are (seeds, images).

    Flips are averaged over seeds, so the interval is based on the number of images alone.
    """
    flips = Flips(
        count=method.shape[1],
        gained=float((method & ~tuned).sum(axis=1).mean()),
        lost=float((tuned & ~method).sum(axis=1).mean()),
    )
    return Difference(value=flips.difference, interval=paired_interval(flips, ALPHA))


def stacked(hits: Iterable[ImageHits]) -> ImageHits:
    """Stack one row per seed to (seeds, images)."""
    return np.stack(list(hits))


# Negative flips: answers that were right before an update and are wrong after it.


@dataclass(frozen=True, kw_only=True)
class NegativeFlips:
    """Shares of all images of a query, over a line of updates."""

    update: float  # right before an update and wrong after it, a mean over the updates
    line: float  # answered rightly by some version, the base included, and wrongly by the last


def negative_flips(versions: Sequence[ImageHits]) -> NegativeFlips:
    """Compare the hits (images,) of successive versions of a line, the base's first.

    The share of one update is the negative flip rate of positive-congruent training (Yan et al.,
    2011.09161). Raises ValueError without an update.
    """
    hits = np.stack(versions)  # (updates + 1, images)
    if len(hits) < 2:
        raise ValueError("flips take two versions")
    lost = hits[:-1] & ~hits[1:]
    return NegativeFlips(
        update=float(lost.mean()), line=float((hits.any(axis=0) & ~hits[-1]).mean())
    )


# The training specs of a study: one per session, each on top of the previous one.


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
            recipe=run_config.of(session).recipe,
            classes=self.sessions[session],
            learned=learned,
            open_classes=self._open_classes(run_config),
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
            "open": list(self._open_classes(run_config)),
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

    def _open_classes(self, run_config: RunConfig) -> tuple[str, ...]:
        """Return the classes of the retained measures, or of the one that is named."""
        retained = self.study_data.retained
        chosen = [run_config.named] if run_config.named else list(retained)
        if missing := set(chosen) - set(retained):
            raise PlanInvalid(f"no retained measure is named {min(missing)!r}")
        return distinct(name for one in chosen for name in retained[one].classes)

    @cached_property
    def _train_digests(self) -> list[Digest]:
        return [digest_of(self._images(group)) for group in self.sessions]

    @cached_property
    def _reference_digest(self) -> Digest:
        return digest_of(self.study_data.reference)

    @cached_property
    def _selection_digests(self) -> Digest:
        return self._validation_queries.digest
