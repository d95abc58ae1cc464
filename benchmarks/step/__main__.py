"""Measure the time of a step of VR-LwF: `make bench-step`.

Three implementations of the same step run in turn in one process: the reference
(`reference_step.py`), the service's own trainer, and the floor (`floor_step.py`). Losses and
gradients of the first two are compared on the same crops and sentences, with a student that differs
from its teacher. The trainer's frozen towers encode sentences for several steps at once, so its
time is the mean over that many. Column `auto` marks the precision that `auto` selects on this
machine. A precision without instructions here is slow, so its row is measured once, whatever
--repeats says.

    python -m benchmarks.step --rows vit-32 --repeats 3
    python -m benchmarks.step --rows tiny-bf16 tiny-fp32 --threads 1 --clock cpu   # a busy machine
"""

import argparse
import gc
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch

from benchmarks.output import publish
from benchmarks.step.trial import CPU, ROWS, Row, Trial
from core.adapters.artifacts.local import LocalArtifacts
from core.clip.batch_prefetch import Prefetcher
from core.clip.native_precisions import native_precisions
from core.domain.recipes.choices import Precision
from core.learning.determinism import repeatable
from core.learning.setup import BLOCK_SENTENCES

NATIVE = native_precisions(CPU)
AUTO = Precision.AUTO.on(NATIVE)


def measure(
    trial: Trial, repeats: int, clock: Callable[[], float], *, with_reference: bool
) -> dict[str, list[float]]:
    """Time each implementation in turn; return seconds per step, one value per repeat."""
    run, loader = trial.begun.update, trial.begun.reading
    together = max(1, BLOCK_SENTENCES // trial.row.recipe.sentences)
    classes, sentences = trial.cropped()
    data = loader.step(0)
    images = trial.images(data)

    def timed(step: Callable[[], object]) -> float:
        began = clock()
        step()
        return clock() - began

    def reference() -> None:
        trial.reference.gradients(images, data.target, trial.sentences)
        trial.reference.move()

    def floor() -> None:
        trial.floor.take(images, data.target, classes, sentences)

    times: dict[str, list[float]] = {"reference": [], "ours": [], "floor": []}
    with Prefetcher(loader.step, 0, run.steps) as ahead:

        def ours() -> None:
            run.advance(ahead.take())

        floor()
        ours()
        for _ in range(repeats):
            pairs = [(timed(ours), timed(floor)) for _ in range(together)]
            times["ours"].append(fmean(pair[0] for pair in pairs))
            times["floor"].append(fmean(pair[1] for pair in pairs))
            if with_reference:
                times["reference"].append(timed(reference))
    return times


def table_row(
    name: str, row: Row, times: dict[str, list[float]], differences: tuple[float, float, float]
) -> dict[str, Any]:
    """Return a row of medians, ratios, and the ratios' ranges over repeats."""
    reference, ours, floor = (median(times[way] or [float("nan")]) for way in times)
    over = [a / b for a, b in zip(times["ours"], times["floor"], strict=True)]
    faster = [a / b for a, b in zip(times["reference"], times["ours"], strict=False)]
    return {
        "row": name,
        "batch": row.batch,
        "auto": "*" if row.precision is AUTO else "",
        "reference_s": reference,
        "ours_s": ours,
        "floor_s": floor,
        "times_faster": reference / ours,
        "faster_range": _range(faster),
        "over_floor": median(over),
        "over_range": _range(over),
        "loss_off": differences[0],
        "gradient_off": differences[1],
        "worst_tensor_off": differences[2],
    }


def _range(values: list[float]) -> str:
    return f"{min(values):.3g}-{max(values):.3g}" if values else ""


def main() -> None:
    """Time the chosen rows and publish the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.step", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--batch", type=int, help="batch size, in place of each row's own")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each row")
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="torch threads"
    )
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="wall time or CPU time of the process",
    )
    parser.add_argument(
        "--attention-weights",
        action="store_true",
        help="compute attention weights in the reference, as the published trainer does",
    )
    parser.add_argument(
        "--no-reference", action="store_true", help="measure only the trainer and the floor"
    )
    given = parser.parse_args()
    clock = time.perf_counter if given.clock == "wall" else time.process_time
    rows, seconds = [], {}
    for name in given.rows:
        with (
            tempfile.TemporaryDirectory() as folder,
            repeatable(7, device=CPU, threads=given.threads),
        ):
            artifacts = LocalArtifacts(Path(folder))
            row = replace(ROWS[name], batch=given.batch or ROWS[name].batch)
            trial = Trial.of(row, artifacts, attention_weights=given.attention_weights)
            differences = trial.differences()
            repeats = given.repeats if row.precision in NATIVE else 1
            times = measure(trial, repeats, clock, with_reference=not given.no_reference)
            rows.append(table_row(name, row, times, differences))
            seconds[name] = times
            print(rows[-1], flush=True)
        del trial
        gc.collect()
    publish(
        "step",
        rows,
        threads=given.threads,
        clock=given.clock,
        repeats=given.repeats,
        attention_weights=given.attention_weights,
        auto=AUTO,
        seconds=seconds,
    )
    print(f"precision auto is {AUTO} here")


if __name__ == "__main__":
    main()
