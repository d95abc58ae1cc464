"""A line of updates, ordered over HTTP. A run that was killed goes on where it stopped."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from benchmarks.lifetime.material import Labelled, Material
from demo.walkthrough import PROMPT
from perennial.client import Client
from perennial.errors import ServiceError
from perennial.requests import ImageFile
from perennial.types import DatasetKind, Job, Report, SuiteKind

MODEL = "lifetime"
FIRST = 5  # classes of the first update
STEP = "step"  # the metadata of a job that says which one it is
POLICY = "lifetime"
TOLD = ("outcome", "name", "difference", "lower", "upper", "tolerance", "gained", "lost", "count")


@dataclass(frozen=True, kw_only=True)
class Lifetime:
    """The updates of one model.

    Until one goes live, the next update teaches its classes again, with one more.
    """

    client: Client
    material: Material
    base: str
    recipe: Mapping[str, Any]
    policy: Mapping[str, Any]  # fields that differ from the default policy's
    joint_epochs: Sequence[int]

    def updates(self) -> Iterator[dict[str, Any]]:
        """Teach the classes one by one to the live version; yield a row for each update."""
        self._create_model()
        names = list(self.material.taught)
        alone = False  # whether a class may be taught alone: others are live
        for first in (0, *range(FIRST, len(names))):
            end = max(FIRST, first + 1)
            taught = names[first if alone else 0 : end]
            row = self._row(self._taught(f"class-{first + 1}", taught), taught)
            alone = alone or row["moved"]
            yield row

    def joint(self) -> Iterator[dict[str, Any]]:
        """Teach all classes at once to version 1, by several numbers of epochs."""
        names = list(self.material.taught)
        for epochs in self.joint_epochs:
            recipe = {**self.recipe, "epochs": epochs}
            job = self._taught("all", names, f"all-{epochs}", parent=1, recipe=recipe)
            yield self._row(job, names) | {"epochs": epochs}

    def _create_model(self) -> None:
        suites: tuple[tuple[str, SuiteKind, DatasetKind, Sequence[Labelled]], ...] = (
            ("emoji", "zero_shot", "labelled", self.material.named),
            ("captions", "retrieval", "captioned", self.material.captioned),
        )
        if MODEL not in {one["name"] for one in self.client.models.list()}:
            for name, kind, of, images in suites:
                self._upload(name, images, of)
                with _unless_there():
                    self.client.suites.create(name, kind=kind, dataset=name, prompt=PROMPT)
            if self.policy:
                with _unless_there():
                    reason = "what the benchmark asks about"
                    self.client.policies.create(POLICY, **self.policy, reason=reason)
            self.client.models.create(
                MODEL,
                base=self.base,
                suites=[name for name, *_ in suites],
                policy=POLICY if self.policy else None,
            )
        for job in self.client.jobs.list(model=MODEL, type="import"):
            self.client.jobs.wait(job["id"])

    def _upload(self, dataset: str, images: Sequence[Labelled], kind: DatasetKind) -> None:
        """Upload images to a dataset; what a former run has uploaded stays."""
        with _unless_there():
            self.client.datasets.create(dataset, kind=kind)
        rows = ((text, ImageFile(file_name="image.webp", data=data)) for text, data in images)
        self.client.datasets.upload(dataset, rows)

    def _taught(
        self,
        dataset: str,
        taught: Sequence[str],
        step: str | None = None,
        *,
        parent: int | None = None,
        recipe: Mapping[str, Any] | None = None,
    ) -> Job:
        """Run one update, or find the job of a former run."""
        step = step or dataset
        found = next(iter(self.client.jobs.list(model=MODEL, metadata=f"{STEP}:{step}")), None)
        if found is None:
            rows = [(name, one) for name in taught for one in self.material.taught[name]]
            self._upload(dataset, rows, "labelled")
            found = self.client.jobs.order_update(
                model=MODEL,
                dataset=dataset,
                recipe=recipe or self.recipe,
                parent=parent,
                auto_promote=parent is None,
                metadata={STEP: step},
            )
        return self.client.jobs.wait(found["id"])

    def _row(self, job: Job, taught: Sequence[str]) -> dict[str, Any]:
        result = job["result"]
        assert result is not None  # the job has succeeded
        report = self.client.versions.report(MODEL, result["version"])
        scores = {one["role"]: one for one in report["scores"]}
        spent = self._phases(job)
        return {
            "version": result["version"],
            "taught": ", ".join(taught) if len(taught) <= FIRST else f"{len(taught)} classes",
            "classes": len(report["classes"]),
            "verdict": report["verdict"],
            "moved": result["promotion"]["moved"],
            "UT-Acc": scores["candidate"]["ut_micro"],
            "ZS-Acc": scores["candidate"]["zero_shot"],
            "open": _not_held(report),
            "train s": spent.get("training", 0.0),
            "evaluate s": spent.get("evaluating", 0.0),
            "seconds": _between(job["started_at"], job["finished_at"]),
        }

    def _phases(self, job: Job) -> dict[str, float]:
        """Return the seconds that a job spent in each phase."""
        seconds: dict[str, float] = defaultdict(float)
        phase, since = "", job["started_at"]
        for event in self.client.jobs.events(job["id"]):
            seconds[phase] += _between(since, event["at"])
            since = event["at"]
            if event["kind"] == "phase":
                phase = event["data"]["phase"]
        return {name: round(spent, 1) for name, spent in seconds.items()}


@contextmanager
def _unless_there() -> Iterator[None]:
    """Leave alone what a former run has created."""
    try:
        yield
    except ServiceError as refusal:
        if refusal.code != "name_taken":
            raise


def _not_held(report: Report) -> list[dict[str, Any]]:
    """Return the measures of a report that did not hold."""
    return [
        {
            "about": f"{one['kind']} over {one['asked']} against {one['baseline']}",
            **{name: one[name] for name in TOLD},  # type: ignore[literal-required]
        }
        for one in report["measures"]
        if one["outcome"] != "holds"
    ]


def _between(start: str | None, end: str | None) -> float:
    if start is None or end is None:
        return 0.0
    spent = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    return round(spent.total_seconds(), 1)
