"""Measure which engines have torch's features, and how fast each is: `make bench-engines`.

Each architecture is built with random weights, but for the bundled model, and its graphs are
exported. All engines of this machine then encode the same images and sentences as torch in fp32:
the least cosine of their features with torch's, the largest difference of two logits at 100 times
the cosine, and how many images have another best sentence. Last, all encode images by turns in one
process; `x torch` is an engine's rate as a multiple of torch's, the median over the turns.

    python -m benchmarks.engines --architectures ViT-B-32 RN50 --turns 9
"""

import argparse
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import open_clip
import torch

from benchmarks.output import publish
from core.artifacts.local import LocalArtifacts
from core.clip.bases import BUNDLED, read_folder
from core.clip.compile import least_cosine
from core.clip.graphs import write_graphs
from core.clip.model import ClipModel, empty_network
from core.clip.model import publish as publish_weights
from core.clip.served import TorchModel
from core.engines.opening import engines_here, open_by
from core.engines.served import ServedModel
from core.registry.versions import ServingPrecision
from core.settings import thread_count
from core.values import ignore_progress

BUNDLED_NAME = "bundled"
# One of each kind that `docs/models.md` lists, of those the smaller ones.
KINDS = (
    BUNDLED_NAME,
    "ViT-B-32",
    "ViT-S-16-alt",
    "RN50-quickgelu",
    "convnext_tiny",
    "EVA02-B-16",
    "MobileCLIP-S1",
    "MobileCLIP2-S0",
    "PE-Core-T-16-384",
    "swin_base_patch4_window7_224",
    "vit_medium_patch16_gap_256",
    "vit_relpos_medium_patch16_cls_224",
    "ViTamin-S",
)
SENTENCES = [f"a photo of {number} {'red ' * (number % 4)}things" for number in range(50)]
SCALE = 100.0

Row = dict[str, Any]


def model_of(name: str) -> ClipModel:
    """Return an architecture of open_clip's with random weights, or the bundled model."""
    if name == BUNDLED_NAME:
        config, network = read_folder(BUNDLED)
    else:
        config = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": {}}
        torch.manual_seed(0)
        network = empty_network(config)
    return ClipModel.build(config, network.state_dict(), torch.device("cpu")).freeze()


def rows_of(name: str, given: argparse.Namespace) -> Iterator[Row]:
    """Yield a row of each engine; an architecture that cannot be exported says so in one row."""
    model = model_of(name)
    about: Row = {"architecture": name, "millions": _millions(model)}
    began = time.perf_counter()
    try:
        graphs = write_graphs(model)
    except Exception as error:  # noqa: BLE001  (torch's exporter raises many kinds)
        yield about | {"problem": f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"}
        return
    about |= {
        "export s": time.perf_counter() - began,
        "graphs kB": len(graphs.to_bytes()) / 1000,
    }
    own = TorchModel(model)
    served: dict[str, ServedModel] = {}
    loads: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for precision in ServingPrecision:
            stated = {} if precision is ServingPrecision.FP32 else {"precision": precision.value}
            artifacts = LocalArtifacts(Path(folder))
            state = model.network.state_dict()
            config = {**model.config, **stated}
            weights = publish_weights(config, state, artifacts, ignore_progress)
            for engine in engines_here(precision):
                began = time.perf_counter()
                key = f"{engine} {precision}"
                served[key] = open_by(engine, weights, graphs, artifacts, threads=given.threads)
                loads[key] = time.perf_counter() - began
    times = {batch: _timed({"torch": own, **served}, batch, given.turns) for batch in given.batches}
    yield about | {"engine": "torch fp32", **_speeds("torch", times)}
    for key, one in served.items():
        found = {"engine": key, "load s": loads[key], **_compared(own, one, given.images)}
        yield about | found | _speeds(key, times)


def _millions(model: ClipModel) -> float:
    return float(sum(one.numel() for one in model.network.state_dict().values())) / 1e6


def _compared(one: ServedModel, other: ServedModel, count: int) -> Row:
    pixels = _images(one, count)
    tokens = one.tokenizer.rows(SENTENCES)
    blocks = np.array_split(pixels, max(1, count // 16))
    logits = []
    for engine in (one, other):
        features = np.concatenate([engine.encode_images(block) for block in blocks])
        logits.append(SCALE * features.astype(float) @ engine.encode_tokens(tokens).T)
    return {
        "1 - cosine": 1 - least_cosine(one, other),
        "logits differ by": float(np.abs(logits[0] - logits[1]).max()),
        "other answers": int((logits[0].argmax(axis=1) != logits[1].argmax(axis=1)).sum()),
        "of": count,
    }


def _timed(models: Mapping[str, ServedModel], batch: int, turns: int) -> Mapping[str, list[float]]:
    """Return the seconds of each turn by each engine; the first, which warms up, is left out."""
    pixels = _images(models["torch"], batch)
    found: dict[str, list[float]] = {key: [] for key in models}
    for turn in range(turns + 1):
        for key, model in models.items():
            seconds = _seconds(partial(model.encode_images, pixels))
            if turn > 0:
                found[key].append(seconds)
    return found


def _speeds(key: str, times: Mapping[int, Mapping[str, list[float]]]) -> Row:
    """Return the milliseconds an image takes in batches of each size, and multiples of torch's."""
    row: Row = {}
    for batch, found in times.items():
        pairs = zip(found["torch"], found[key], strict=True)
        row[f"ms, {batch}"] = 1000 * median(found[key]) / batch
        row[f"x torch, {batch}"] = median(theirs / own for theirs, own in pairs)
    return row


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _images(model: ServedModel, count: int) -> Any:
    """Return pixels of noise over gradients, (images, height, width, 3)."""
    made = np.random.default_rng(count)
    height, width = model.input.height, model.input.width
    ramp = np.linspace(0, 180, height)[:, None, None] * made.random((count, 1, width, 3))
    noise = made.integers(0, 76, (count, height, width, 3))
    return (ramp + noise).astype(np.uint8)


def main() -> None:
    """Measure each architecture and publish the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engines", description=__doc__.split("\n", maxsplit=1)[0]
    )
    add = parser.add_argument
    add("--architectures", nargs="+", default=list(KINDS), help="of open_clip, or bundled")
    add("--batches", nargs="+", type=int, default=[1, 16])
    add("--turns", type=int, default=7)
    add("--images", type=int, default=64, help="whose answers are compared")
    add("--threads", type=int, default=0)
    given = parser.parse_args()
    given.threads = thread_count(given.threads)
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # weights are random
    rows: list[Row] = []
    for name in given.architectures:
        print(name, flush=True)
        rows += rows_of(name, given)
        publish("engines", rows, given=vars(given), load_average=os.getloadavg())


if __name__ == "__main__":
    main()
