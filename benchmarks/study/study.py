"""Open the study of a plan, and run its missing runs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.study.images.image_cache import ImageCache
from benchmarks.study.images.study_data import StudyData, StudyDataReader
from benchmarks.study.measures.queries import StudyQueries
from benchmarks.study.plan import Plan, Row
from benchmarks.study.progress import Screen
from benchmarks.study.results_cache import ResultsCache
from benchmarks.study.runner import ExperimentRunner, Machine
from benchmarks.study.session_specs import SessionSpecs
from core.adapters.artifacts.local import LocalArtifacts
from core.bootstrap import decoder
from core.clip.bases.pretrained import BaseImporter
from core.domain.datasets.split import Part
from core.domain.recipes.prompt import PromptTemplate
from core.ports import Decoder
from core.settings import Settings


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
    """A plan with its runner, data, prompt and part."""

    plan: Plan
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
    """Read a plan's images and base. Raises PlanInvalid, Invalid or BaseUnknown."""
    store = LocalArtifacts(places.artifacts)
    folders = (Path("/"),) if Path(plan.base.removeprefix("local-dir:")).is_dir() else ()
    weights, own_prompt = BaseImporter(store, folders=folders).load(plan.base, screen)
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
    return Study(plan=plan, runner=runner, study_data=study_data, prompt=prompt.text, part=part)


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
