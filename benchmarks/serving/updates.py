"""The wall time of an update, by engine: training stays with torch, scoring has the engine.

One service of each engine teaches five classes of the demo's images to the bundled model by the
default recipe, with the demo's suites. They take turns, each with one update a round. The first of
each is left out, because it also scores the version that the others start from.
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from demo.images import read_products
from demo.service import running_service
from demo.show import Show
from demo.walkthrough import MODEL, create_model, upload_products
from perennial.client import Client

ENGINES = ("torch", "auto")
TEACHING = "training"  # the phase; its batches are read in it


def bench_updates(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure updates by each engine; seconds are medians over the rounds."""
    found: dict[str, list[Mapping[str, float]]] = defaultdict(list)
    first, _ = read_products()
    with ExitStack() as stack:
        clients: dict[str, Client] = {}
        for engine in ENGINES:
            home = Path(stack.enter_context(TemporaryDirectory(prefix="perennial-updates-")))
            service = stack.enter_context(running_service(home, PERENNIAL_ENGINE=engine))
            clients[engine] = stack.enter_context(service.client())
            create_model(clients[engine], Show())
            upload_products(clients[engine], Show(), first)
        for number in range(arguments.rounds + 1):
            for engine in ENGINES if number % 2 else reversed(ENGINES):
                taken = _update(clients[engine], first.dataset, seed=number)
                if number:
                    found[engine].append(taken)
    whole = {engine: [sum(one.values()) for one in rounds] for engine, rounds in found.items()}
    ratios = [by / torch for by, torch in zip(whole["auto"], whole["torch"], strict=True)]
    return [
        {
            "model": "tiny",
            "engine": engine,
            "updates": len(rounds),
            "seconds": median(whole[engine]),
            "least": min(whole[engine]),
            "most": max(whole[engine]),
            "training s": median(one[TEACHING] for one in rounds),
            "rest s": median(sum(one.values()) - one[TEACHING] for one in rounds),
            ": torch": median(ratios) if engine == "auto" else 1.0,
        }
        for engine, rounds in found.items()
    ]


def _update(client: Client, dataset: str, *, seed: int) -> dict[str, float]:
    """Return the seconds of each phase of an update."""
    job = client.jobs.order_update(
        model=MODEL,
        dataset=dataset,
        dataset_version=1,
        parent=1,
        recipe={"seed": seed},
        auto_promote=False,
    )
    done = client.jobs.wait(job["id"], every=0.3)
    events = [one for one in client.jobs.events(job["id"]) if one["kind"] == "phase"]
    began = [(one["data"]["phase"], datetime.fromisoformat(one["at"])) for one in events]
    assert done["finished_at"] is not None
    ends = [at for _, at in began[1:]] + [datetime.fromisoformat(done["finished_at"])]
    seconds: dict[str, float] = defaultdict(float)
    for (phase, start), end in zip(began, ends, strict=True):
        seconds[phase] += (end - start).total_seconds()
    return seconds
