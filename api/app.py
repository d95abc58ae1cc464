"""The FastAPI application."""

from functools import partial
from importlib.metadata import version

from fastapi import FastAPI

from api import openapi_document
from api.http import error_handlers
from api.http.authentication.key_check import KeyCheck
from api.http.authentication.key_uses import KeyUses
from api.http.declared_route import DeclaredRoute
from api.http.lookups.shared_lookup import SharedLookup
from api.http.middleware.body_arrival import BodyArrival
from api.http.middleware.body_size_limit import BodySizeLimit
from api.http.middleware.compression import Compression
from api.http.middleware.cross_origin import CrossOrigin
from api.http.middleware.entity_tags import EntityTags
from api.http.middleware.head_requests import HeadRequests
from api.http.middleware.header_lists import HeaderLists
from api.http.middleware.rate_limit import RateLimit
from api.http.middleware.request_ids import RequestIds
from api.lifespan import make_lifespan
from api.observability.metrics import Metrics
from api.observability.telemetry import Telemetry
from api.observability.tracing import Tracing
from api.pages.browser.problem_pages import ProblemPages
from api.pages.views.every_page import PAGES
from api.rates import Rates
from api.routes import bundles, erasures, exports, reference, webhooks
from api.routes.access import api_keys, audit, principal
from api.routes.comparison import blames, comparisons
from api.routes.datasets import contents, datasets, edits, images, suites
from api.routes.imports import imports, uploads
from api.routes.inference import classify, embed, embeddings
from api.routes.jobs import advice, events, jobs
from api.routes.operations import gc, health, metrics, workers
from api.routes.registry import aliases, classes, models, policies, versions
from api.routes.trials import samples, trials
from api.routes.vectors import compatibility, vectors
from api.startup_checks import require_safe
from core.bootstrap import build, token_verifier
from core.settings import Settings
from core.use_cases.access.authenticate import authenticate
from core.use_cases.access.authenticate_token import authenticate_token
from core.use_cases.access.sessions import authenticate_sessions

RESOURCES = (  # routes are matched in this order: the most requested come first
    jobs.router,
    events.router,
    health.router,
    classify.router,
    embed.router,
    embeddings.router,
    models.router,
    versions.router,
    comparisons.router,
    blames.router,
    aliases.router,
    trials.router,
    samples.router,
    classes.router,
    datasets.router,
    images.router,
    exports.router,
    bundles.router,
    vectors.router,
    compatibility.router,
    imports.router,
    uploads.router,
    contents.router,
    edits.router,
    suites.router,
    policies.router,
    erasures.router,
    webhooks.router,
    workers.router,
    gc.router,
    metrics.router,
    advice.router,
    api_keys.router,
    principal.router,
    audit.router,
    reference.router,
)


def create_app(settings: Settings) -> FastAPI:
    """Return the application for these settings.

    Nothing is opened until the application starts. Raises UnsafeConfiguration.
    """
    require_safe(settings)
    platform = build(settings)
    meter, rates, uses = Metrics(platform), Rates(settings), KeyUses(platform)
    keys = SharedLookup(uses.noting(partial(authenticate, platform)))
    sessions = SharedLookup(uses.noting(partial(authenticate_sessions, platform)))
    app = FastAPI(
        title="Perennial",
        version=version("perennial"),
        lifespan=make_lifespan(settings, platform, meter, rates, uses, (keys, sessions)),
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
    app.add_middleware(Compression)
    app.add_middleware(HeaderLists)
    app.add_middleware(
        BodySizeLimit,
        max_body_bytes=settings.max_body_bytes,
        max_json_bytes=settings.max_json_bytes,
    )
    app.add_middleware(HeadRequests)
    if settings.rate_requests:
        app.add_middleware(RateLimit, rates=rates)
    tokens = token_verifier(settings)
    app.add_middleware(
        KeyCheck,
        keys=keys,
        sessions=sessions,
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
    app.add_middleware(RequestIds)
    return app
