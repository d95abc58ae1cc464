"""Opening a plan's laboratory, and running its missing runs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.study.images.material import Material, Reader
from benchmarks.study.images.shelf import Shelf
from benchmarks.study.laboratory import Laboratory, Machine
from benchmarks.study.ledger import Ledger
from benchmarks.study.lessons import Lessons
from benchmarks.study.measures.exam import Exam
from benchmarks.study.plan import Plan, Row
from benchmarks.study.progress import Screen
from core.adapters.artifacts.local import LocalArtifacts
from core.bootstrap import decoder
from core.clip.pretrained import BaseImporter
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
class Bench:
    """A plan's laboratory with the material, prompt and part that it was opened with."""

    plan: Plan
    laboratory: Laboratory
    material: Material
    prompt: str
    part: Part


def open_bench(
    plan: Plan,
    places: Places,
    screen: Screen,
    *,
    part: Part = Part.TEST,
    device: str = "cpu",
    threads: int = 0,
) -> Bench:
    """Read a plan's images and base. Raises PlanInvalid, Invalid or BaseUnknown."""
    store = LocalArtifacts(places.artifacts)
    folders = (Path("/"),) if Path(plan.base.removeprefix("local-dir:")).is_dir() else ()
    weights, own_prompt = BaseImporter(store, folders=folders).load(plan.base, screen)
    prompt = PromptTemplate(plan.prompt or own_prompt)
    with _decoding() as sandbox:
        material = Reader(
            shelf=Shelf(store, places.artifacts / "index", sandbox),
            places=places.data,
            unzipped=places.out / "data",
            emit=screen.decoding,
        ).read(plan)
    exam = Exam.of(material, plan.sessions, prompt, part)
    laboratory = Laboratory(
        store=store,
        root=weights.digest,
        exam=exam,
        lessons=Lessons(material=material, count=plan.sessions, prompt=prompt),
        ledger=Ledger(places.out / "runs"),
        machine=Machine(device=torch.device(device), threads=threads, work=places.out / "work"),
    )
    return Bench(plan=plan, laboratory=laboratory, material=material, prompt=prompt.text, part=part)


def run_all(bench: Bench, rows: Sequence[Row], seeds: Sequence[int], screen: Screen) -> None:
    """Run all missing runs, seed by seed, so that every row soon has its first run.

    A run that another process has claimed is skipped.
    """
    laboratory = bench.laboratory
    laboratory.untouched(screen)
    wanted = [(row, seed) for seed in seeds for row in rows]
    missing = [(row, seed) for row, seed in wanted if not laboratory.is_done(row.seeded(seed))]
    if bench.plan.tuned and not bench.plan.tuned.is_file():
        screen.say(f"{bench.plan.tuned} is not there yet: rows run with their own values")
    screen.say(f"{bench.plan.name}: {len(wanted)} runs, {len(wanted) - len(missing)} there already")
    for number, (row, seed) in enumerate(missing, start=1):
        setting = row.seeded(seed)
        screen.begin(number, len(missing), f"{row.name}, seed {seed}")
        if not laboratory.run(setting, screen):
            screen.say("another process has begun it")
            continue
        last = laboratory.finished(setting)[-1]
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
