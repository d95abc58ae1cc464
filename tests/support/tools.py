"""A worker's tools: those that need torch are scripted, those that read images are real."""

from typing import Any

from core import bootstrap
from core.job_types.handlers import Tools
from core.settings import Settings


def tools_of(scripted: Any, settings: Settings | None = None) -> Tools:
    """Tools with one object in the place of those that need torch."""
    settings = settings or Settings()
    return Tools(
        importer=scripted,
        trainer=scripted,
        evaluator=scripted,
        embedder=scripted.embedder,
        exporter=scripted,
        archives=bootstrap.archive_reader(settings),
        decoder=bootstrap.decoder(settings, processes=1),
        signatures=bootstrap.signatures(settings),
    )
