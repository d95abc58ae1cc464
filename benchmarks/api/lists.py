"""Lists of tables with few and with many rows."""

from collections.abc import Sequence
from statistics import median
from typing import Any
from urllib.parse import urlencode

from benchmarks.api import seed_lists
from benchmarks.api.latency import p50
from benchmarks.api.load import Taken, Target, load, load_pool
from benchmarks.api.scene import LISTED, MODEL, Scene
from benchmarks.api.seed_lists import DATASET, FEW, FIRST_NUMBER, RARE, USUAL, WEBHOOK

EARLY, LATE = (seed_lists.created_at(number).isoformat() for number in (FEW, FEW + 40))
LAST_PIXELS = sorted(map(seed_lists.pixels, range(100)))[-FEW]
JOBS, VERSIONS = "/v1/jobs", f"/v1/models/{MODEL}/versions"
IMAGES, DELIVERIES = f"/v1/datasets/{DATASET}/images", f"/v1/webhooks/{WEBHOOK}/deliveries"
AUDIT = "/v1/audit-events"

# A path and its parameters. "last": the oldest page of newest-first lists, and else a late one.
LISTS: dict[str, tuple[str, dict[str, Any]]] = {
    "jobs": (JOBS, {}),
    "jobs, last": (JOBS, {"after": f"job_{FEW:07}"}),
    "jobs of a model": (JOBS, {"model": MODEL}),
    "jobs of a model with few": (JOBS, {"model": RARE}),
    "jobs of a type": (JOBS, {"type": "update"}),
    "jobs of a type with few": (JOBS, {"type": "import"}),
    "jobs of a status": (JOBS, {"status": "succeeded"}),
    "jobs of a status with few": (JOBS, {"status": "failed"}),
    "jobs of an early time": (JOBS, {"created_since": EARLY, "created_until": LATE}),
    "jobs with metadata": (JOBS, {"metadata": f"team:{USUAL}"}),
    "jobs with rare metadata": (JOBS, {"metadata": f"team:{RARE}"}),
    "versions": (VERSIONS, {}),
    "versions, late": (VERSIONS, {"after": FIRST_NUMBER + 50}),
    "images": (IMAGES, {}),
    "images, late": (IMAGES, {"after": LAST_PIXELS}),
    "images of a class with few": (IMAGES, {"class": RARE}),
    "audit events": (AUDIT, {}),
    "audit events, last": (AUDIT, {"after": FIRST_NUMBER + FEW}),
    "audit events of an actor with few": (AUDIT, {"actor": RARE}),
    "audit events of an action with few": (AUDIT, {"action": RARE}),
    "audit events of a subject with few": (AUDIT, {"subject": RARE}),
    "audit events of an early time": (AUDIT, {"since": EARLY, "until": LATE}),
    "deliveries": (DELIVERIES, {}),
    "deliveries, last": (DELIVERIES, {"after": f"dlv_{FEW:07}"}),
}

BASE = "model"
Round = dict[str, Taken]


def measure(
    scene: Scene, sizes: Sequence[int], rounds: int, seconds: float
) -> list[dict[str, Any]]:
    """Measure each list with few and then with many rows, and return the rows of the table.

    Each value is divided by that of a model, one row of few, before they are compared: the machine
    may be busier later.
    """
    targets = [
        scene.ask(BASE, f"/v1/models/{MODEL}"),
        *(
            scene.ask(name, f"{path}?{urlencode({**parameters, 'limit': LISTED})}")
            for name, (path, parameters) in LISTS.items()
        ),
    ]
    seed_lists.prepare(scene.url, scene.job)
    few, many = sizes
    seed_lists.grow(scene.url, scene.job, range(few))
    small = _rounds(targets, rounds, seconds)
    seed_lists.grow(scene.url, scene.job, range(few, many))
    large = _rounds(targets, rounds, seconds)
    return [
        {
            "database": scene.database,
            "list": name,
            **{
                f"p50 ms, {size}": 1000 * median(p50(one[name]) for one in found)
                for size, found in ((few, small), (many, large))
            },
            "p50 many : few": _p50_ratio(large, name) / _p50_ratio(small, name),
            "CPU many : few": _cpu_ratio(large, name) / _cpu_ratio(small, name),
        }
        for name in LISTS
    ]


def _rounds(targets: Sequence[Target], rounds: int, seconds: float) -> list[Round]:
    """Measure every request once per round, after a first round that warms up."""
    with load_pool() as pool:
        found = [
            {one.name: pool.submit(load, [one], 1, seconds).result() for one in targets}
            for _ in range(rounds + 1)
        ]
    for error in (error for each in found for one in each.values() for error in one.errors):
        raise SystemExit(f"Not expected: {error}")
    return found[1:]


def _p50_ratio(rounds: Sequence[Round], name: str) -> float:
    """Return the median over rounds of a latency divided by a model's."""
    return median(p50(one[name]) / p50(one[BASE]) for one in rounds)


def _cpu_ratio(rounds: Sequence[Round], name: str) -> float:
    """Return the CPU time of an answer divided by a model's, over all rounds."""
    ours, base = (
        sum(one[each].cpu for one in rounds) / sum(len(one[each].latencies) for one in rounds)
        for each in (name, BASE)
    )
    return ours / base
