"""Many clients that send a mix of requests for a minute, in turn with bare endpoints."""

from collections.abc import Callable, Sequence
from statistics import median, quantiles
from typing import Any

from benchmarks.api.latency import cpu, p50
from benchmarks.api.load import Taken, Target, load, load_pool
from benchmarks.api.scene import LISTED, MODEL, Scene

WINDOWS = 6
ROUNDS, DATASETS = 10, 5  # a dataset gets one of two descriptions in turn

Window = tuple[Taken, Taken]  # of the service and of the bare endpoints


def mix_of(ask: Callable[..., Target], prefix: str, job: str) -> list[Target]:
    """Return rounds of ten requests of a client that waits for a job.

    A bare endpoint reads or writes the rows that the service's answer is about, and returns them
    whole.
    """
    targets = []
    for number in range(ROUNDS):
        wait = ask("job", f"{prefix}/jobs/{job}")
        dataset = f"{prefix}/datasets/products-{number % DATASETS}"
        text = {"description": f"as of round {number}"}
        others = (
            ask("20 jobs", f"{prefix}/jobs?limit={LISTED}"),
            ask("model", f"{prefix}/models/{MODEL}"),
            ask("20 datasets", f"{prefix}/datasets?limit={LISTED}"),
            ask("describe a dataset", dataset, "PATCH", json=text),
        )
        targets += [wait, wait, *(each for other in others for each in (other, wait))]
    return targets


def measure(scene: Scene, clients: int, seconds: float) -> list[Window]:
    """Measure service and bare endpoints for `seconds` each, in windows that alternate."""
    service = mix_of(scene.ask, "/v1", scene.job)
    bare = mix_of(scene.ask_bare, "", scene.job)
    with load_pool() as pool:
        for targets in (service, bare):  # warm up
            pool.submit(load, targets, clients, seconds / WINDOWS / 4).result()
        return [
            (
                pool.submit(load, service, clients, seconds / WINDOWS).result(),
                pool.submit(load, bare, clients, seconds / WINDOWS).result(),
            )
            for _ in range(WINDOWS)
        ]


def rows_of(scene: Scene, clients: int, windows: list[Window]) -> list[dict[str, Any]]:
    """Return a row for each kind of request, and first one for the whole mix."""
    here = {"database": scene.database, "clients": clients}
    whole = _row("all", [(one.latencies, bare.latencies) for one, bare in windows])
    ratios = [p50(one) / p50(bare) for one, bare in windows]
    facts = {
        "lowest": min(ratios),
        "highest": max(ratios),
        "CPU ms": 1000 * sum(one.cpu for one, _ in windows) / whole["answers"],
        "CPU : bare": median(cpu(one) / cpu(bare) for one, bare in windows),
        "errors": sum(len(one.errors) for one, _ in windows),
    }
    rows = [{**here, **whole, **facts}]
    for name in windows[0][0].answers:
        row = _row(name, [(one.answers[name], bare.answers[name]) for one, bare in windows])
        rows.append({**here, **row, **dict.fromkeys(facts, "")})
    return rows


def _row(name: str, windows: Sequence[tuple[Sequence[float], Sequence[float]]]) -> dict[str, Any]:
    answers = [1000 * latency for ours, _ in windows for latency in ours]
    return {
        "asked for": name,
        "answers": len(answers),
        "p50 ms": median(answers),
        "p99 ms": quantiles(answers, n=100)[98],
        "p50 : bare": median(median(ours) / median(bare) for ours, bare in windows),
    }
