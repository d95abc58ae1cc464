"""The FastAPI application."""

from functools import partial
from importlib.metadata import version

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from api import openapi_document
from api.access import routes as access
from api.bundles import routes as bundles
from api.comparison import routes as comparisons
from api.datasets import image_routes as images
from api.datasets import routes as datasets
from api.erasure import routes as erasures
from api.every_page import PAGES
from api.exports import routes as exports
from api.gate import label_routes as labels
from api.gate import routes as gate
from api.guide import plain, reference
from api.http import error_handlers
from api.http.authentication import Holders, KeyCheck, KeyUses
from api.http.limits import BodyArrival, BodySizeLimit, RateLimit
from api.http.middleware import (
    EXCLUDED,
    LEAST_BYTES,
    LEVEL,
    CrossOrigin,
    EntityTags,
    HeaderLists,
    HeadRequests,
    PlainCookies,
    RequestIds,
)
from api.http.routing import DeclaredRoute
from api.imports import routes as imports
from api.imports import upload_routes as uploads
from api.indexes import routes as indexes
from api.inference import classify, embed, embeddings
from api.jobs import routes as jobs
from api.lifespan import make_lifespan, require_safe
from api.observability import Metrics, Telemetry, Tracing
from api.operations import routes as operations
from api.pages.browsing import ProblemPages
from api.rates import Rates
from api.registry import alias_routes as aliases
from api.registry import routes as models
from api.registry import version_routes as versions
from api.trials import routes as trials
from api.vectors import routes as vectors
from api.webhooks import routes as webhooks
from core.access.authenticate import authenticate_token
from core.bootstrap import build, token_verifier
from core.settings import Settings

RESOURCES = (  # routes are matched in this order: the most requested come first
    jobs.router,
    operations.health,
    classify.router,
    embed.router,
    embeddings.router,
    models.router,
    versions.router,
    comparisons.router,
    aliases.router,
    trials.router,
    datasets.router,
    images.router,
    exports.router,
    bundles.router,
    vectors.router,
    indexes.router,
    imports.router,
    uploads.router,
    gate.router,
    labels.router,
    erasures.router,
    webhooks.router,
    operations.router,
    access.router,
    reference.router,
    plain.router,
)


class Application(FastAPI):
    """Application whose middleware sees HTTP requests alone, and not its own start and end."""

    def build_middleware_stack(self) -> ASGIApp:
        """Return the middleware around the router."""
        stack = super().build_middleware_stack()

        async def http_alone(scope: Scope, receive: Receive, send: Send) -> None:
            await (stack if scope["type"] == "http" else self.router)(scope, receive, send)

        return http_alone


def create_app(settings: Settings) -> FastAPI:
    """Return the application for these settings.

    Nothing is opened until the application starts. Raises UnsafeConfiguration.
    """
    require_safe(settings)
    platform = build(settings)
    meter, rates, uses = Metrics(platform), Rates(settings), KeyUses(platform)
    holders = Holders(platform, uses)
    app = Application(
        title="Perennial",
        version=version("perennial"),
        lifespan=make_lifespan(platform, meter, rates, uses, holders),
        routes=[route for router in (*RESOURCES, *PAGES) for route in router.routes],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # openapi_document.describe adds it as an ordinary route
        telemetry={"tracing": False, "metrics": False, "logs": False},  # the middleware has its own
        redirect_slashes=False,  # a redirect to http:// would make clients send the key in clear
    )
    app.router.route_class = DeclaredRoute
    error_handlers.register(app)
    openapi_document.describe(app)
    # The middleware added last is the outermost.
    app.add_middleware(EntityTags)
    app.add_middleware(
        GZipMiddleware,
        minimum_size=LEAST_BYTES,
        compresslevel=LEVEL,
        exclude_content_types=EXCLUDED,
    )
    app.add_middleware(HeaderLists)
    app.add_middleware(
        BodySizeLimit,
        max_body_bytes=settings.max_body_bytes,
        max_json_bytes=settings.max_json_bytes,
    )
    app.add_middleware(HeadRequests)
    if settings.rate_requests or settings.rate_inference:
        app.add_middleware(RateLimit, rates=rates)
    tokens = token_verifier(settings)
    app.add_middleware(
        KeyCheck,
        holders=holders,
        authenticate_token=partial(authenticate_token, platform, tokens) if tokens else None,
    )
    app.add_middleware(
        BodyArrival,
        seconds=settings.receive_seconds,
        bytes_per_second=settings.receive_bytes_per_second,
    )
    if settings.cors_origins:
        app.add_middleware(CrossOrigin, origins=settings.cors_origins)
    app.add_middleware(ProblemPages)
    app.add_middleware(Telemetry, meter=meter)
    if settings.traces_url:
        app.add_middleware(Tracing, tracer=platform.tracer)
    app.add_middleware(PlainCookies)
    app.add_middleware(RequestIds)
    return app
