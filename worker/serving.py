"""The inference process: `python -m worker.serving [--exit-with-parent]`."""

import argparse
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import torch
import uvicorn
from fastapi import FastAPI

from core import logs
from core.bootstrap import build, close, keep_private
from core.clip.environment import thread_count
from core.errors import UnsafeConfiguration
from core.ports import Platform
from core.secrecy import hide_environment
from core.settings import Settings
from core.use_cases.keys import require_unguessable
from worker.alias_follower import AliasFollower
from worker.batcher import MicroBatcher
from worker.classifier import Classifier
from worker.inference_app import make_inference_app
from worker.live_models import LiveModels
from worker.parent import when_parent_is_gone
from worker.text_features import TextFeatures


def make_app(platform: Platform) -> FastAPI:
    """The inference service on a platform; it follows the aliases while it runs.

    Raises UnsafeConfiguration.
    """
    settings = platform.settings
    require_key(settings)
    for_texts = settings.inference_memory_bytes // 8
    models = LiveModels(
        platform.artifacts,
        torch.device(settings.device),
        max_bytes=settings.inference_memory_bytes - for_texts,
    )
    batcher = MicroBatcher()
    texts = TextFeatures(batcher, max_bytes=for_texts)
    follower = AliasFollower(platform, models)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        follower.start()
        yield
        follower.stop()
        batcher.close()
        close(platform)

    classifier = Classifier(models, batcher, texts, stored_side=settings.stored_side)
    return make_inference_app(models, classifier, settings, lifespan)


def require_key(settings: Settings) -> None:
    """Raise UnsafeConfiguration unless the settings have a key that nobody guesses."""
    key = settings.inference_key.get_secret_value()
    if not key:
        raise UnsafeConfiguration(
            "The inference process answers nobody without a key: set PERENNIAL_INFERENCE_KEY to "
            "the same key for it and for the API. `python -m api key` makes one."
        )
    require_unguessable("PERENNIAL_INFERENCE_KEY", key)


def server_of(app: FastAPI, settings: Settings) -> uvicorn.Server:
    """The server of the inference service, as its process runs it."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.inference_host,
            port=settings.inference_port,
            log_config=None,  # ours
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=max(1, int(settings.grace_seconds / 2)),
        )
    )


def main() -> None:
    """Serve until SIGTERM, SIGINT or, if asked for, the end of standard input."""
    parser = argparse.ArgumentParser(prog="python -m worker.serving", description=__doc__)
    parser.add_argument("--exit-with-parent", action="store_true", help="end with standard input")
    arguments = parser.parse_args()
    hide_environment()
    keep_private()
    settings = Settings()
    logs.configure(settings, process="inference")
    torch.set_num_threads(thread_count(settings.threads))
    try:
        app = make_app(build(settings))
    except UnsafeConfiguration as fault:
        sys.exit(f"perennial: {fault.message}")
    server = server_of(app, settings)

    def stop() -> None:
        server.should_exit = True

    if arguments.exit_with_parent:
        when_parent_is_gone(stop)
    server.run()


if __name__ == "__main__":
    main()
