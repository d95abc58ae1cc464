"""Pages beside jobs of every type, which have come to each of their ends."""

import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from pydantic import SecretStr
from starlette.routing import Match

from api.every_page import PAGES
from api.http.authentication import SESSION_COOKIE
from api.pages.rendering import url_of
from core.access.authenticate import sign_in
from core.access.keys import create_key
from core.datasets.rules import DatasetVersion
from core.errors import OutOfMemory
from core.job_types.run import run_next_job
from core.jobs.monitor import JobMonitor
from core.jobs.orders import JobType
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus
from core.principal import Role
from core.registry.versions import Model
from core.trials.rows import Trials, TrialSamples
from core.values import JobId, sha256
from perennial.client import Client
from perennial.requests import ImageFile
from tests.support.api.archives import zipped
from tests.support.api.browsing import make_line
from tests.support.api.every_page import LINE, empty_pages, full_pages, lists_without_rows
from tests.support.api.image_files import picture
from tests.support.api.seeds import a_candidate, a_root, some_weights
from tests.support.api.served import Served, serving
from tests.support.api.service import settings_of
from tests.support.bundles import OURS
from tests.support.evaluation.judged import judged_by
from tests.support.scene import Scene
from tests.support.tools import ScriptedTools, tools_of

MODEL, COPY, PICTURES = "pets", "copy", "pictures"

Look = Callable[[str, JobStatus], object]  # at a job, by its id, and its status

Order = Callable[["Shop", int], str]  # the id of the job; each number orders another thing


ENDS = (JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.SUCCEEDED)


@dataclass
class Shop:
    """A service with what jobs of every type need."""

    served: Served
    scene: Scene
    folder: Path
    model: Model
    kept: DatasetVersion  # of a suite
    to_teach: DatasetVersion  # with classes that nobody knows
    pixels: list[str]  # that may be erased
    tools: ScriptedTools
    jobs: dict[tuple[JobType, JobStatus], list[str]] = field(default_factory=dict)

    @property
    def client(self) -> Client:
        return self.served.client

    def file(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def bundle(self) -> Path:
        """A signed bundle of version 2."""
        path = self.folder / "bundle.tar"
        if not path.exists():
            self.client.exports.order(MODEL, 2, "bundle")
            self.work()
            self.client.exports.download(MODEL, 2, "bundle", to=path)
        return path

    def work(self) -> None:
        platform, tools = self.served.platform, self.tools
        assert run_next_job(platform, tools, owner="w", stopping=lambda: False) is not None


@contextmanager
def a_shop(served: Served, folder: Path) -> Iterator[Shop]:
    """A service with a model whose version 2 forgot its suite, and one that has its root alone."""
    scene = Scene(served.platform.transactions, served.platform.artifacts)
    model = scene.model(MODEL)
    a_root(served.platform, COPY)
    judged_by(scene, model, holdout_tolerance=0.5, settled_tolerance=0.5)
    kept = scene.frozen("cat", "dog", each=40, offset=100)
    scene.suite(model, kept, "kept")
    scene.script.wrong.add(some_weights(served.platform, 101).digest)  # what is trained first
    scene.update(model, scene.frozen("owl", "elk", offset=200, forms=10_000))
    assert scene.run().status is JobStatus.SUCCEEDED
    scene.script.wrong.add(scene.version(model, 1).digest)  # whoever learns more now has gained
    to_teach = scene.frozen("ant", "bee", offset=220)
    served.client.datasets.create(PICTURES)
    files = [("cup", ImageFile(file_name=f"{n}.png", data=picture(900 + n))) for n in range(6)]
    pixels = [one["pixels"] for one in served.client.datasets.upload(PICTURES, files)]
    shop = Shop(
        served=served,
        scene=scene,
        folder=folder,
        model=model,
        kept=kept,
        to_teach=to_teach,
        pixels=[*filter(None, pixels)],
        tools=tools_of(scene.script, served.platform.settings),
    )
    scene.script.embedder.lost = 0.03
    yield shop
    shop.tools.decoder.close()


def _update(shop: Shop) -> str:
    data = shop.to_teach
    job = shop.client.jobs.order_update(
        model=MODEL, dataset=data.dataset, dataset_version=data.number
    )
    return job["id"]


def _convert(shop: Shop) -> str:
    return shop.client.jobs.order_conversion(model=MODEL, version=2, precision="bf16")["id"]


def _evaluate(shop: Shop) -> str:
    """Of a version that has not been asked yet."""
    version = a_candidate(shop.served.platform, shop.model, teaches=("fly",))
    return shop.client.jobs.order_evaluation(model=MODEL, version=version.number)["id"]


def _import_images(shop: Shop, number: int) -> str:
    files = {f"mug/{seed}.png": picture(950 + 2 * number + seed) for seed in range(2)}
    archive = shop.file(f"{number}.zip", zipped(files | {"mug/none.png": b"no image"}))
    return shop.client.datasets.import_images(PICTURES, archive)["id"]


def _blame(shop: Shop) -> str:
    return shop.client.jobs.order_blame(model=MODEL, version=2, by="random", groups=2)["id"]


def _reembed(shop: Shop) -> str:
    return shop.client.vectors.order(MODEL, 2, shop.kept.dataset, shop.kept.number)["id"]


def _erase(shop: Shop, pixels: str) -> str:
    return shop.client.erasures.order([pixels], reason="asked for", retrain="none")["job"]


ORDERS: Mapping[JobType, Order] = {
    JobType.IMPORT: lambda shop, n: shop.client.models.create(f"made-{n}")["id"],
    JobType.UPDATE: lambda shop, _: _update(shop),
    JobType.CONVERT: lambda shop, _: _convert(shop),
    JobType.EVALUATE: lambda shop, _: _evaluate(shop),
    JobType.IMPORT_IMAGES: _import_images,
    JobType.BLAME: lambda shop, _: _blame(shop),
    JobType.EXPORT: lambda shop, _: shop.client.exports.order(MODEL, 2, "onnx")["id"],
    JobType.IMPORT_VERSION: lambda shop, _: shop.client.bundles.send(COPY, shop.bundle())["id"],
    JobType.COMPARE_INDEX: lambda shop, _: shop.client.vectors.compare(MODEL, 2)["id"],
    JobType.REEMBED: lambda shop, _: _reembed(shop),
    JobType.ERASE: lambda shop, n: _erase(shop, shop.pixels[n]),
}


def bring_to_every_end(shop: Shop, look: Look) -> None:
    """Order jobs of every type, bring one to each end, and look at them whenever they change."""
    for job_type, order in ORDERS.items():
        for number, end in enumerate(ENDS):
            _bring(shop, job_type, order(shop, number), end, look)


def _bring(shop: Shop, job_type: JobType, job: str, end: JobStatus, look: Look) -> None:
    look(job, JobStatus.QUEUED)
    with _reporting(lambda: _reach(shop, job, end, look)):
        shop.work()
    with shop.served.platform.transactions(read_only=True) as work:
        ended = work[Jobs].get(JobId(job))
    assert (ended.type, ended.status) == (job_type, end), ended
    look(job, end)
    shop.jobs.setdefault((job_type, end), []).append(job)


def _reach(shop: Shop, job: str, end: JobStatus, look: Look) -> None:
    """Do to a job that reports progress what leads to its end."""
    look(job, JobStatus.RUNNING)
    if end is JobStatus.FAILED:
        raise OutOfMemory
    if end is JobStatus.CANCELLED:
        shop.client.jobs.cancel(job)
        look(job, JobStatus.CANCELLING)


@contextmanager
def _reporting(do: Callable[[], object]) -> Iterator[None]:
    """Do something when the next job has reported its progress for the first time."""
    advance, done = JobMonitor.advance, False

    def advance_and_do(self: JobMonitor, *given: Any, **named: Any) -> None:
        nonlocal done
        advance(self, *given, **named)
        if not done:
            done = True
            do()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JobMonitor, "advance", advance_and_do)
        yield


ROLES = (Role.ADMIN, Role.VIEWER)

EVERY_STATUS = frozenset(JobStatus)

ROUTES = [
    route
    for each in PAGES
    for route in each.routes
    if isinstance(route, APIRoute) and "GET" in (route.methods or ())
]

WORDS: Mapping[JobType, str] = {  # patterns of what each job is said to have come to
    JobType.IMPORT: "version 1",
    JobType.UPDATE: r"version \d+ passed made live as production",
    JobType.CONVERT: r"version \d+ \w+ not made live: .*",
    JobType.EVALUATE: r"version \d+ inconclusive",
    JobType.IMPORT_IMAGES: "pictures 2 images added, 1 refused",
    JobType.ERASE: "1 image erased",
    JobType.BLAME: (
        r"version 2 group \d of 2 cost cat its accuracy, group \d of 2 cost dog its .*, 1 more"
    ),
    JobType.EXPORT: "files of version 2 onnx, 10,240 bytes",
    JobType.IMPORT_VERSION: "version 2",
    JobType.COMPARE_INDEX: "map of versions 1 and 2 (bridge Map the index|uncertain Uncertain).*",
    JobType.REEMBED: r"dataset-\d+ version 1 160 vectors by version 2, 2,688 bytes",
}


@dataclass
class Seen:
    """A service, who looks at its pages, and what was answered about each job in each status."""

    shop: Shop
    browsers: Mapping[Role, httpx.Client]
    answers: dict[str, set[tuple[JobStatus, int]]] = field(default_factory=lambda: defaultdict(set))

    def look(self, job: str, status: JobStatus) -> None:
        """Open the list of jobs, on which the job is among the first, and the page of the job."""
        for path in ("/ui/jobs", f"/ui/jobs/{job}"):
            answer = self.browsers[Role.VIEWER].get(path)
            self.answers[job].add((status, answer.status_code))
            assert "<progress max" not in answer.text  # no phase fills the bar of the whole job

    def told(self, job_type: JobType, job: str) -> tuple[str, str]:
        viewer = self.browsers[Role.VIEWER]
        (row,) = [
            row
            for row in viewer.get(f"/ui/jobs?type={job_type.value}").text.split("<tr>")
            if f'href="/ui/jobs/{job}"' in row
        ]
        panel = viewer.get(f"/ui/jobs/{job}/panel").text
        parts = re.findall(
            r'<(?:p class="result"|div class="problem")>(.*?)</(?:p|b)>', panel, re.S
        )
        return row.split("<td>")[5], " ".join(parts)


def browser_of(shop_url: str, session: str) -> httpx.Client:
    return httpx.Client(base_url=shop_url, cookies={SESSION_COOKIE: session}, trust_env=False)


@pytest.fixture(scope="module")
def seen(ready_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """A service with jobs of every type, each looked at whenever its status had changed."""
    folder = tmp_path_factory.mktemp("jobs")
    home = shutil.copytree(ready_home, folder / "home")
    settings = settings_of(
        home, signing_key=SecretStr(OURS.private), trusted_keys={"lab": OURS.public}
    )
    with ExitStack() as stack:
        served = stack.enter_context(serving(settings))
        browsers = {}
        for role in ROLES:
            _, secret = create_key(served.platform, name=f"a-{role}", role=role, models=None)
            session, _ = sign_in(served.platform, sha256(secret.encode()))
            browsers[role] = stack.enter_context(browser_of(served.url, session))
        shop = stack.enter_context(a_shop(served, folder))
        found = Seen(shop, browsers)
        bring_to_every_end(shop, found.look)
        yield found


@pytest.mark.parametrize("job_type", JobType)
def test_a_job_of_each_type_is_shown_in_every_status(seen: Seen, job_type: JobType) -> None:
    jobs = [job for end in ENDS for job in seen.shop.jobs[job_type, end]]
    assert {answer for job in jobs for answer in seen.answers[job]} == {
        (status, 200) for status in EVERY_STATUS
    }


@pytest.mark.parametrize("job_type", JobType)
def test_what_came_of_a_job_of_each_type_is_told_in_words(seen: Seen, job_type: JobType) -> None:
    (job,) = seen.shop.jobs[job_type, JobStatus.SUCCEEDED]
    for told in seen.told(job_type, job):
        assert re.fullmatch(WORDS[job_type], text_of(told)), text_of(told)
        links = re.findall(r'href="([^"]+)"', told)
        assert len(links) == (job_type is not JobType.ERASE)
        for link in links:
            assert seen.browsers[Role.VIEWER].get(unescape(link)).status_code == 200, link
    (job,) = seen.shop.jobs[job_type, JobStatus.FAILED]
    for told in seen.told(job_type, job):
        assert text_of(told) == OutOfMemory().message
    (job,) = seen.shop.jobs[job_type, JobStatus.CANCELLED]
    assert [text_of(told) for told in seen.told(job_type, job)] == ["–", ""]


def text_of(part: str) -> str:
    text = unescape(re.sub(r"<[^>]+>", " ", part))
    return " ".join(re.sub("[\u2068\u2069]", "", text).split())


def route_of(path: str) -> APIRoute | None:
    scope = {"type": "http", "method": "GET", "path": path.partition("?")[0]}
    return next((route for route in ROUTES if route.matches(scope)[0] is Match.FULL), None)


def every_address(seen: Seen, patch: pytest.MonkeyPatch) -> list[str]:
    """An address of each page, file and part, with something to show and without."""
    shop = seen.shop
    line = make_line(shop.served.platform, patch)
    full = full_pages(shop.served.url, line)
    empty = empty_pages(shop.served.url, shop.served.platform)
    with line.platform.transactions(read_only=True) as work:
        (trial,) = work[Trials].running()
        (sample, *_) = work[TrialSamples].page(trial.id, 1, None)
    kept = f"{LINE}/aliases/production/trials/{trial.id}/samples/{sample.pixels}"
    jobs = [f"/ui/jobs/{job}" for made in shop.jobs.values() for job in made]
    versions = shop.served.client.versions.list("pets")
    return [
        *lists_without_rows(),
        *full,
        *empty,
        *jobs,
        *(f"/ui/models/pets/versions/{one['version']}" for one in versions),
        *(f"/ui/models/{model}" for model in ("pets", "copy", "made-0")),
        *(f"/ui/models/copy/{place}" for place in ("versions/2", "changes?now=2", "map?now=2")),
        *(f"/ui/jobs?type={job_type.value}" for job_type in JobType),
        *(f"/ui/jobs?status={status.value}" for status in JobStatus),
        f"{jobs[0]}/panel",
        f"{jobs[0]}/events",
        f"/ui/images/{sample.pixels}",
        f"/ui/images/{sample.pixels}/thumbnail",
        kept,
        f"{kept}/thumbnail",
        "/ui/first-steps/samples/0",
        url_of("app.css"),
        "/",
    ]


@pytest.fixture(scope="module")
def addresses(seen: Seen) -> Iterator[list[str]]:
    with pytest.MonkeyPatch.context() as patch:
        yield every_address(seen, patch)


def statuses_of(path: str, role: Role) -> set[int]:
    """What a role may be answered: the page or the way to another, or that it may not see it."""
    route = route_of(path)
    if route is None:
        return {404}
    needed = Role((route.openapi_extra or {}).get("x-required-role", Role.VIEWER))
    return {200, 303} if role.includes(needed) else {403}


@pytest.mark.parametrize("role", ROLES)
def test_every_page_opens_beside_jobs_of_every_type(
    seen: Seen, addresses: list[str], role: Role
) -> None:
    for path in addresses:
        answer = seen.browsers[role].get(path)
        assert answer.status_code in statuses_of(path, role), path
        reads = path.startswith("/ui/jobs/") and "perennial certificate" not in answer.text
        if role is Role.VIEWER and '<pre class="command"' in answer.text and not reads:
            assert "a key with the role " in answer.text, path
