"""The runner of a study: trains and evaluates versions with the service's own code."""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.study.base import (
    begin_peak,
    code_and_driver,
    default_rows,
    load_base,
    peak_bytes,
)
from benchmarks.study.cost import Cost, Spent, budget, step_cost
from benchmarks.study.images import ImageCache, StudyData, StudyDataReader
from benchmarks.study.measures import (
    Embeddings,
    SessionSpecs,
    StudyQueries,
    compare,
    embed,
    in_folds,
    pack,
)
from benchmarks.study.plan import Plan, Row, RunConfig
from core.artifacts.local import LocalArtifacts
from core.artifacts.store import (
    ArtifactBatch,
    Artifacts,
    ArtifactWriter,
    BytesCallback,
    StoredArtifact,
    ignore_bytes,
)
from core.bootstrap import decoder
from core.clip.model import ClipModel, load
from core.datasets.manifests import Part
from core.errors import ArtifactMissing, TrainingDiverged
from core.images.decoder import Decoder
from core.jobs.rules import Monitor
from core.learning.setup import prepare_run
from core.learning.trainer import UpdateTrainer
from core.recipes.fields import PromptTemplate
from core.registry.versions import Weights
from core.scoring.evaluator import VersionEvaluator
from core.settings import Settings
from core.values import Digest, canonical_json, sha256

# An artifact store for one run's weights on top of the store of all runs' images.


class LayeredArtifacts:
    """ports.Artifacts that writes to one store and reads from two.

    A run's artifacts can thus be deleted with its folder while other processes read the images.
    """

    def __init__(self, top: Artifacts, below: Artifacts) -> None:
        self._top = top
        self._below = below

    def put(self, data: bytes | memoryview, moved: BytesCallback = ignore_bytes) -> Digest:
        """Store an artifact on top."""
        return self._top.put(data, moved)

    def get(self, digest: Digest, moved: BytesCallback = ignore_bytes) -> bytes:
        """Read from the top, else from below. Raises ArtifactMissing or ArtifactCorrupt."""
        try:
            return self._top.get(digest, moved)
        except ArtifactMissing:
            return self._below.get(digest, moved)

    def writer(self) -> AbstractContextManager[ArtifactWriter]:
        """Return a writer of an artifact on top."""
        return self._top.writer()

    def batch(self) -> AbstractContextManager[ArtifactBatch]:
        """Return a batch of artifacts on top."""
        return self._top.batch()

    def pieces(self, digest: Digest, moved: BytesCallback = ignore_bytes) -> Iterator[bytes]:
        """Yield the pieces of an artifact on top, else of one below."""
        return (self._top if self._top.has(digest) else self._below).pieces(digest, moved)

    def verify(self, digest: Digest) -> None:
        """Verify an artifact on top, else one below."""
        (self._top if self._top.has(digest) else self._below).verify(digest)

    def renew(self, digest: Digest) -> None:
        """Reset the age of an artifact on top, else of one below."""
        (self._top if self._top.has(digest) else self._below).renew(digest)

    def has(self, digest: Digest) -> bool:
        """Return whether either store has an artifact."""
        return self._top.has(digest) or self._below.has(digest)

    def delete(self, digest: Digest) -> None:
        """Delete an artifact on top."""
        self._top.delete(digest)

    def delete_if_older(self, digest: Digest, older_than_s: float) -> bool:
        """Delete an artifact on top if it is older than `older_than_s`."""
        return self._top.delete_if_older(digest, older_than_s)

    def digests(self) -> Iterator[Digest]:
        """Iterate over the digests on top."""
        return self._top.digests()

    def stored(self) -> Iterator[StoredArtifact]:
        """Iterate over the artifacts on top."""
        return self._top.stored()

    def sweep(self, older_than_s: float) -> int:
        """Sweep the top store."""
        return self._top.sweep(older_than_s)

    def free_bytes(self) -> int:
        """Return the free space of the top store in bytes."""
        return self._top.free_bytes()


# The progress of a study: a live bar on a terminal, plain lines elsewhere.


PLAIN_EVERY_S = 60.0


class Screen:
    """A Monitor that shows the current run, its step, and the time until all runs are done."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._live = self._console.is_terminal
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._live,
        )
        self._task = self._bar.add_task("", total=1, visible=False)
        self._title = ""
        self._printed_at = time.monotonic()
        self._seconds: list[float] = []
        self._began = self._printed_at

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """Print a permanent line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
        self._printed_at = time.monotonic()

    def begin(self, number: int, total: int, title: str) -> None:
        """Show that the `number`-th of `total` runs begins."""
        left = ""
        if self._seconds:
            average = sum(self._seconds) / len(self._seconds)
            left = f", about {_minutes(average * (total - number + 1))} to go"
        self._title = f"[{number}/{total}] {title}"
        self._began = time.monotonic()
        if not self._live:
            self.say(f"{self._title}{left}")
        self._title += left

    def end(self, result: str) -> None:
        """Print the result of the run that has ended."""
        spent = time.monotonic() - self._began
        self._seconds.append(spent)
        self.say(f"{self._title.split(', about')[0]}: {result} ({spent:.0f} s)")
        self._bar.update(self._task, visible=False)

    def advance(
        self, phase: str, step: int, total: int, terms: Mapping[str, float] | None = None
    ) -> None:
        """Show a step of the current run."""
        loss = f", loss {terms['loss']:.3f}" if terms and "loss" in terms else ""
        text = f"{self._title}: {phase}{loss}"
        self._bar.update(
            self._task, description=text, completed=step, total=max(total, 1), visible=True
        )
        if not self._live and time.monotonic() - self._printed_at > PLAIN_EVERY_S:
            self.say(f"{text}, {step} of {total}")

    def checkpoint_due(self) -> bool:
        """Return False: a run that was stopped starts again, without a checkpoint."""
        return False

    def moved(self, count: int) -> None:
        """Ignore the bytes."""

    def skip_checkpoint(self, step: int, facts: Mapping[str, object]) -> None:
        """Do nothing; never called, for no checkpoint is due."""

    def save_checkpoint(self, digest: str, step: int) -> None:
        """Do nothing; never called, for no checkpoint is due."""

    def emit(self, kind: str, data: Mapping[str, object]) -> None:
        """Print an event of the current run."""
        self.say(f"{self._title}: {kind} {dict(data)}")

    def decoding(self, title: str, done: int, total: int) -> None:
        """Show how many images have been decoded."""
        self._title = f"{title}: images decoded"
        self.advance("once and kept", done, total)


def _minutes(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"


# The cache of finished runs: one file per run, named by a hash of everything that decides it.


SCHEMA = 1  # raised when a change of the code changes the results of the same run


def key_of(**facts: Any) -> Digest:
    """Return the key of a run."""
    return sha256(canonical_json({"schema": SCHEMA, **facts}))


class ResultsCache:
    """A folder of finished runs, to which several processes may write at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, key: Digest) -> dict[str, Any] | None:
        """Return the record of a finished run, or None."""
        path = self._path(key)
        found: dict[str, Any] | None = json.loads(path.read_bytes()) if path.is_file() else None
        return found

    def write(self, key: Digest, record: Mapping[str, Any]) -> None:
        """Write a run's record as one line, atomically."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(canonical_json(record) + b"\n")
        fresh.replace(path)

    @contextmanager
    def claim(self, key: Digest) -> Iterator[bool]:
        """Claim a run within the context; yield False if another process holds the claim.

        A claim ends with its process at the latest.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{key[:32]}.claim").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def _path(self, key: Digest) -> Path:
        return self._folder / f"{key[:32]}.json"


Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine of a run, which affects times and rounding but is not part of the run's key."""

    device: torch.device
    threads: int = 0  # 0: one per core
    work: Path  # the weights of unfinished runs


class ExperimentRunner:
    """Runs the recipes of one study on one machine and writes the results to the cache."""

    def __init__(
        self,
        *,
        store: Artifacts,
        root: Digest,
        queries: StudyQueries,
        session_specs: SessionSpecs,
        results_cache: ResultsCache,
        machine: Machine,
    ) -> None:
        self._store = store
        self._root = root
        self._queries = queries
        self._session_specs = session_specs
        self._results_cache = results_cache
        self._machine = machine

    @property
    def queries(self) -> StudyQueries:
        """The queries that evaluate every version."""
        return self._queries

    def untouched(self, monitor: Monitor) -> Record:
        """Evaluate the base, the table's first row, or return its finished record."""
        key = key_of(base=self._root, exam=self._queries.digest, recipe=None)
        if found := self._results_cache.find(key):
            return found
        began = time.perf_counter()
        score = self._evaluate(load(self._root, self._store, self._machine.device), monitor, 0)
        record = {"key": key, **score, "evaluation_s": time.perf_counter() - began}
        self._results_cache.write(key, record)
        return record

    def keys(self, run_config: RunConfig) -> tuple[Digest, ...]:
        """Return the keys of a recipe's runs, one per session."""
        facts = {"base": self._root, "exam": self._queries.digest}
        return tuple(
            key_of(**facts, **self._session_specs.facts(run_config, session))
            for session in range(self._session_specs.count)
        )

    def finished(self, run_config: RunConfig) -> list[Record]:
        """Return the records of a recipe's finished sessions, up to the first that is missing."""
        found: list[Record] = []
        for key in self.keys(run_config):
            record = self._results_cache.find(key)
            if record is None:
                break
            found.append(record)
        return found

    def is_done(self, run_config: RunConfig) -> bool:
        """Return whether all sessions of a recipe have finished or one has failed."""
        found = self.finished(run_config)
        return len(found) == self._session_specs.count or any(
            "failed" in record for record in found
        )

    def cost(self, run_config: RunConfig) -> Cost:
        """Return what a step of a recipe's first session costs, counted once for each recipe."""
        recipe = replace(run_config.recipe, epochs=1)
        run_config = replace(run_config, recipe=recipe, share_of_steps=1.0)
        facts = self._session_specs.facts(run_config, 0)
        key = key_of(base=self._root, counted="cost", **facts)
        if not (found := self._results_cache.find(key)):
            spec = self._session_specs.spec(run_config, 0, parent=self._root, root=self._root)
            parent = load(self._root, self._store, self._machine.device)
            make_method = run_config.make_method
            prepared = prepare_run(spec, parent, self._store, make_method=make_method)
            cost = step_cost(prepared, run_config.recipe)
            found = {"key": key, "flops": cost.flops, "bytes": cost.bytes}
            self._results_cache.write(key, found)
        return Cost(flops=found["flops"], bytes=found["bytes"])

    def run(self, run_config: RunConfig, monitor: Monitor) -> bool:
        """Run a recipe's missing sessions; return False if another process is running them.

        The weights of an unfinished chain of sessions stay in the work folder. If the last
        finished version is missing there, the chain starts again from the first session.
        """
        last = self.keys(run_config)[-1]
        with self._results_cache.claim(last) as mine:
            if not mine or self.is_done(run_config):
                return mine
            folder = self._machine.work / last[:32]
            layered_artifacts = LayeredArtifacts(LocalArtifacts(folder), self._store)
            found = self.finished(run_config)
            if found and not layered_artifacts.has(found[-1]["version"]):
                found = []
            parent: Record = found[-1] if found else {"version": self._root}
            for session in range(len(found), self._session_specs.count):
                record = self._run_session(run_config, session, parent, layered_artifacts, monitor)
                self._results_cache.write(self.keys(run_config)[session], record)
                if "failed" in record:
                    break
                parent = record
            shutil.rmtree(folder, ignore_errors=True)
            return True

    def _run_session(
        self,
        run_config: RunConfig,
        session: int,
        parent: Record,
        layered_artifacts: LayeredArtifacts,
        monitor: Monitor,
    ) -> Record:
        device, threads = self._machine.device, self._machine.threads
        evaluator = VersionEvaluator(layered_artifacts, device=device)
        trainer = UpdateTrainer(
            layered_artifacts,
            device=device,
            threads=threads,
            ask=evaluator.ask,
            make_method=run_config.make_method,
        )
        spec = replace(
            self._session_specs.spec(
                run_config, session, parent=Digest(parent["version"]), root=self._root
            ),
            feature_statistics=parent.get("feature_statistics", {}),
        )
        record: dict[str, Any] = {
            "key": self.keys(run_config)[session],
            "session": session,
            **run_config.facts(),
            "images": len(spec.images),
            "classes": list(spec.classes),
            "environment": dict(trainer.environment()),
            **code_and_driver(device),
        }
        begin_peak(device)
        began = time.perf_counter()
        try:
            trained = trainer.train(spec, resume=None, monitor=monitor)
        except TrainingDiverged as error:
            return record | {"failed": error.message, "facts": dict(error.facts)}
        trained_at = time.perf_counter()
        record["peak_bytes"] = peak_bytes(device)
        version = trained.weights.digest
        score = self._evaluate(load(version, layered_artifacts, device), monitor, session)
        return record | {
            "version": version,
            "notes": dict(trained.notes),
            "feature_statistics": {
                **trained.feature_statistics,
                **trained.notes.get("feature_statistics", {}),  # of a row that a study alone has
            },
            "training_s": trained_at - began,
            "evaluation_s": time.perf_counter() - trained_at,
            **score,
        }

    def _evaluate(self, model: ClipModel, monitor: Monitor, session: int) -> dict[str, Any]:
        model.freeze()
        if self._machine.threads:
            torch.set_num_threads(self._machine.threads)
        evaluator = VersionEvaluator(self._store, device=self._machine.device)
        answers = evaluator.ask(model, tuple(self._queries.by_name.values()), monitor)
        scores, hits = self._queries.score(answers, session)
        if self._queries.captions:
            now = embed(model, self._queries.captions, self._store)
            scores |= compare(self._embedded_root, now, self._queries.captions)
            scores |= in_folds(now, self._queries.captions)
        return {"scores": scores, "hits": {name: pack(found) for name, found in hits.items()}}

    @cached_property
    def _embedded_root(self) -> Embeddings:
        assert self._queries.captions is not None
        model = load(self._root, self._store, self._machine.device).freeze()
        return embed(model, self._queries.captions, self._store)


# Open the study of a plan, and run its missing runs.


@dataclass(frozen=True, kw_only=True)
class Places:
    """The folders where a study finds images and keeps its output."""

    out: Path  # artifacts, runs and tables
    data: tuple[Path, ...]  # searched for image folders or zips

    @property
    def artifacts(self) -> Path:
        """The folder of decoded images and bases, kept for the next study."""
        return self.out / "artifacts"


@dataclass(frozen=True, kw_only=True)
class Study:
    """A plan with its runner, base, data, prompt and part."""

    plan: Plan
    weights: Weights
    runner: ExperimentRunner
    study_data: StudyData
    prompt: str
    part: Part


def open_study(
    plan: Plan,
    places: Places,
    screen: Screen,
    *,
    part: Part = Part.TEST,
    device: str = "cpu",
    threads: int = 0,
) -> Study:
    """Read a plan's images and base, and complete a plan without rows.

    Raises PlanInvalid, Invalid, or what `load_base` raises.
    """
    store = LocalArtifacts(places.artifacts)
    weights, own_prompt = load_base(plan.base, store, screen)
    if not plan.rows:
        plan = replace(plan, rows=default_rows(weights, torch.device(device)))
    prompt = PromptTemplate(plan.prompt or own_prompt)
    with _decoding() as sandbox:
        study_data = StudyDataReader(
            image_cache=ImageCache(store, places.artifacts / "index", sandbox),
            places=places.data,
            unzipped=places.out / "data",
            emit=screen.decoding,
        ).read(plan)
    queries = StudyQueries.of(study_data, plan.sessions, prompt, part)
    runner = ExperimentRunner(
        store=store,
        root=weights.digest,
        queries=queries,
        session_specs=SessionSpecs(study_data=study_data, count=plan.sessions, prompt=prompt),
        results_cache=ResultsCache(places.out / "runs"),
        machine=Machine(device=torch.device(device), threads=threads, work=places.out / "work"),
    )
    if plan.equal_to:
        plan = replace(plan, rows=tuple(equal_rows(runner, plan)))
    return Study(
        plan=plan,
        weights=weights,
        runner=runner,
        study_data=study_data,
        prompt=prompt.text,
        part=part,
    )


def equal_rows(runner: ExperimentRunner, plan: Plan) -> Iterator[Row]:
    """Yield a plan's rows, each with as many steps as cost what those of `equal_to` do."""
    (given,) = plan.chosen([plan.equal_to])
    reference, epochs = runner.cost(given.seeded(0)), given.seeded(0).recipe.epochs
    for row in plan.rows:
        whole, share = budget(runner.cost(row.seeded(0)), reference, epochs)
        yield replace(row, recipe={**row.recipe, "epochs": whole}, share_of_steps=share)


def spent(study: Study) -> dict[str, Spent]:
    """Return what each row's steps cost, in a plan that makes rows equal."""
    configs = {row.name: row.seeded(0) for row in study.plan.rows if study.plan.equal_to}
    return {
        name: Spent(
            epochs=config.recipe.epochs * config.share_of_steps, cost=study.runner.cost(config)
        )
        for name, config in configs.items()
    }


def run_all(study: Study, rows: Sequence[Row], seeds: Sequence[int], screen: Screen) -> None:
    """Run all missing runs, seed by seed, so that every row soon has its first run.

    A run that another process has claimed is skipped.
    """
    runner = study.runner
    runner.untouched(screen)
    wanted = [(row, seed) for seed in seeds for row in rows]
    missing = [(row, seed) for row, seed in wanted if not runner.is_done(row.seeded(seed))]
    if study.plan.tuned and not study.plan.tuned.is_file():
        screen.say(f"{study.plan.tuned} does not exist yet: rows run with their own values")
    screen.say(f"{study.plan.name}: {len(wanted)} runs, {len(wanted) - len(missing)} finished")
    for number, (row, seed) in enumerate(missing, start=1):
        run_config = row.seeded(seed)
        screen.begin(number, len(missing), f"{row.name}, seed {seed}")
        if not runner.run(run_config, screen):
            screen.say("another process is running it")
            continue
        last = runner.finished(run_config)[-1]
        if "failed" in last:
            screen.end(f"failed: {last['failed']}")
            continue
        scores = last["scores"]
        kept = f", retained {scores['retained']:.1%}" if "retained" in scores else ""
        screen.end(f"UT-Acc {scores['ut_acc']:.1%}{kept}")


@contextmanager
def _decoding() -> Iterator[Decoder]:
    sandbox = decoder(Settings())
    try:
        yield sandbox
    finally:
        sandbox.close()
