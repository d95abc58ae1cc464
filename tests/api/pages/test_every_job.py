"""Pages beside jobs of every type, which have come to each of their ends."""

import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path

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
from core.errors import OutOfMemory
from core.jobs.orders import JobType
from core.jobs.rules import JobStatus
from core.principal import Role
from core.trials.rows import Trials, TrialSamples
from tests.support.api.browsing import make_line
from tests.support.api.every_job import ENDS, Shop, a_shop, bring_to_every_end
from tests.support.api.every_page import LINE, empty_pages, full_pages, lists_without_rows
from tests.support.api.served import serving
from tests.support.api.service import settings_of
from tests.support.bundles import OURS

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
    JobType.EVALUATE: r"version \d+ inconclusive",
    JobType.IMPORT_IMAGES: "pictures 2 images added, 1 refused",
    JobType.ERASE: "1 image erased",
    JobType.BLAME: (
        r"version 2 group \d of 2 cost cat its accuracy, group \d of 2 cost dog its .*, 1 more"
    ),
    JobType.EXPORT: "version 2 onnx, 10,240 bytes",
    JobType.IMPORT_VERSION: "version 2",
    JobType.COMPARE_INDEX: "map of versions 1 and 2 bridge Map the index by the bridge: .*",
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
            session, _ = sign_in(served.platform, secret)
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
        assert seen.browsers[role].get(path).status_code in statuses_of(path, role), path
