"""Small updates in a process whose address space ends some MiB above what it has taken.

    python -m tests.support.learning.limited_memory

Prints as JSON the version's digest and what the job was told, or the error's code: of one that
is ordered in halves, of one with too little room for the whole, of one with too little for a
half, and of one afterwards.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.loading import loading

with loading():
    import torch

    from core.errors import OutOfMemory
    from core.learning.trainer import UpdateTrainer
    from core.recipes.fields import Precision
    from core.training.trainer import TrainingSpec
    from tests.support.learning.lessons import Watching, red_and_blue, shaded, with_recipe
    from tests.support.learning.tiny_clip import tiny_config
    from tests.support.memory_artifacts import MemoryArtifacts

IMAGES = 128

WHOLE_MIB = 120  # of the 150 to 200 that the whole batch takes, more than a half takes

HALF_MIB = 40


@dataclass
class Limiting(Watching):
    """Ends the address space when everything is loaded and the first step comes."""

    mib: int = 0

    def advance(
        self, phase: str, step: int, total: int, terms: Mapping[str, float] | None = None
    ) -> None:
        super().advance(phase, step, total, terms)
        if self.mib and (phase, step) == ("loading", total):
            limit(taken() + self.mib * 2**20)


def taken() -> int:
    """Bytes of address space that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def limit(most: int) -> None:
    """End the address space there."""
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def outcome(artifacts: MemoryArtifacts, spec: TrainingSpec, *, mib: int = 0) -> dict[str, Any]:
    """Train within a limit, which ends with it."""
    monitor = Limiting(mib=mib)
    trainer = UpdateTrainer(artifacts, device=torch.device("cpu"), threads=1)
    try:
        digest = trainer.train(spec, resume=None, monitor=monitor).weights.digest
    except OutOfMemory as fault:
        return {"code": fault.code, "told": monitor.told, "facts": fault.facts}
    finally:
        limit(resource.RLIM_INFINITY)
    return {"digest": digest, "told": monitor.told}


def outcomes() -> Iterator[dict[str, Any]]:
    """Of one step each."""
    config = tiny_config()
    config["model_cfg"]["vision_cfg"] |= {"image_size": 64, "width": 64, "layers": 4}
    artifacts = MemoryArtifacts()
    spec = with_recipe(
        red_and_blue(artifacts, config), epochs=1, batch_size=IMAGES, precision=Precision.FP32
    )
    noise = [shaded(artifacts, ("red", "blue")[seed % 2], seed) for seed in range(IMAGES)]
    spec = replace(spec, images=tuple(sorted(noise, key=lambda entry: entry.pixels)))
    yield outcome(artifacts, with_recipe(spec, micro_batch=IMAGES // 2))
    yield outcome(artifacts, spec, mib=WHOLE_MIB)
    yield outcome(artifacts, spec, mib=HALF_MIB)
    yield outcome(artifacts, with_recipe(spec, micro_batch=IMAGES // 2))


if __name__ == "__main__":
    print(json.dumps(list(outcomes())))
