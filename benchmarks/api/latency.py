"""The latency of single requests with few and many clients."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from statistics import median, quantiles
from typing import Any

from benchmarks.api.load import Taken, Target, load, load_pool
from benchmarks.api.scene import BARE, LISTED, MODEL, Scene
from demo import pack_reader

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
