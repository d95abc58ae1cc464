"""Measure the cost of storing versions: `make bench-storage`.

A version with the tensors of ViT-B/32 (605 MB of random fp32) is published and loaded several
times, each time in turn with a baseline that moves the same bytes: on a local folder a copy of one
file plus SHA-256; on S3 the bare requests of the same client, tensor by tensor, plus SHA-256.
It also measures the bytes that an update of the small model's image tower adds to the store, and
those that publishing it a second time adds.

    python -m benchmarks.storage --repeats 5
    python -m benchmarks.storage --stores folder --model ViT-B-16
"""

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from statistics import median
from typing import Any, NamedTuple

import open_clip
import torch
from torch import Tensor

from benchmarks.output import publish as publish_table
from benchmarks.output import show
from benchmarks.storage.growth import measure_growth
from benchmarks.storage.stores import Way, folder_store, s3_store
from core.clip.model import empty_network
from core.clip.weights import publish, read_state

MEGABYTE = 1e6


class Seconds(NamedTuple):
    """Wall-clock time and this process's CPU time, which is more reliable on a busy machine."""

    wall: float
    cpu: float


def random_state(model: str) -> dict[str, Tensor]:
    """Return random tensors with the names and shapes of an open_clip model."""
    with torch.device("meta"):
        shapes = empty_network({"model_cfg": open_clip.get_model_config(model)}).state_dict()
    chance = torch.Generator().manual_seed(0)
    return {name: torch.randn(like.shape, generator=chance) for name, like in shapes.items()}


def timed(act: Callable[[], Any]) -> tuple[Seconds, Any]:
    """Call a function; return the seconds it took and its result."""
    began, worked = time.perf_counter(), time.process_time()
    result = act()
    return Seconds(time.perf_counter() - began, time.process_time() - worked), result


def measure(way: Way, state: Mapping[str, Tensor], repeats: int) -> dict[str, list[Seconds]]:
    """Time every operation `repeats` times and check that the loaded bits are the same."""
    seconds: dict[str, list[Seconds]] = {"write": [], "publish": [], "read": [], "load": []}
    for _ in range(repeats):
        store = way.fresh()
        seconds["write"].append(timed(way.write)[0])
        took, weights = timed(lambda: publish({}, state, store, lambda *_: None))  # noqa: B023
        seconds["publish"].append(took)
        seconds["read"].append(timed(way.read)[0])
        took, back = timed(lambda: read_state(weights, store))  # noqa: B023
        seconds["load"].append(took)
        assert all(torch.equal(back[name], state[name]) for name in state)
        del back
    return seconds


def rates(store: str, megabytes: float, seconds: dict[str, list[Seconds]]) -> list[dict[str, Any]]:
    """Return rows for publish and load: their rates, and the ratios to the baseline's."""
    rows = []
    for plain, ours in (("write", "publish"), ("read", "load")):
        pairs = list(zip(seconds[plain], seconds[ours], strict=True))
        ratios = [p.wall / o.wall for p, o in pairs]
        rows.append(
            {
                "store": store,
                "what": ours,
                "plain MB/s": megabytes / median(p.wall for p, _ in pairs),
                "MB/s": megabytes / median(o.wall for _, o in pairs),
                "ratio": median(ratios),
                "worst": min(ratios),
                "best": max(ratios),
                "ratio by CPU": median(p.cpu / o.cpu for p, o in pairs),
            }
        )
    return rows


def main() -> None:
    """Measure the chosen stores and publish the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.storage", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--stores", nargs="+", choices=["folder", "s3"], default=["folder", "s3"])
    parser.add_argument(
        "--model", default="ViT-B-32", help="open_clip architecture of the stored version"
    )
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each operation")
    given = parser.parse_args()
    state = random_state(given.model)
    megabytes = sum(tensor.nbytes for tensor in state.values()) / MEGABYTE
    rows, growths, seconds = [], [], {}
    for name, opened in (("folder", folder_store), ("s3", s3_store)):
        if name in given.stores:
            with opened(state) as way:
                growths.append({"store": name, **asdict(measure_growth(way.fresh()))})
                seconds[name] = measure(way, state, given.repeats)
            rows += rates(name, megabytes, seconds[name])
    show("bytes: the small model, and what an update of its image tower adds", growths)
    publish_table(
        "storage",
        rows,
        model=given.model,
        megabytes=megabytes,
        repeats=given.repeats,
        seconds=seconds,
        growth=growths,
    )


if __name__ == "__main__":
    main()
