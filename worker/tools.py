"""The tools of jobs: torch, for a device and the settings' threads, which takes seconds."""

import os

import torch

from core import bootstrap
from core.artifacts.store import Artifacts
from core.clip.bases import BaseImporter
from core.clip.compile import GraphCompiler
from core.clip.machine import Devices
from core.errors import UnsafeConfiguration
from core.exporting.exporter import VersionExporter
from core.job_types.handlers import Tools
from core.learning.distributed import DETERMINISTIC, RankProvider, SingleRankProvider
from core.learning.trainer import UpdateTrainer
from core.platform import Platform
from core.scoring.embedder import VersionEmbedder
from core.scoring.evaluator import VersionEvaluator
from core.settings import Settings, thread_count
from worker.ranks.launcher import RankLauncher


def build_tools(platform: Platform, devices: Devices) -> Tools:
    """Return what needs torch, for a device and the settings' threads, and the rest.

    The decoder's processes start at the first image and end with this process.
    """
    settings = platform.settings
    # Make this process's arithmetic reproducible to the bit.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic cuBLAS needs it
    torch.set_deterministic_debug_mode(DETERMINISTIC)
    torch.set_num_threads(thread_count(settings.threads))
    device = devices.chosen
    # Several ranks need as many GPUs in a row as there are: of other devices, the CPU is left.
    others = devices.others if settings.ranks == 1 else devices.others[-1:]
    compiler = GraphCompiler(platform, device=device, threads=thread_count(settings.threads))
    evaluator = VersionEvaluator(
        platform.artifacts, device=device, threads=settings.threads, compiler=compiler
    )
    return Tools(
        importer=BaseImporter(platform.artifacts, folders=settings.root_folders),
        compiler=compiler,
        trainer=UpdateTrainer(
            platform.artifacts,
            device=device,
            others=others,
            threads=settings.threads,
            ask=evaluator.ask,
            rank_provider=rank_provider(settings, platform.artifacts, device),
        ),
        evaluator=evaluator,
        embedder=VersionEmbedder(
            platform.artifacts, device=device, threads=settings.threads, compiler=compiler
        ),
        exporter=VersionExporter(platform.artifacts, threads=settings.threads),
        archives=bootstrap.archive_reader(settings),
        decoder=bootstrap.decoder(settings),
        signatures=bootstrap.signatures(settings),
    )


def rank_provider(settings: Settings, artifacts: Artifacts, device: torch.device) -> RankProvider:
    """Return the provider of the ranks that train with this process.

    Raises UnsafeConfiguration if there are too few GPUs.
    """
    if settings.ranks == 1:
        return SingleRankProvider()
    gpus, needed = torch.cuda.device_count(), (device.index or 0) + settings.ranks
    if settings.ranks < 1 or (device.type == "cuda" and needed > gpus):
        raise UnsafeConfiguration(
            f"PERENNIAL_RANKS is {settings.ranks}, starting at device '{device}', but this machine "
            f"has {gpus} GPUs."
        )
    return RankLauncher(settings.ranks, artifacts=artifacts, threads=settings.threads)
