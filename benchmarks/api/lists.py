"""Lists of tables with few and with many rows."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlencode

from benchmarks.api import scene as seed_lists
from benchmarks.api.scene import (
    BARE,
    DATASET,
    FEW,
    FIRST_NUMBER,
    LISTED,
    MODEL,
    RARE,
    USUAL,
    WEBHOOK,
    Scene,
    Taken,
    Target,
    load,
    load_pool,
)
from demo import images as pack_reader

# The latency of single requests with few and many clients.


CLASSES = '["ankle boot", "bag", "coat", "dress", "pullover"]'

Results = dict[tuple[str, int], list[Taken]]  # by target and number of clients, one per round


def targets_of(scene: Scene) -> list[Target]:
    """Return the requests to measure, the baseline first."""
    image = ("0.webp", pack_reader.named("fashion_mnist")[0].data, "image/webp")
    return [
        scene.bare_row,
        scene.ask("healthz", "/healthz"),
        scene.ask("job", f"/v1/jobs/{scene.job}"),
        scene.ask("20 jobs", f"/v1/jobs?limit={LISTED}"),
        scene.ask("20 versions", f"/v1/models/{MODEL}/versions?limit={LISTED}"),
        scene.ask("20 datasets", f"/v1/datasets?limit={LISTED}"),
        scene.ask(
            "classify",
            f"/v1/models/{MODEL}:1/classify",
            "POST",
            files=[("images", image)],
            data={"classes": CLASSES},
        ),
    ]


def measure(
    targets: Sequence[Target], client_counts: Sequence[int], rounds: int, seconds: float
) -> Results:
    """Measure every target with every number of clients, once per round.

    Raises SystemExit for a response that was not expected.
    """
    results: Results = defaultdict(list)
    with load_pool() as pool:
        for _, clients in product(range(rounds + 1), client_counts):
            for target in targets:
                taken = pool.submit(load, [target], clients, seconds).result()
                if taken.errors:
                    raise SystemExit(f"Not expected: {taken.errors[0]}")
                results[target.name, clients].append(taken)
    return {key: taken[1:] for key, taken in results.items()}  # the first round warms up


def rows_of(scene: Scene, results: Results) -> Iterator[dict[str, Any]]:
    """Yield a row of the table for each request and number of clients."""
    for (name, clients), taken in results.items():
        answers = [1000 * answer for one in taken for answer in one.latencies]
        yield {
            "database": scene.database,
            "clients": clients,
            "asked for": name,
            "answers": len(answers),
            "per s": len(answers) / sum(one.seconds for one in taken),
            "p50 ms": median(answers),
            "p99 ms": quantiles(answers, n=100)[98],
            "CPU ms": 1000 * sum(one.cpu for one in taken) / len(answers),
            "p50 : bare": _ratio(results, name, clients, p50),
            "per s : bare": _ratio(
                results, name, clients, lambda one: len(one.latencies) / one.seconds
            ),
            "CPU : bare": _ratio(results, name, clients, cpu),
        }


def p50(taken: Taken) -> float:
    """Return the median latency of a turn."""
    return median(taken.latencies)


def cpu(taken: Taken) -> float:
    """Return the server's CPU time for each answer of a turn."""
    return taken.cpu / len(taken.latencies)


def _ratio(results: Results, name: str, clients: int, of: Callable[[Taken], float]) -> float:
    """Return the median over rounds of a value divided by the bare endpoint's."""
    pairs = zip(results[name, clients], results[BARE, clients], strict=True)
    return median(of(ours) / of(bare) for ours, bare in pairs)


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


def measure_lists(
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


# Many clients that send a mix of requests for a minute, in turn with bare endpoints.


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


def measure_sustained(scene: Scene, clients: int, seconds: float) -> list[Window]:
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


def rows_of_windows(scene: Scene, clients: int, windows: list[Window]) -> list[dict[str, Any]]:
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
