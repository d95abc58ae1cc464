"""The results of a study so far: its runs, and means with spread over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.study.measures.queries import NEW, unpack
from benchmarks.study.plan import Row
from benchmarks.study.runner import ExperimentRunner, Record
from core.domain.evaluation import metrics

MATRIX_SCORES = {
    "bwt_standard": metrics.backward_transfer,
    "bwt_reference": metrics.backward_transfer_reference,
    "forgetting": metrics.forgetting,
    "forgetting_over_all_rows": metrics.forgetting_over_all_rows,
    "transfer_by_columns": metrics.transfer_by_columns,
    "transfer_by_rows": metrics.transfer_by_rows,
    "avg": metrics.average,
    "last": metrics.last_accuracy,
    "learned": metrics.learned_accuracy,
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """A recipe with one seed, all sessions finished, beside the untouched model."""

    row: Row
    seed: int
    untouched: Record
    sessions: Sequence[Record]

    @property
    def matrix(self) -> list[list[float]]:
        """a[t][i]: macro accuracy on session i's classes after session t, over all classes."""
        return [record["scores"]["sessions/macro"] for record in self.sessions]

    @cached_property
    def scores(self) -> dict[str, float]:
        """The last version's scores, their changes since the base, and the whole run's scores."""
        before, after = self.untouched["scores"], self.sessions[-1]["scores"]
        found = {name: value for name, value in after.items() if not isinstance(value, list)}
        for name in [name for name in found if _is_kept(name)]:
            found[f"{name}/change"] = after[name] - before[name]
            if before[name]:
                found[f"{name}/retention"] = after[name] / before[name]
        found["gain"] = found["ut_acc"] - _untouched_target(before, len(self.sessions))
        found["training_s"] = sum(record["training_s"] for record in self.sessions)
        if len(self.sessions) > 1:
            found |= {name: score(self.matrix) for name, score in MATRIX_SCORES.items()}
            found["fwt"] = metrics.forward_transfer(self.matrix, before["sessions/macro"])
        return found

    def hits(self, name: str = NEW) -> NDArray[np.bool_]:
        """Return the last version's hits on a query."""
        return unpack(self.sessions[-1]["hits"][name])


def _is_kept(name: str) -> bool:
    kept = name == "retained" or name.startswith("retained/")
    return kept or (name.startswith("retrieval/") and name.endswith("/1"))


def _untouched_target(scores: Record, sessions: int) -> float:
    """Return the untouched model's UT-Acc over the classes of all sessions."""
    return scores["ut_acc"] if sessions == 1 else fmean(scores["sessions/macro"])


@dataclass(frozen=True, kw_only=True)
class Results:
    """All finished runs of a plan's rows."""

    untouched: Record
    runs: tuple[Run, ...]
    failed: tuple[str, ...]

    @classmethod
    def of(
        cls,
        runner: ExperimentRunner,
        untouched: Record,
        rows: Sequence[Row],
        seeds: Sequence[int],
        count: int,
    ) -> "Results":
        """Collect the finished runs of some rows and seeds, each of `count` sessions."""
        runs, failed = [], []
        for row in rows:
            for seed in seeds:
                found = runner.finished(row.seeded(seed))
                if found and "failed" in found[-1]:
                    failed.append(f"{row.name}, seed {seed}: {found[-1]['failed']}")
                elif len(found) == count:
                    runs.append(Run(row=row, seed=seed, untouched=untouched, sessions=found))
        return cls(untouched=untouched, runs=tuple(runs), failed=tuple(failed))

    def of_row(self, name: str) -> tuple[Run, ...]:
        """Return a row's runs, by seed."""
        return tuple(run for run in self.runs if run.row.name == name)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows that have a run, in the plan's order."""
        return tuple({run.row.name: run.row for run in self.runs}.values())

    @cached_property
    def baseline(self) -> dict[str, Any]:
        """The untouched model's scores, under the same names as a run's."""
        scores = self.untouched["scores"]
        found = {name: value for name, value in scores.items() if not isinstance(value, list)}
        found |= {f"{name}/change": 0.0 for name in scores if _is_kept(name)}
        found |= {f"{name}/retention": 1.0 for name in scores if _is_kept(name) and scores[name]}
        if len(scores["sessions/macro"]) > 1:
            found["ut_acc"] = fmean(scores["sessions/macro"])
            if "retained" in scores:
                found["a_acc"] = metrics.average_accuracy(found["ut_acc"], scores["retained"])
        return found | {"gain": 0.0}


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A mean over seeds with its standard deviation, 0 for a single seed."""

    mean: float
    deviation: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Compute the spread of one value per seed."""
        return cls(
            mean=fmean(values),
            deviation=stdev(values) if len(values) > 1 else 0.0,
            count=len(values),
        )
