"""The laboratory, which trains and evaluates versions with the service's own code."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from benchmarks.study.ledger import Ledger, key_of
from benchmarks.study.lessons import Lessons
from benchmarks.study.measures.compatibility import Embeddings
from benchmarks.study.measures.embeddings import compare, embed, in_folds
from benchmarks.study.measures.exam import Exam, pack
from benchmarks.study.overlay import Overlay
from benchmarks.study.setting import Setting
from core.adapters.artifacts.local import LocalArtifacts
from core.clip.model import ClipModel
from core.clip.weights import load
from core.domain.values import Digest
from core.errors import TrainingDiverged
from core.evaluation.evaluator import VersionEvaluator
from core.learning.trainer import UpdateTrainer
from core.ports import Artifacts, Monitor

Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine of a run, which affects times and rounding but is not part of the run's key."""

    device: torch.device
    threads: int = 0  # 0: one per core
    work: Path  # the weights of unfinished runs


class Laboratory:
    """Runs the recipes of one study on one machine and writes the results to a ledger."""

    def __init__(
        self,
        *,
        store: Artifacts,
        root: Digest,
        exam: Exam,
        lessons: Lessons,
        ledger: Ledger,
        machine: Machine,
    ) -> None:
        self._store = store
        self._root = root
        self._exam = exam
        self._lessons = lessons
        self._ledger = ledger
        self._machine = machine

    @property
    def exam(self) -> Exam:
        """The queries that evaluate every version."""
        return self._exam

    def untouched(self, monitor: Monitor) -> Record:
        """Evaluate the base, the table's first row, or return its finished record."""
        key = key_of(base=self._root, exam=self._exam.digest, recipe=None)
        if found := self._ledger.find(key):
            return found
        began = time.perf_counter()
        marks = self._evaluate(load(self._root, self._store, self._machine.device), monitor, 0)
        record = {"key": key, **marks, "evaluation_s": time.perf_counter() - began}
        self._ledger.write(key, record)
        return record

    def keys(self, setting: Setting) -> tuple[Digest, ...]:
        """Return the keys of a recipe's runs, one per session."""
        facts = {"base": self._root, "exam": self._exam.digest}
        return tuple(
            key_of(**facts, **self._lessons.facts(setting, session))
            for session in range(self._lessons.count)
        )

    def finished(self, setting: Setting) -> list[Record]:
        """Return the records of a recipe's finished sessions, up to the first that is missing."""
        found: list[Record] = []
        for key in self.keys(setting):
            record = self._ledger.find(key)
            if record is None:
                break
            found.append(record)
        return found

    def is_done(self, setting: Setting) -> bool:
        """Return whether all sessions of a recipe have finished or one has failed."""
        found = self.finished(setting)
        return len(found) == self._lessons.count or any("failed" in record for record in found)

    def run(self, setting: Setting, monitor: Monitor) -> bool:
        """Run a recipe's missing sessions; return False if another process is running them.

        The weights of an unfinished chain of sessions stay in the work folder. If the last
        finished version is missing there, the chain starts again from the first session.
        """
        last = self.keys(setting)[-1]
        with self._ledger.claim(last) as mine:
            if not mine or self.is_done(setting):
                return mine
            folder = self._machine.work / last[:32]
            overlay = Overlay(LocalArtifacts(folder), self._store)
            found = self.finished(setting)
            if found and not overlay.has(found[-1]["version"]):
                found = []
            parent = Digest(found[-1]["version"]) if found else self._root
            for session in range(len(found), self._lessons.count):
                record = self._run_session(setting, session, parent, overlay, monitor)
                self._ledger.write(self.keys(setting)[session], record)
                if "failed" in record:
                    break
                parent = Digest(record["version"])
            shutil.rmtree(folder, ignore_errors=True)
            return True

    def _run_session(
        self, setting: Setting, session: int, parent: Digest, overlay: Overlay, monitor: Monitor
    ) -> Record:
        device, threads = self._machine.device, self._machine.threads
        evaluator = VersionEvaluator(overlay, device=device)
        trainer = UpdateTrainer(
            overlay,
            device=device,
            threads=threads,
            ask=evaluator.ask,
            make_method=setting.make_method,
        )
        spec = self._lessons.spec(setting, session, parent=parent, root=self._root)
        record: dict[str, Any] = {
            "key": self.keys(setting)[session],
            "session": session,
            **setting.facts(),
            "images": len(spec.images),
            "classes": list(spec.classes),
            "environment": dict(trainer.environment()),
        }
        began = time.perf_counter()
        try:
            trained = trainer.train(spec, resume=None, monitor=monitor)
        except TrainingDiverged as error:
            return record | {"failed": error.message, "facts": dict(error.facts)}
        trained_at = time.perf_counter()
        version = trained.weights.digest
        marks = self._evaluate(load(version, overlay, device), monitor, session)
        return record | {
            "version": version,
            "notes": dict(trained.notes),
            "training_s": trained_at - began,
            "evaluation_s": time.perf_counter() - trained_at,
            **marks,
        }

    def _evaluate(self, model: ClipModel, monitor: Monitor, session: int) -> dict[str, Any]:
        model.freeze()
        if self._machine.threads:
            torch.set_num_threads(self._machine.threads)
        evaluator = VersionEvaluator(self._store, device=self._machine.device)
        answers = evaluator.ask(model, tuple(self._exam.questions.values()), monitor)
        scores, hits = self._exam.marks(answers, session)
        if self._exam.captions:
            now = embed(model, self._exam.captions, self._store)
            scores |= compare(self._embedded_root, now, self._exam.captions)
            scores |= in_folds(now, self._exam.captions)
        return {"scores": scores, "hits": {name: pack(found) for name, found in hits.items()}}

    @cached_property
    def _embedded_root(self) -> Embeddings:
        assert self._exam.captions is not None
        model = load(self._root, self._store, self._machine.device).freeze()
        return embed(model, self._exam.captions, self._store)
