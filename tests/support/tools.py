"""A worker's tools: those that need torch are scripted, those that read images are real."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from core import bootstrap
from core.images.sandbox import SandboxDecoder
from core.job_types.handlers import Tools
from core.job_types.run import run_next_job
from core.jobs.rules import Job, Monitor
from core.platform import Platform
from core.settings import Settings
from core.values import Digest


@dataclass(frozen=True, kw_only=True)
class ScriptedTools(Tools):
    """Tools of a test, which closes the decoder."""

    decoder: SandboxDecoder


class NothingCompiled:
    """A compiler of versions that only torch serves."""

    def require(self, version: Digest) -> None:
        pass

    def compile(self, version: Digest, monitor: Monitor) -> None:
        pass


def tools_of(scripted: Any, settings: Settings | None = None) -> ScriptedTools:
    """Tools with one object in the place of those that need torch."""
    settings = settings or Settings()
    return ScriptedTools(
        importer=scripted,
        compiler=NothingCompiled(),
        trainer=scripted,
        evaluator=scripted,
        embedder=scripted.embedder,
        exporter=scripted,
        archives=bootstrap.archive_reader(settings),
        decoder=bootstrap.decoder(settings, processes=1),
        signatures=bootstrap.signatures(settings),
    )


def run_next(
    platform: Platform,
    scripted: Any,
    stopping: Callable[[], bool] = lambda: False,
    **others: Any,
) -> Job:
    """Have a worker run the next job; the job as it was claimed."""
    tools = replace(tools_of(scripted, platform.settings), **others)
    job = run_next_job(platform, tools, owner="w", stopping=stopping)
    assert job is not None
    return job
