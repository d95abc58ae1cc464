"""CPU time of a request and of a move of an alias, by process, with one part altered at a time.

One client classifies one JPEG after the other with the bundled model, through an API process and
an inference process, parts of which are altered between turns. Beside that stand calls of the
inference process with pixels, and the bare open_clip call. Turns of all alternate, and every
second round takes them in the opposite order. `more` is the difference in CPU time of the altered
processes alone, from the mean of those turns of the same round in which these are not altered: its
median over rounds, with quartiles. CPU time can be compared on a busy machine too, if turns
alternate.
"""

import argparse
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.ingest.jpegs import write_jpegs
from benchmarks.serving.costs.turns import PROCESSES, Cost, Site, Turn, turns_of

IMAGES = 16

Costs = Sequence[Sequence[Cost]]  # by turn, and by round


def measure(turns: Sequence[Turn], rounds: int) -> Costs:
    """Take all turns once a round; the first round warms up."""
    costs: list[list[Cost]] = [[] for _ in turns]
    for number in range(rounds + 1):
        for place in range(len(turns))[:: -1 if number % 2 else 1]:
            cost = turns[place].take()
            if number:
                costs[place].append(cost)
    return costs


def rows_of(turns: Sequence[Turn], costs: Costs) -> Iterator[dict[str, Any]]:
    """Yield a row of the table for each thing measured."""
    for turn, taken in zip(turns, costs, strict=True):
        usual = [costs[place] for place, other in enumerate(turns) if is_usual(other, turn)]
        more = [
            milliseconds(one, turn.altered)
            - mean(milliseconds(other, turn.altered) for other in others)
            for one, *others in zip(taken, *usual, strict=True)
        ]
        lower, _, upper = quantiles(more, n=4, method="inclusive")
        yield {
            "CPU of": turn.of,
            "altered": turn.name,
            "requests": sum(cost.requests for cost in taken),
            **{
                f"{name} ms": median(milliseconds(cost, [name]) for cost in taken)
                for name in PROCESSES
            },
            "more ms": median(more),
            "from": lower,
            "to": upper,
        }


def is_usual(other: Turn, turn: Turn) -> bool:
    """Return whether another turn alters none of the processes that one alters."""
    return other.of == turn.of and not set(other.altered) & set(turn.altered)


def milliseconds(cost: Cost, processes: Collection[str]) -> float:
    """Return the milliseconds of a request in some processes."""
    seconds: float = sum(getattr(cost, name) for name in processes)
    return 1000 * seconds / cost.requests


def bench_costs(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the CPU time of requests and moves, and of what they consist of."""
    if given.rounds < 2:
        raise SystemExit("costs: --rounds must be at least 2, since differences have quartiles.")
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="perennial-costs-")))
        files = [path.read_bytes() for path in write_jpegs(home / "jpegs", IMAGES, given.side)]
        sending = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        site = Site.prepared(
            home,
            files,
            threads=given.threads,
            seconds=given.seconds,
            sending=stack.enter_context(sending),
        )
        turns = turns_of(stack, site)
        return list(rows_of(turns, measure(turns, given.rounds)))
