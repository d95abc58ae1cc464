"""The runner of a study: trains and evaluates versions with the service's own code."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from benchmarks.study.base import begin_peak, code_and_driver, peak_bytes
from benchmarks.study.cache import ResultsCache, key_of
from benchmarks.study.cost import Cost, step_cost
from benchmarks.study.layered import LayeredArtifacts
from benchmarks.study.measures import (
    Embeddings,
    SessionSpecs,
    StudyQueries,
    compare,
    embed,
    in_folds,
    pack,
)
from benchmarks.study.plan import RunConfig
from core.artifacts.local import LocalArtifacts
from core.artifacts.store import Artifacts
from core.clip.model import ClipModel, load
from core.errors import TrainingDiverged
from core.jobs.rules import Monitor
from core.learning.setup import prepare_run
from core.learning.trainer import UpdateTrainer
from core.scoring.evaluator import VersionEvaluator
from core.values import Digest

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
        recipe = replace(run_config.of(0).recipe, epochs=1)
        run_config = replace(run_config, recipe=recipe, first=None, share_of_steps=1.0)
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
            make_method=run_config.of(session).make_method,
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
