"""The inference process: `python -m worker.serving [--exit-with-parent]`."""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import torch
import uvicorn
from fastapi import FastAPI

from core import logs
from core.bootstrap import build, close
from core.clip.environment import thread_count
from core.ports import Platform
from core.settings import Settings
from worker.alias_follower import AliasFollower
from worker.batcher import MicroBatcher
from worker.classifier import Classifier
from worker.inference_app import make_inference_app
from worker.live_models import LiveModels
from worker.parent import when_parent_is_gone


def make_app(platform: Platform) -> FastAPI:
    """The inference service on a platform; it follows the aliases while it runs."""
    models = LiveModels(platform.artifacts, torch.device(platform.settings.device))
    batcher = MicroBatcher()
    follower = AliasFollower(platform, models)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        follower.start()
        yield
        follower.stop()
        batcher.close()
        close(platform)

    return make_inference_app(models, Classifier(models, batcher), lifespan)


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
    settings = Settings()
    logs.configure(settings, process="inference")
    torch.set_num_threads(thread_count(settings.threads))
    server = server_of(make_app(build(settings)), settings)

    def stop() -> None:
        server.should_exit = True

    if arguments.exit_with_parent:
        when_parent_is_gone(stop)
    server.run()


if __name__ == "__main__":
    main()
