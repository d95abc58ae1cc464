"""The HTTP server of the inference process."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette

from core.access.keys import require_unguessable
from core.bootstrap import close
from core.errors import UnsafeConfiguration
from core.platform import Platform
from core.settings import Settings, thread_count
from worker.inference.app import make_inference_app
from worker.inference.classifier import Classifier, MicroBatcher, TextFeatures
from worker.inference.engines import EngineChooser
from worker.inference.models import AliasFollower, ModelCache

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 75  # longer than the API keeps idle connections, so that none ends under a request


def make_app(platform: Platform) -> Starlette:
    """Return the inference service's app, which follows the aliases while it runs.

    Raises UnsafeConfiguration.
    """
    settings = platform.settings
    key = settings.inference_key.get_secret_value()
    if not key:
        raise UnsafeConfiguration(
            "The inference process needs a key: set PERENNIAL_INFERENCE_KEY to the same key for it "
            "and for the API. `perennial key` prints one."
        )
    require_unguessable("PERENNIAL_INFERENCE_KEY", key)
    text_bytes = settings.inference_memory_bytes // 8
    batcher = MicroBatcher()
    chooser = EngineChooser(platform, batcher, threads=thread_count(settings.threads))
    models = ModelCache(
        platform.artifacts,
        chooser.open,
        max_bytes=settings.inference_memory_bytes - text_bytes,
    )
    texts = TextFeatures(batcher, max_bytes=text_bytes)
    follower = AliasFollower(platform, models)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        follower.start()
        yield
        follower.stop()
        batcher.close()
        close(platform)

    classifier = Classifier(models, batcher, texts)
    return make_inference_app(models, classifier, settings, chooser.device, lifespan)


def make_server(app: Starlette, settings: Settings) -> uvicorn.Server:
    """Return the HTTP server that runs the inference service's app."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.inference_host,
            port=settings.inference_port,
            log_config=None,  # keeps our logging
            log_level="warning",
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, int(settings.grace_seconds / 2)),
        )
    )
