"""Wires the torch implementations into core's ports."""

import os

import torch

from core.clip.base import BaseImporter
from core.clip.environment import thread_count
from core.evaluation.evaluator import VersionEvaluator
from core.learning.session import UpdateTrainer
from core.ports import Platform
from core.settings import Settings
from core.use_cases.run_job import Tools


def build_tools(platform: Platform) -> Tools:
    """What this process trains and scores with, on the device and threads of the settings."""
    settings = platform.settings
    prepare_torch(settings)
    device = torch.device(settings.device)
    evaluator = VersionEvaluator(platform.artifacts, device=device, threads=settings.threads)
    return Tools(
        importer=BaseImporter(platform.artifacts, folders=settings.root_folders),
        trainer=UpdateTrainer(
            platform.artifacts, device=device, threads=settings.threads, ask=evaluator.ask
        ),
        evaluator=evaluator,
    )


def prepare_torch(settings: Settings) -> None:
    """Make this process's arithmetic repeatable to the bit."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what determinism asks of cuBLAS
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(thread_count(settings.threads))
