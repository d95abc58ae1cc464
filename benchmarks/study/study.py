"""Open the study of a plan, and run its missing runs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.study.base import default_rows, load_base
from benchmarks.study.cache import ResultsCache
from benchmarks.study.cost import Spent, budget
from benchmarks.study.images import ImageCache, StudyData, StudyDataReader
from benchmarks.study.measures import SessionSpecs, StudyQueries
from benchmarks.study.plan import Plan, Row
from benchmarks.study.runner import ExperimentRunner, Machine
from benchmarks.study.screen import Screen
from core.artifacts.local import LocalArtifacts
from core.bootstrap import decoder
from core.datasets.manifests import Part
from core.images.decoder import Decoder
from core.recipes.fields import PromptTemplate
from core.registry.versions import Weights
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
