"""A second version of a served model, put into the registry without training."""

from pathlib import Path

import torch
from pydantic import SecretStr

from core.bootstrap import build, close
from core.clip.weights import load, publish
from core.domain.gate.policy import Verdict
from core.domain.registry.version import Version, VersionStatus
from core.settings import Settings

NOISE = 0.05  # standard deviation of what is added to the image tower


def add_version(home: Path, model: str) -> Version:
    """Add a version whose image tower differs from that of version 1."""
    platform = build(Settings(home=home, admin_key=SecretStr("")))
    try:
        with platform.transactions(read_only=True) as work:
            found = work.models.get(model)
            root = work.versions.get(found.id, 1)
        clip = load(root.digest, platform.artifacts)
        chance = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for tensor in clip.visual.parameters():
                tensor.add_(torch.randn(tensor.shape, generator=chance), alpha=NOISE)
        state = clip.network.state_dict()
        weights = publish(clip.config, state, platform.artifacts, lambda *_: None)
        with platform.transactions() as work:
            version = Version(
                model=found.id,
                number=work.versions.next_number(found.id),
                status=VersionStatus.PROMOTED,
                digest=weights.digest,
                size=weights.size,
                parent=1,
                job=root.job,
                verdict=Verdict.PASSED,
                prompt=root.prompt,
                created_at=platform.clock(),
            )
            work.versions.add(version)
            work.commit()
    finally:
        close(platform)
    return version
