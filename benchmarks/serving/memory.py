"""Start time and memory of the inference process by each engine, with one version and with several.

Each row is a process of its own that loads versions as the inference process does, and then encodes
one image and one sentence by each. It starts when its program does, and is ready when the first
version has answered. Its memory is what is its own, not shared with others, after the last answer.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import SecretStr

from core.bootstrap import migrate, opened
from core.engines.opening import engines_here
from core.engines.rows import EngineChecks
from core.engines.rules import Engine
from core.engines.served import ServedModel
from core.platform import Platform
from core.registry.versions import ServingPrecision
from core.settings import Settings
from core.values import Digest, ignore_progress

VERSIONS = (1, 10)
CHANGED = "logit_scale"  # the tensor in which the versions differ


def bench_memory(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure each model by each engine."""
    from benchmarks.serving.classify import MODELS

    rows: list[dict[str, Any]] = []
    for model in [one for one in arguments.models if one in MODELS]:
        with TemporaryDirectory(prefix="perennial-memory-") as home:
            rows += _rows(model, Path(home), arguments)
    return rows


def _rows(model: str, home: Path, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for precision in ServingPrecision:
        settings = Settings(home=home / precision, admin_key=SecretStr(""))
        migrate(settings)
        with opened(settings) as platform:
            versions = _store(platform, model, precision, arguments.threads)
        engines = [*engines_here(precision)]
        for engine in [Engine.TORCH, *engines] if precision is ServingPrecision.FP32 else engines:
            for count in VERSIONS:
                found = _measured(settings.home, engine, versions[:count], arguments.threads)
                yield {"model": model, "engine": engine, "precision": precision, **found}


def _store(
    platform: Platform, model: str, precision: ServingPrecision, threads: int
) -> list[Digest]:
    """Store versions that differ in one tensor, and what a check finds about each."""
    import torch

    from benchmarks.engines import model_of
    from benchmarks.output import NullMonitor
    from benchmarks.serving.classify import ARCHITECTURES
    from core.clip.compile import GraphCompiler
    from core.clip.model import publish

    if precision is not ServingPrecision.FP32 and not engines_here(precision):
        return []
    built = model_of(ARCHITECTURES[model])
    config = dict(built.config)
    if precision is not ServingPrecision.FP32:
        config["precision"] = precision.value
    state = built.network.state_dict()
    digests = []
    for number in range(max(VERSIONS)):
        changed = {**state, CHANGED: state[CHANGED] + number / 1000}
        digests.append(publish(config, changed, platform.artifacts, ignore_progress).digest)
    compiler = GraphCompiler(platform, device=torch.device("cpu"), threads=threads)
    check = compiler.compile(digests[0], NullMonitor())
    assert check is not None
    with platform.transactions() as work:
        for digest in digests[1:]:
            work[EngineChecks].put(replace(check, weights=digest))
        work.commit()
    return digests


def _measured(
    home: Path, engine: Engine, versions: Sequence[Digest], threads: int
) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.serving.memory"]
    began = time.perf_counter()
    with subprocess.Popen(
        [*command, str(home), engine, str(threads), *versions], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        ready = time.perf_counter() - began
        found = json.loads(process.stdout.readline())
    return {"versions": len(versions), "ready s": ready, **found}


def main(home: str, engine: Any, threads: str, *versions: Digest) -> None:
    """Load versions in this process, and tell of the first one and of the memory of all."""
    import numpy as np
    import psutil

    from worker.inference import engines
    from worker.inference.classifier import MicroBatcher
    from worker.inference.engines import EngineChooser

    engines.gpu_files = lambda: False
    loaded: list[ServedModel] = []
    with opened(Settings(home=Path(home), engine=engine)) as platform:
        chooser = EngineChooser(platform, MicroBatcher(), threads=int(threads))
        for digest in versions:
            served = chooser.open(digest)
            size = served.input.height, served.input.width, 3
            served.encode_images(np.zeros((1, *size), dtype=np.uint8))
            served.encode_tokens(served.tokenizer.rows(["a cat"]))
            if not loaded:
                print(served.engine, flush=True)
            loaded.append(served)
        megabytes = psutil.Process().memory_full_info().uss / 1e6
        print(json.dumps({"by": loaded[0].engine, "MB": round(megabytes)}), flush=True)
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
