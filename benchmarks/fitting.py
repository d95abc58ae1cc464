"""Measure what shrinking an update until it fits the policy does: `make bench-fitting`.

Every update is trained once. Its shares are then mixed from the two ends of the weights, and judged
by the gate on the test parts of suites and holdouts. *Wrong* is a pass of a version that loses more
than the policy allows on a large reference set, which no verdict and no choice has seen.
`docs/studies/gate.md` discusses the table.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.calibration.sample import UPDATE_CLASSES
from benchmarks.output import OUT, NullMonitor, publish
from benchmarks.study.images import ImageCache, files_of, locate
from benchmarks.study.plan import ImageSet, PlanInvalid
from core.artifacts.local import LocalArtifacts
from core.bootstrap import decoder
from core.clip.bases import BaseImporter
from core.clip.inputs import DecodedImages
from core.clip.model import ClipModel, load, read_state
from core.clip.model import publish as publish_weights
from core.datasets.manifests import Manifest, ManifestEntry, Part, Side
from core.datasets.rules import DatasetKind, Suite, SuiteKind
from core.evaluation.answers import Answers, ClassAnswers
from core.evaluation.exams import ScoredSuite
from core.evaluation.holdouts import HeldOutUpdate
from core.evaluation.measures import measures
from core.evaluation.plan import EvaluationPlan, plan_queries
from core.evaluation.queries import ClassQuery
from core.evaluation.results import EvaluationResults
from core.gate.judge import judge
from core.gate.kinds import MeasureKind
from core.gate.measures import Measure
from core.gate.phrases import subject
from core.gate.rules import GatePolicy, Verdict
from core.gate.sample_size import ROOM, would_hold
from core.learning.mixing import TrainingEnd, mix_to_fit
from core.learning.trainer import UpdateTrainer
from core.recipes.fields import MixingChoice, PromptTemplate
from core.recipes.rules import Recipe
from core.registry.versions import Model, Version, VersionStatus, Weights
from core.scoring.evaluator import encode_batches, predict
from core.settings import Settings
from core.training.trainer import TrainingSpec
from core.values import (
    DatasetId,
    Digest,
    JobId,
    Json,
    ModelId,
    PolicyId,
    SuiteId,
    canonical_json,
    sha256,
)
from demo import walkthrough
from demo.images import PACK

SHARED = Path("../shared/data/sets")
SHARES = tuple(round(0.1 * n, 1) for n in range(10, 0, -1))
CPU = torch.device("cpu")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROMPT = PromptTemplate(walkthrough.PROMPT)
POLICIES = {  # by single images: views of them would take nine times as long
    "default": GatePolicy(id=PolicyId("gate_default"), name="default", views=0, created_at=NOW),
    "demo": GatePolicy(
        id=PolicyId("gate_demo"), created_at=NOW, **{**walkthrough.POLICY, "views": 0}
    ),
}


# Images: each is taught, asked by the gate, or kept for the truth.


@dataclass(frozen=True, kw_only=True)
class Taught:
    """A set of classes to teach."""

    data: str
    classes: tuple[str, ...] = ()  # all
    splits: tuple[str, ...] = ("train", "test")
    per_class: int = 150  # given to the service, which holds a fifth out
    beside: int = 150  # of each class, for the truth


SETS = {
    "fashion": Taught(data="fashion_mnist"),
    "cifar": Taught(data="cifar100", classes=tuple(UPDATE_CLASSES), splits=("train",)),
    "digits": Taught(data="digits", per_class=120, beside=60),
}
SUITES = {  # names of the set, first found; its split and texts; images of the gate, for the truth
    "photographs": (("cifar100",), "test", "folder", 1250, 1900),
    "emoji": (("emoji_twemoji", "twemoji"), "heldout_style", "cls", 1000, 840),
}


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images of a set or suite."""

    classes: tuple[str, ...]
    given: tuple[ManifestEntry, ...]
    truth: tuple[ManifestEntry, ...]


class Reader:
    """Reads image sets into an artifact store."""

    def __init__(self, artifacts: LocalArtifacts, out: Path, data: Sequence[Path]) -> None:
        self.artifacts = artifacts
        self._out = out
        self._data = data

    def taught(self, chosen: Taught) -> Images:
        """Return the images of a set to teach."""
        found: dict[str, list[ManifestEntry]] = defaultdict(list)
        for split in chosen.splits:
            per_class = chosen.per_class + chosen.beside
            wanted = ImageSet(
                name="x", data=chosen.data, split=split, classes=chosen.classes, per_class=per_class
            )
            for entry in self._entries(wanted):
                found[entry.class_name].append(entry)
        names = tuple(name.replace("_", " ") for name in chosen.classes) or tuple(sorted(found))
        end = chosen.per_class + chosen.beside
        return Images(
            classes=names,
            given=tuple(e for name in names for e in found[name][: chosen.per_class]),
            truth=tuple(e for name in names for e in found[name][chosen.per_class : end]),
        )

    def has(self, data: str) -> bool:
        """Return whether a set is there."""
        try:
            locate(data, self._data, self._out / "data")
        except PlanInvalid:
            return False
        return True

    def suite(self, name: str) -> Images | None:
        """Return the images of a suite, by chance the gate's or for the truth; None without any."""
        names, split, text, asked, beside = SUITES[name]
        data = next(filter(self.has, names), None)
        if data is None:
            return None
        entries = self._entries(ImageSet(name=name, data=data, split=split, text=text))
        if name == "photographs":
            taught = {one.replace("_", " ") for one in UPDATE_CLASSES}
            entries = tuple(entry for entry in entries if entry.class_name not in taught)
        shuffled = sorted(entries, key=lambda entry: sha256(f"fit {entry.pixels}".encode()))
        return Images(
            classes=tuple(sorted({entry.class_name for entry in entries})),
            given=tuple(shuffled[:asked]),
            truth=tuple(shuffled[asked : asked + beside]),
        )

    def _entries(self, wanted: ImageSet) -> tuple[ManifestEntry, ...]:
        folder = locate(wanted.data, self._data, self._out / "data")
        with closing(decoder(Settings())) as sandbox:
            kept = ImageCache(self.artifacts, self._out / "index", sandbox)
            return kept.entries(files_of(wanted, folder), lambda *_: None)


# Versions and their answers.


class Answerer:
    """Answers queries by features that are kept in files, one for each version."""

    def __init__(self, artifacts: LocalArtifacts, folder: Path) -> None:
        self._artifacts = artifacts
        self._folder = folder
        self._decoded: DecodedImages | None = None
        self._features: dict[str, dict[Digest, Any]] = {}
        self._texts: dict[str, dict[str, Tensor]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def answers(self, mixed: "Mixed", queries: Iterable[ClassQuery]) -> dict[Digest, Answers]:
        """Return a version's answers by query."""
        queries = tuple(queries)
        images = self._images(mixed, [entry for query in queries for entry in query.entries])
        prompts = [text for query in queries for text in query.prompt.fill_all(query.classes)]
        texts = self._encoded_texts(mixed, prompts)
        found: dict[Digest, Answers] = {}
        for query in queries:
            rows = torch.from_numpy(np.stack([images[entry.pixels] for entry in query.entries]))
            columns = torch.stack([texts[t] for t in query.prompt.fill_all(query.classes)])
            found[query.digest] = ClassAnswers(predicted=predict(rows, columns))
        return found

    def forget(self) -> None:
        """Forget what is kept in files."""
        self._features, self._texts = {}, {}

    def _images(self, mixed: "Mixed", entries: Sequence[ManifestEntry]) -> dict[Digest, Any]:
        path = self._folder / f"{mixed.key}.npz"
        if mixed.key not in self._features:
            self._features[mixed.key] = {}
            if path.is_file():
                with np.load(path) as file:
                    rows = zip(file["pixels"].tolist(), file["features"], strict=True)
                    self._features[mixed.key] = dict(rows)
        known = self._features[mixed.key]
        missing = list({e.pixels: e for e in entries if e.pixels not in known}.values())
        if missing:
            model = mixed.model
            if self._decoded is None:
                self._decoded = DecodedImages(self._artifacts, model.preprocess.evaluation_pixels)
            batches = [missing[i : i + 128] for i in range(0, len(missing), 128)]
            with torch.inference_mode():
                blocks = [*encode_batches(model, self._decoded, batches)]
            for entry, row in zip(missing, torch.cat(blocks).numpy(), strict=True):
                known[entry.pixels] = row
            np.savez(path, pixels=np.array(list(known)), features=np.stack(list(known.values())))
        return known

    def _encoded_texts(self, mixed: "Mixed", texts: Iterable[str]) -> Mapping[str, Tensor]:
        known = self._texts.setdefault(mixed.key, {})
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        with torch.inference_mode():
            for start in range(0, len(missing), 256):
                some = missing[start : start + 256]
                known.update(zip(some, mixed.model.encode_texts(some), strict=True))
        return known


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """The weights of a version: parent + share (trained - parent)."""

    artifacts: LocalArtifacts
    trained: Digest
    parent: Digest
    share: float = 1.0

    @property
    def key(self) -> str:
        """A name for the weights."""
        return f"{self.trained[:20]}-{self.parent[:20]}-{self.share}"

    @cached_property
    def model(self) -> ClipModel:
        """The model in memory."""
        model = load(self.trained, self.artifacts)
        if self.share < 1:
            old = read_state(Weights.from_bytes(self.artifacts.get(self.parent)), self.artifacts)
            with torch.no_grad():
                for name, value in model.network.state_dict().items():
                    if value.is_floating_point():
                        value.copy_(old[name].lerp(value, self.share))
        return model.freeze()

    def published(self) -> Digest:
        """Store the weights and return their digest."""
        state, config = self.model.network.state_dict(), self.model.config
        return publish_weights(config, state, self.artifacts, lambda *_: None).digest


# The settings, and the updates of each.


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A line of updates by one recipe, each trained from the last that passed."""

    name: str
    taught: str
    recipe: Mapping[str, Any]
    updates: int = 1
    policies: tuple[str, ...] = ("default", "demo")
    classes: int = 5  # of an update


RATES = {"gentle": 1e-4, "usual": 3e-4, "harsh": 1e-3}


def settings() -> Iterator[Setting]:
    """Yield one update of each set at three rates, then lines."""
    for taught in SETS:
        for word, rate in RATES.items():
            rates = {"learning_rate": rate}
            yield Setting(name=f"{taught}, {word}", taught=taught, recipe=rates)
    lines: Sequence[tuple[str, int, str, Json]] = (
        ("fashion", 2, "usual", {}),
        ("fashion", 2, "harsh", {"learning_rate": RATES["harsh"]}),
        ("cifar", 4, "usual", {}),
        ("fashion", 2, "without exemplars", {"exemplars": 0, "part": "whole"}),
        ("cifar", 4, "fine-tuning", {"method": "ft", "learning_rate": RATES["gentle"]}),
    )
    for taught, updates, word, recipe in lines:
        name = f"{taught}, {updates} updates, {word}"
        policies = ("demo",)
        yield Setting(name=name, taught=taught, recipe=recipe, updates=updates, policies=policies)


@dataclass(frozen=True, kw_only=True)
class Update:
    """An update of a line: its version as trained, and what is asked of it."""

    setting: Setting
    seed: int
    trained: Digest
    candidate: HeldOutUpdate
    line: tuple[Version, ...]  # root first, parent last
    earlier: tuple[HeldOutUpdate, ...]
    truth: Mapping[int, tuple[ManifestEntry, ...]]  # by version
    statistics: Mapping[str, Digest] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The images and the policy that all settings share."""

    out: Path
    reader: Reader
    answerer: Answerer
    trainer: UpdateTrainer
    root: Version
    suites: Mapping[str, Images]

    def plan(
        self, update: Update, policy: GatePolicy, part: Part, *, truth: bool
    ) -> EvaluationPlan:
        """Return the queries on a part of what is given, or of the images for the truth."""

        def held(one: HeldOutUpdate) -> HeldOutUpdate:
            return replace(one, holdout=update.truth[one.version.number]) if truth else one

        return plan_queries(
            model=Model(id=ModelId("m"), name="m", suites=(), policy=policy.id, created_at=NOW),
            policy=policy,
            candidate=held(update.candidate),
            parent=update.line[-1],
            root=update.line[0],
            earlier=[held(one) for one in update.earlier],
            suites=[
                _suite(name, images.classes, images.truth if truth else images.given)
                for name, images in self.suites.items()
            ],
            part=part,
        )

    def measured(
        self, update: Update, share: float, policy: GatePolicy, part: Part, *, truth: bool = False
    ) -> list[Measure]:
        """Return the measures of an update at a share."""
        plan = self.plan(update, policy, part, truth=truth)
        answers: dict[tuple[Digest, Digest], Answers] = {}
        for version, queries in plan.questions:
            asked = [query for query in queries if isinstance(query, ClassQuery)]
            given = self.answerer.answers(self.weights(update, version, share), asked)
            answers |= {(version.digest, query): answer for query, answer in given.items()}
        return measures(EvaluationResults(plan=plan, answers=answers))

    def weights(self, update: Update, version: Version, share: float = 1.0) -> Mixed:
        """Return the weights of a version of a line, or of the candidate at a share."""
        artifacts = self.reader.artifacts
        if version.number != update.candidate.version.number:
            return Mixed(artifacts=artifacts, trained=version.digest, parent=version.digest)
        parent = update.line[-1].digest
        return Mixed(artifacts=artifacts, trained=update.trained, parent=parent, share=share)


def _suite(name: str, classes: tuple[str, ...], entries: tuple[ManifestEntry, ...]) -> ScoredSuite:
    return ScoredSuite(
        suite=Suite(
            id=SuiteId(name),
            name=name,
            kind=SuiteKind.ZERO_SHOT,
            manifest=sha256(name.encode()),
            source=sha256(name.encode()),
            images=len(entries),
            classes=classes,
            prompt=PROMPT,
            mirror=False,
            created_at=NOW,
        ),
        manifest=Manifest(kind=DatasetKind.LABELLED, entries=entries),
    )


# The lines.


@dataclass(frozen=True, kw_only=True)
class Line:
    """The updates of a line that went live."""

    versions: tuple[Version, ...]
    updates: tuple[HeldOutUpdate, ...] = ()
    truth: Mapping[int, tuple[ManifestEntry, ...]] = field(default_factory=dict)
    statistics: Mapping[str, Digest] = field(default_factory=dict)  # of the live version


def train(bench: Bench, setting: Setting, seed: int, number: int, line: Line) -> Update:
    """Train the next update of a line: its classes are those of its number."""
    images = bench.reader.taught(SETS[setting.taught])
    first = number * setting.classes
    taught = images.classes[first : first + setting.classes]
    own = tuple(entry for entry in images.given if entry.class_name in taught)
    parent, root = line.versions[-1], line.versions[0]
    recipe = Recipe.from_json(
        {"mixing_choice": MixingChoice.NONE, "precision": "fp32", **setting.recipe, "seed": seed}
    )
    exemplars = tuple(
        entry
        for entry in images.given
        if entry.side is Side.TRAIN and entry.class_name in parent.classes
    )
    spec = TrainingSpec(
        parent=parent.digest,
        root=root.digest,
        recipe=recipe,
        classes=taught,
        learned=parent.classes,
        open_classes=(),
        images=tuple(entry for entry in own if entry.side is Side.TRAIN),
        prompt=PROMPT,
        exemplars=exemplars,
        feature_statistics=line.statistics,
    )
    made = trained_once(bench, spec)
    version = replace(
        parent,
        number=parent.number + 1,
        status=VersionStatus.CANDIDATE,
        digest=sha256(f"candidate of {made['digest']}".encode()),
        parent=parent.number,
        recipe=recipe,
        dataset=DatasetId("ds"),
        dataset_version=1,
        update_classes=taught,
        classes=parent.classes + taught,
    )
    held_out = tuple(entry for entry in own if entry.side is Side.HOLDOUT)
    beside = tuple(entry for entry in images.truth if entry.class_name in taught)
    return Update(
        setting=setting,
        seed=seed,
        trained=made["digest"],
        candidate=HeldOutUpdate(version=version, holdout=held_out),
        line=line.versions,
        earlier=line.updates,
        truth={**line.truth, version.number: beside},
        statistics=made["statistics"],
    )


def trained_once(bench: Bench, spec: TrainingSpec) -> Json:
    """Return the weights of a spec from a file, or train and write it."""
    facts = [spec.parent, spec.recipe.to_json(), spec.classes]
    path = bench.out / "trained" / f"{sha256(canonical_json(facts))}.json"
    if not path.is_file():
        made = bench.trainer.train(spec, resume=None, monitor=NullMonitor())
        path.parent.mkdir(exist_ok=True)
        kept = {"digest": made.weights.digest, "statistics": dict(made.feature_statistics)}
        path.write_bytes(canonical_json(kept))
    found: Json = json.loads(path.read_bytes())
    return found


def opened(out: Path, data: Sequence[Path]) -> Bench:
    """Return the bench with its images and the bundled model."""
    artifacts = LocalArtifacts(out / "artifacts")
    reader = Reader(artifacts, out, data)
    root, _ = BaseImporter(artifacts, folders=()).load("bundled", NullMonitor())
    suites = {name: images for name in SUITES if (images := reader.suite(name))}
    return Bench(
        out=out,
        reader=reader,
        answerer=Answerer(artifacts, out / "features"),
        trainer=UpdateTrainer(artifacts, device=CPU, threads=1),
        root=Version(
            model=ModelId("m"),
            number=1,
            status=VersionStatus.PROMOTED,
            digest=root.digest,
            size=root.size,
            job=JobId("job"),
            prompt=PROMPT,
            created_at=NOW,
        ),
        suites=suites,
    )


# Both ways of the same line: the whole step, and what fits.


def fitting_share(bench: Bench, update: Update, policy: GatePolicy, room: float) -> float:
    """Return the share that the service would keep."""

    def excess(share: float) -> str:
        found = bench.measured(update, share, policy, Part.VALIDATION)
        kept = (one for one in found if one.kind is not MeasureKind.GAIN)
        return next((subject(m) for m in kept if not would_hold(m, policy, times=4, room=room)), "")

    none = {"share": torch.tensor(0.0)}
    student = {"share": torch.nn.Parameter(torch.tensor(1.0))}
    ending = TrainingEnd(
        parameters=student, anchor=lambda: none, score=lambda: (0.0, 0.0), excess=excess
    )
    share: float = mix_to_fit(ending)["mixing"]
    return share


def judged(bench: Bench, update: Update, share: float, policy: GatePolicy) -> dict[str, Any]:
    """Return the verdict on a share, and what is true of it."""
    judgement = judge(bench.measured(update, share, policy, Part.TEST), policy)
    true = bench.measured(update, share, policy, Part.TEST, truth=True)
    gain = next(one.difference for one in true if one.kind is MeasureKind.GAIN)
    kept = [one for one in true if one.kind is not MeasureKind.GAIN]
    passed = judgement.verdict is Verdict.PASSED
    return {
        "share": share,
        "verdict": judgement.verdict.value,
        "wrong": passed and any(one.difference < -one.tolerance for one in kept),
        "gain": round(100 * gain, 2),
        "least room": round(100 * min(one.difference + one.tolerance for one in kept), 2),
    }


def run(
    bench: Bench, setting: Setting, seed: int, policy: GatePolicy, room: float | None
) -> Iterator[dict[str, Any]]:
    """Yield the verdicts on the updates of a line, whole or with room to fit."""
    line = Line(versions=(bench.root,))
    for number in range(setting.updates):
        update = train(bench, setting, seed, number, line)
        share = 1.0 if room is None else fitting_share(bench, update, policy, room)
        found = judged(bench, update, share, policy)
        yield {
            "setting": setting.name,
            "policy": policy.name,
            "seed": seed,
            "update": number + 1,
            "room": room,
            **found,
        }
        if found["verdict"] == Verdict.PASSED:
            version = replace(
                update.candidate.version,
                status=VersionStatus.PROMOTED,
                digest=bench.weights(update, update.candidate.version, share).published(),
            )
            line = Line(
                versions=(*line.versions, version),
                updates=(*line.updates, replace(update.candidate, version=version)),
                truth=update.truth,
                statistics=update.statistics,
            )
        bench.answerer.forget()


def table(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield a row for each setting and policy: the whole step / each room, over the seeds."""
    groups: dict[tuple[str, str], dict[float | None, list[Mapping[str, Any]]]] = {}
    for row in rows:
        ways = groups.setdefault((row["setting"], row["policy"]), {})
        ways.setdefault(row["room"], []).append(row)
    for (setting, policy), ways in groups.items():
        yield {
            "setting": setting,
            "policy": policy,
            "updates": " / ".join(str(len(found)) for found in ways.values()),
            "passed": " / ".join(str(_passes(found)) for found in ways.values()),
            "wrong": " / ".join(str(sum(one["wrong"] for one in found)) for found in ways.values()),
            "gain": " / ".join(
                f"{fmean(one['gain'] for one in found):.1f}" for found in ways.values()
            ),
            "share": " / ".join(
                f"{fmean(one['share'] for one in found):.2f}" for found in ways.values()
            ),
        }


def _passes(rows: Sequence[Mapping[str, Any]]) -> int:
    return sum(one["verdict"] == Verdict.PASSED for one in rows)


def main() -> None:
    """Run the settings seed by seed, and print a table after each seed."""
    parser = argparse.ArgumentParser(prog="make bench-fitting ARGS=...", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="training seeds")
    parser.add_argument("--rooms", type=float, nargs="+", default=[ROOM], help="of what fits")
    parser.add_argument("--only", default="", help="settings whose name has this in it")
    parser.add_argument("--data", type=Path, default=SHARED, help="folder with the sets")
    given = parser.parse_args()
    torch.set_num_threads(1)
    bench = opened(OUT / "fitting", [given.data, OUT / "fitting", PACK])
    rows: list[dict[str, Any]] = []
    for seed in given.seeds:
        for setting in settings():
            if given.only not in setting.name or not bench.reader.has(SETS[setting.taught].data):
                continue
            for name in setting.policies:
                for room in (None, *given.rooms):
                    for row in run(bench, setting, seed, POLICIES[name], room):
                        print(json.dumps(row), flush=True)
                        rows.append(row)
    publish("fitting", [*table(rows)], seeds=given.seeds, rooms=given.rooms, runs=rows)


if __name__ == "__main__":
    main()
