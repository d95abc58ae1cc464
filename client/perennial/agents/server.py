"""The MCP server: the service's verbs as tools, over stdio or streamable HTTP."""

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version as version_of
from typing import Annotated, Any

import anyio
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import ToolAnnotations
from pydantic import AnyHttpUrl, Field
from starlette.applications import Starlette

from perennial.agents.moves import promote, roll_back
from perennial.agents.service import Call, Service, service_of
from perennial.aio.client import AsyncClient
from perennial.errors import ServiceError
from perennial.terminal.session import sentences
from perennial.types import Event, Job

INSTRUCTIONS = (
    "Perennial teaches CLIP models new classes and scores every new version for what it forgot. "
    "A version is a number of a model; an alias such as production points at the version that "
    "answers users. teach_folder makes a new version and never moves an alias; follow_job waits "
    "for it; read_report says what it learned and lost and whether it may go live. promote and "
    "roll_back move an alias once a person has agreed, whom your program asks."
)

Reference = Annotated[
    str, Field(description="A model, or name@alias, or name:7; a model alone means its production.")
]
Number = Annotated[int, Field(description="The number of a version.")]


def _part(whole: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: whole[name] for name in names}


async def list_models(call: Call) -> list[dict[str, Any]]:
    """List all models with the versions that their aliases point at."""
    async with service_of(call).client() as client:
        return [
            _part(one, "name", "aliases", "suites", "policy") async for one in client.models.list()
        ]


async def list_versions(call: Call, model: str) -> list[dict[str, Any]]:
    """List the versions of a model, oldest first, with verdicts and what each was taught."""
    shown = ("version", "parent", "status", "verdict", "update_classes", "created_at")
    async with service_of(call).client() as client:
        aliases = (await client.models.get(model))["aliases"]
        return [
            {
                **_part(one, *shown),
                "aliases": [name for name, number in aliases.items() if number == one["version"]],
            }
            async for one in client.versions.list(model)
        ]


async def teach_folder(
    call: Call,
    model: str,
    folder: Annotated[str, Field(description="Holds a folder of images for each class.")],
    dataset: Annotated[
        str | None, Field(description="Dataset to add the images to, new or not.")
    ] = None,
    recipe: Annotated[
        dict[str, Any] | None, Field(description="Recipe fields that differ from the default.")
    ] = None,
) -> dict[str, Any]:
    """Send the images of a folder and order an update that teaches a model their classes.

    The job makes a new version; no alias moves, also if the gate passes it. If the update is
    refused, a dataset made for it is deleted.
    """
    service = service_of(call)
    images = await anyio.to_thread.run_sync(service.folders.classes, folder)
    name = dataset or f"{model}-{secrets.token_hex(4)}"
    async with service.client() as client:
        await client.models.get(model)
        made = await _ensure_dataset(client, name)
        try:
            receipts = await client.datasets.upload(name, images)
            job = await client.jobs.order_update(
                model=model, dataset=name, recipe=recipe, auto_promote=False
            )
        except ServiceError:
            if made:
                await client.datasets.delete(name)
            raise
    refused = [
        {"file": str(path), "why": one["error"]["detail"]}
        for (_, path), one in zip(images, receipts, strict=True)
        if one["error"]
    ]
    sent = len(images) - len(refused)
    return {"job": job["id"], "dataset": name, "images_sent": sent, "refused": refused}


async def _ensure_dataset(client: AsyncClient, name: str) -> bool:
    """Create a dataset unless it exists, and return whether it was created."""
    try:
        await client.datasets.create(name)
    except ServiceError as error:
        if error.code != "name_taken":
            raise
        return False
    return True


async def follow_job(
    call: Call,
    job: str,
    seconds: Annotated[
        float, Field(gt=0, le=3600, description="How long to wait for its end.")
    ] = 45.0,
) -> dict[str, Any]:
    """Wait until a job has ended, with progress notifications, and return what it came to.

    If it still runs after some seconds, its present state is returned: call this again.
    """
    async with service_of(call).client() as client:
        with anyio.move_on_after(seconds):
            async for event in client.jobs.watch(job):
                await call.report_progress(event["id"], message=_told(event))
        return await _outcome(client, await client.jobs.get(job))


def _told(event: Event) -> str:
    """Return an event in words: its phase, and at which step it is."""
    data = event["data"]
    phase = str(data.get("phase") or event["kind"])
    return f"{phase}: {data['step']} of {data.get('total') or '?'}" if "step" in data else phase


async def _outcome(client: AsyncClient, job: Job) -> dict[str, Any]:
    found = _part(job, "id", "type", "model", "status", "done", "phase")
    result, model = job["result"] or {}, job["model"]
    if not job["done"]:
        found |= _part(job["progress"], "step", "total", "eta_s")
    if job["error"]:
        found["error"] = job["error"].get("message")
    for name in ("version", "verdict"):
        if result.get(name):
            found[name] = result[name]
    if model and result.get("verdict"):
        found["report"] = " ".join(
            sentences(await client.versions.report(model, result["version"]))
        )
    return found


async def read_report(call: Call, model: str, version: Number) -> str:
    """Say in three sentences what a version learned and lost and whether it may go live."""
    async with service_of(call).client() as client:
        report = await client.versions.report(model, version)
    return " ".join([f"Gate: {report['verdict']}.", *sentences(report)])


async def compare_versions(call: Call, model: str, before: Number, now: Number) -> dict[str, Any]:
    """Compare two versions by their answers to the same test images: what was lost and gained."""
    shown = ("kind", "depth", "name", "count", "right_before", "right", "lost", "gained")
    async with service_of(call).client() as client:
        found = await client.versions.compare(model, before, now)
    return {
        "model": model,
        "before": before,
        "now": now,
        "images_lost": found["lost"],
        "images_gained": found["gained"],
        "measures": [_part(one, *shown) for one in found["measures"]],
        "not_scored": [f"version {one['version']} on {one['name']}" for one in found["left_out"]],
    }


async def classify_image(
    call: Call,
    model: Reference,
    file: Annotated[str, Field(description="An image file.")],
    classes: Annotated[
        list[str] | None, Field(description="Default: all that the version has learned.")
    ] = None,
) -> dict[str, Any]:
    """Classify an image file with a version."""
    service = service_of(call)
    image = service.folders.file(file)
    async with service.client() as client:
        found = await client.classify(model, [image], classes)
    (answer,) = found["data"]
    if error := answer.get("error"):
        raise ToolError(f"{file}: {error['detail']}")
    return {
        "model": found["model"],
        "version": found["version"],
        "predictions": [
            {"class": one["class"], "probability": one["probability"]}
            for one in answer["predictions"]
        ],
    }


READS = (list_models, list_versions, read_report, compare_versions, classify_image, follow_job)
ADDS = (teach_folder,)
MOVES = (promote, roll_back)


def make_server(service: Service) -> MCPServer[Service]:
    """Return the server with its tools."""

    @asynccontextmanager
    async def lifespan(_: MCPServer[Service]) -> AsyncIterator[Service]:
        yield service

    own_keys = service.key is None  # of callers; then no address of an OAuth server is told
    server = MCPServer(
        "perennial",
        title="Perennial",
        instructions=INSTRUCTIONS,
        version=version_of("perennial-client"),
        log_level="WARNING",
        lifespan=lifespan,
        token_verifier=service if own_keys else None,
        auth=_asked_of_the_service(service.url) if own_keys else None,
    )
    for tools, hints in (
        (READS, ToolAnnotations(read_only_hint=True)),
        (ADDS, ToolAnnotations(read_only_hint=False, destructive_hint=False)),
        (MOVES, ToolAnnotations(read_only_hint=False, destructive_hint=True)),
    ):
        for tool in tools:
            server.add_tool(tool, annotations=hints)
    return server


def _asked_of_the_service(url: str) -> AuthSettings:
    """Return settings by which keys are verified, and no OAuth metadata is served."""
    return AuthSettings(issuer_url=AnyHttpUrl(url), resource_server_url=None)


def http_app(server: MCPServer[Service]) -> Starlette:
    """Return the server as an application that answers at /mcp.

    Each request needs a key, which no page of a browser has, so any Host is answered: a proxy
    with TLS stands in front under a name of its own.
    """
    any_host = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    return server.streamable_http_app(transport_security=any_host)


def run_stdio(server: MCPServer[Service]) -> None:
    """Serve the program that started this one, until it ends."""
    server.run("stdio")
