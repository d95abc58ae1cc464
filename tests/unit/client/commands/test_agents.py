"""Agents, by the MCP SDK's own client against a whole service: over stdio and streamable HTTP."""

import asyncio
import json
import logging
import re
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
import uvicorn
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, ElicitRequestParams, ElicitResult, InputRequiredResult

from core.gate.rules import Verdict
from perennial.agents.folders import Folders
from perennial.agents.server import http_app, make_server
from perennial.agents.service import Service
from perennial.errors import ServiceError
from perennial.terminal.session import ERROR, KEY, URL
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import KEY as ADMIN
from tests.support.evaluation.evaluations import report_of, second_update
from tests.support.places import ROOT
from tests.support.servers.answering import in_thread
from tests.unit.client.commands.conftest import Run, Site

OLDER = "legacy"  # the protocol of 2025, in which the server asks in the middle of a call
WAYS = [("stdio", OLDER), ("http", "auto"), ("http", OLDER)]


@dataclass
class Person:
    """Whoever is asked, with an answer to every question; what was asked is kept."""

    answer: dict[str, Any] | str
    asked: list[str] = field(default_factory=list)
    meanwhile: Callable[[], object] | None = None

    async def __call__(self, _: object, question: ElicitRequestParams) -> ElicitResult:
        self.asked.append(question.message)
        if self.meanwhile is not None:
            act, self.meanwhile = self.meanwhile, None
            await asyncio.to_thread(act)
        if isinstance(self.answer, str):
            return ElicitResult(action=self.answer)
        return ElicitResult(action="accept", content=self.answer)


def agreeing() -> Person:
    return Person({"agree": True})


def environment(url: str, key: str = "") -> dict[str, str]:
    """The environment of a command that runs by itself."""
    given = {KEY: key} if key else {}
    return {URL: url, "NO_PROXY": "127.0.0.1", "PYTHONPATH": str(ROOT / "client"), **given}


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server for agents by both transports, and the folder that it reads."""

    site: Site
    url: str
    folder: Path
    errors: Path

    @asynccontextmanager
    async def agent(
        self, way: str, mode: str, person: Person | None = None, key: str = ADMIN
    ) -> AsyncIterator[Client]:
        """An agent whose program can ask a person if there is one."""
        async with AsyncExitStack() as stack:
            if way == "http":
                headers = {"Authorization": f"Bearer {key}"}
                http = httpx2.AsyncClient(headers=headers, trust_env=False, timeout=60)
                await stack.enter_async_context(http)
                transport = streamable_http_client(self.url, http_client=http)
            else:
                program = StdioServerParameters(
                    command=sys.executable,
                    args=["-m", "perennial", "mcp", "--folder", str(self.folder)],
                    env=environment(self.site.url, key),
                )
                errors = stack.enter_context(self.errors.open("a"))
                transport = stdio_client(program, errlog=errors)
            client = Client(transport, mode=mode, elicitation_callback=person)
            yield await stack.enter_async_context(client)

    def calls(
        self, tool: str, person: Person | None = None, key: str = ADMIN, **given: Any
    ) -> CallToolResult:
        """The result of one call, over HTTP by the present protocol."""

        async def called() -> CallToolResult:
            async with self.agent("http", "auto", person, key) as agent:
                return await agent.call_tool(tool, given)

        return asyncio.run(called())


@pytest.fixture(scope="module")
def server(site: Site, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    service = Service(url=site.url, key=None, folders=Folders([folder.parent]))
    config = uvicorn.Config(
        http_app(make_server(service)), host="127.0.0.1", port=0, log_level="warning"
    )
    with in_thread(uvicorn.Server(config)) as url:
        yield Server(
            site=site,
            url=f"{url}/mcp",
            folder=folder.parent,
            errors=tmp_path_factory.mktemp("errors") / "stderr",
        )


@pytest.fixture(scope="module")
def keys(site: Site) -> dict[str, str]:
    """A key of each role."""
    roles = ("viewer", "contributor", "operator")
    return {role: site.client.keys.create(f"agent-{role}", role)["secret"] for role in roles}


def text_of(result: CallToolResult) -> str:
    return "\n".join(part.text for part in result.content)


def refused(result: CallToolResult) -> str:
    assert result.is_error, result
    return text_of(result)


def fact_of(result: CallToolResult) -> Any:
    assert not result.is_error, text_of(result)
    return result.structured_content.get("result", result.structured_content)


# Some programs would show a second line, whose end is read from right to left.
DECEITFUL = 'no\u2028Gate on version 1: \u202edessap\n"so"'


@pytest.mark.parametrize(("way", "mode"), WAYS, ids=["stdio, 2025", "http", "http, 2025"])
def test_an_agent_teaches_reads_and_promotes_once_a_person_agrees(
    way: str, mode: str, server: Server
) -> None:
    site, name = server.site, f"{way}-{mode}"
    a_root(site.platform, name)
    site.client.models.change(name, policy="few", suites=["pets"], reason="a test")
    site.learner.root = site.client.versions.get(name, 1)["digest"]
    person, heard = agreeing(), []

    async def hear(progress: float, _: float | None, message: str | None) -> None:
        heard.append((progress, message))

    async def walk() -> None:
        async with server.agent(way, mode, person) as agent:
            call = partial(told, agent)
            assert name in {one["name"] for one in await call("list_models")}
            order = await call("teach_folder", model=name, folder="new")
            assert (order["images_sent"], order["refused"]) == (22, [])
            ended = await agent.call_tool("follow_job", {"job": order["job"]}, None, hear)
            assert fact_of(ended)["verdict"] == "passed"
            assert site.client.aliases.get(name)["version"] == 1
            versions = await call("list_versions", model=name)
            assert [(one["version"], one["aliases"]) for one in versions] == [
                (1, ["production"]),
                (2, []),
            ]
            report = site.client.versions.report(name, 2)
            said = await call("read_report", model=name, version=2)
            assert said == f"Gate: passed. {fact_of(ended)['report']}"
            assert report["summary"]["go_live"] in said
            compared = await call("compare_versions", model=name, before=1, now=2)
            assert (compared["images_lost"], compared["images_gained"] > 0) == (0, True)
            person.answer = "decline"
            ask = {"model": name, "version": 2, "reason": "looks good"}
            assert "did not agree" in refused(await agent.call_tool("promote", ask))
            assert site.client.aliases.get(name)["version"] == 1
            person.answer = {"agree": True}
            moved = await call("promote", **ask)
            assert moved == f"{name}@production is version 2 (revision 2)."
            image = next((server.folder / "new" / "bag").iterdir())
            seen = await call("classify_image", model=name, file=str(image))
            assert seen["version"] == 2
            assert {one["class"] for one in seen["predictions"]} == {"bag", "boot"}
            moved = await call("roll_back", model=name, to=1, reason=DECEITFUL)
            assert moved == f"{name}@production is version 1 (revision 3)."

    asyncio.run(walk())
    assert [progress for progress, _ in heard] == sorted({progress for progress, _ in heard})
    assert any(message.startswith("training") for _, message in heard)
    declined, promotion, rollback = person.asked
    assert declined == promotion
    assert promotion.startswith(f"Promote version 2 of {name}: shall {name}@production")
    assert "is version 1 (revision 1)." in promotion
    assert "Gate on version 2: passed." in promotion
    assert site.client.versions.report(name, 2)["summary"]["lost"] in promotion
    assert promotion.endswith('The agent\'s reason: "looks good"')
    assert rollback.startswith(f"Roll back to version 1 of {name}")
    assert rollback.endswith(
        'The agent\'s reason: "no\\u2028Gate on version 1: \\u202edessap\\n\\"so\\""'
    )
    reasons = [one["reason"] for one in site.client.aliases.history(name)]
    assert reasons[1:] == ["looks good", DECEITFUL]


async def told(agent: Client, tool: str, **given: Any) -> Any:
    return fact_of(await agent.call_tool(tool, given))


@pytest.fixture(scope="module")
def live(site: Site, server: Server) -> str:
    """A model whose version 2 has passed and is not live."""
    order = fact_of(server.calls("teach_folder", model="demo", folder="new", dataset="bags"))
    site.client.jobs.wait(order["job"], every=0.05)
    return "demo"


MOVE = {"model": "demo", "version": 2, "reason": "please"}


@pytest.mark.parametrize("mode", ["auto", OLDER])
def test_without_a_person_who_agrees_nothing_moves(mode: str, server: Server, live: str) -> None:
    async def walk() -> None:
        for person, said in (
            (Person("decline"), "did not agree"),
            (Person("cancel"), "did not agree"),
            (Person({"agree": False}), "did not agree"),
            (Person({}), "does not match the requested schema"),
            (None, "your program cannot ask one"),
        ):
            async with server.agent("http", mode, person) as agent:
                assert said in refused(await agent.call_tool("promote", MOVE))
                back = {"model": "demo", "to": 1, "reason": "please"}
                assert said in refused(await agent.call_tool("roll_back", back))

    before = server.site.client.aliases.get(live)
    asyncio.run(walk())
    assert server.site.client.aliases.get(live) == before


def test_the_question_says_what_the_agents_reason_would_be_for(server: Server) -> None:
    model, person = a_root(server.site.platform, "doubtful"), agreeing()
    report = report_of(second_update(), lambda *_: True)
    a_candidate(server.site.platform, model, verdict=Verdict.INCONCLUSIVE, report=report)
    person.answer = "decline"

    async def walk() -> None:
        async with server.agent("http", "auto", person) as agent:
            await agent.call_tool("promote", MOVE | {"model": "doubtful"})

    asyncio.run(walk())
    (asked,) = person.asked
    needed = "Without a reason, this is refused: The gate's verdict on version 2 beside version 1"
    assert f"{needed} is 'inconclusive': moving an alias to it requires a reason." in asked


def test_an_agent_cannot_answer_for_the_person(server: Server, live: str) -> None:
    """By what a call may hold: arguments, answers that nobody asked for, answers of old calls."""

    async def walk() -> None:
        async with server.agent("http", "auto", Person("decline")) as agent:
            (promote,) = [one for one in (await agent.list_tools()).tools if one.name == "promote"]
            assert set(promote.input_schema["properties"]) == {*MOVE, "alias"}
            yes = {"action": "accept", "data": {"agree": True}, "agree": True}
            forged = {**MOVE, "consent": yes, "present": {"revision": 1}, "override": True}
            refused(await agent.call_tool("promote", forged))
            asked = await agent.session.call_tool("promote", MOVE, allow_input_required=True)
            assert isinstance(asked, InputRequiredResult)
            (question,) = asked.input_requests
            answers = {question: ElicitResult(action="accept", content={"agree": True})}
            unasked = await agent.session.call_tool(
                "promote", MOVE, input_responses=answers, allow_input_required=True
            )
            assert isinstance(unasked, InputRequiredResult)  # it asks, instead of moving
            others = {**MOVE, "version": 1}
            with pytest.raises(MCPError):  # the question was about version 2
                await agent.session.call_tool(
                    "promote",
                    others,
                    input_responses=answers,
                    request_state=asked.request_state,
                    allow_input_required=True,
                )

    before = server.site.client.aliases.get(live)
    asyncio.run(walk())
    assert server.site.client.aliases.get(live) == before


def test_an_answer_counts_once_and_for_the_alias_as_it_was_shown(server: Server, live: str) -> None:
    aliases = server.site.client.aliases

    async def walk() -> None:
        async with server.agent("http", "auto", agreeing()) as agent:
            asked = await agent.session.call_tool("promote", MOVE, allow_input_required=True)
            (question,) = asked.input_requests
            answered = partial(
                agent.session.call_tool,
                "promote",
                MOVE,
                input_responses={question: ElicitResult(action="accept", content={"agree": True})},
                request_state=asked.request_state,
                allow_input_required=True,
            )
            assert not (await answered()).is_error
            aliases.roll_back(live, to=1, reason="a person's own decision")
            assert isinstance(await answered(), InputRequiredResult)

    asyncio.run(walk())
    assert aliases.get(live)["version"] == 1


@pytest.mark.parametrize("mode", ["auto", OLDER])
def test_an_alias_that_moves_while_a_person_thinks_is_not_moved_by_that_answer(
    mode: str, server: Server, live: str
) -> None:
    aliases = server.site.client.aliases
    person = agreeing()
    person.meanwhile = lambda: aliases.promote(live, 2, reason="in between")

    async def walk() -> CallToolResult:
        async with server.agent("http", mode, person) as agent:
            return await agent.call_tool("promote", MOVE)

    first = aliases.get(live)["revision"]
    result = asyncio.run(walk())
    assert f"is version 1 (revision {first})" in person.asked[0]
    if mode == OLDER:
        assert "moved" in refused(result)
    else:  # asked anew, about the alias as it is now
        assert f"is version 2 (revision {first + 1})" in person.asked[1]
    assert [one["reason"] for one in aliases.history(live)][first:] == ["in between"]
    aliases.roll_back(live, to=1, reason="as before")


def test_each_caller_may_do_what_its_own_key_may(
    server: Server, live: str, keys: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    before = server.site.client.aliases.get(live)
    viewer, contributor = keys["viewer"], keys["contributor"]
    assert fact_of(server.calls("read_report", key=viewer, model=live, version=2))
    said = refused(server.calls("promote", agreeing(), viewer, **MOVE))
    assert "This takes at least the role operator; you have the role viewer." in said
    assert "Ask an admin for a key of that role." in said
    said = refused(server.calls("teach_folder", key=viewer, model=live, folder="new"))
    assert "at least the role contributor" in said
    order = server.calls("teach_folder", key=contributor, model=live, folder="new")
    with suppress(ServiceError):  # unless it has ended
        server.site.client.jobs.cancel(fact_of(order)["job"])
    refused(server.calls("promote", agreeing(), contributor, **MOVE))
    assert server.site.client.aliases.get(live) == before
    told = server.site.told() + caplog.text
    assert "agent-viewer" in told
    assert not [role for role, key in keys.items() if key in told]


def test_a_caller_without_a_key_of_the_service_is_refused_at_the_door(
    server: Server, keys: dict[str, str]
) -> None:
    first = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "any", "version": "1"},
        },
    }
    accept = {"Accept": "application/json, text/event-stream"}
    with httpx.Client(trust_env=False, headers=accept) as anyone:
        assert anyone.post(server.url, json=first).status_code == 401
        wrong = {"Authorization": "Bearer pk_nobody"}
        assert anyone.post(server.url, json=first, headers=wrong).status_code == 401
        own = {"Authorization": f"Bearer {keys['operator']}"}
        session = anyone.post(server.url, json=first, headers=own).headers["Mcp-Session-Id"]
        listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        for key, status in ((keys["viewer"], 404), (keys["operator"], 200)):
            headers = {"Authorization": f"Bearer {key}", "Mcp-Session-Id": session}
            assert anyone.post(server.url, json=listing, headers=headers).status_code == status


def test_files_outside_the_folders_are_not_read(server: Server, tmp_path: Path) -> None:
    inside = server.folder
    secret = tmp_path / "secret.png"
    shutil.copy(next((inside / "new" / "bag").iterdir()), secret)
    (inside / "link.png").symlink_to(secret)
    (inside / "out").symlink_to(tmp_path)
    leading = inside / "leading" / "bag"
    leading.mkdir(parents=True)
    (leading / "1.png").symlink_to(secret)
    try:
        for named in (
            str(secret),
            str(tmp_path / "missing.png"),
            "link.png",
            "out/secret.png",
            f"../{tmp_path.name}/secret.png",
            "new/../../secret.png",
            str(inside) + "-beside/secret.png",
        ):
            said = refused(server.calls("classify_image", model="demo", file=named))
            assert "is outside the folders that this server reads" in said, named
        for named in (str(tmp_path), "leading", "/", "."):
            said = refused(server.calls("teach_folder", model="demo", folder=named))
            assert "is outside" in said, named
            assert secret.name not in said  # nor is any name of what is there told
        assert "not a path" in refused(server.calls("classify_image", model="demo", file="a\0b"))
        for named in ("new", "new/nothing.png"):
            said = refused(server.calls("classify_image", model="demo", file=named))
            assert "is not a file" in said
        said = refused(server.calls("teach_folder", model="demo", folder="new/bag"))
        assert "holds no <class>/<image> files" in said
    finally:
        (inside / "link.png").unlink()
        (inside / "out").unlink()
        shutil.rmtree(inside / "leading")


TRANSCRIPT = re.compile(r"^## A transcript\n.*?^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_transcript_of_the_guide_is_what_happens(server: Server) -> None:
    """Calls and the person's answers are read from the page; all lines must come out the same."""
    page = (ROOT / "docs/how-to/agents.md").read_text("utf-8")
    (shown,) = TRANSCRIPT.findall(page)
    calls = re.findall(r"^> (\w+) (.*)$", shown, flags=re.MULTILINE)
    answers = iter(re.findall(r"^! (.*)$", shown, flags=re.MULTILINE))
    lines, order = list[str](), dict[str, str]()

    async def person(_: object, question: ElicitRequestParams) -> ElicitResult:
        lines.extend(f"? {line}" for line in question.message.splitlines())
        lines.append(f"! {(answer := next(answers))}")
        action, _, content = answer.partition(" ")
        return ElicitResult(action=action, content=json.loads(content) if content else None)

    async def walk() -> None:
        async with server.agent("http", "auto", person) as agent:
            for tool, given in calls:
                lines.append(f"> {tool} {given}")
                named = given.replace("job_...", order.get("job", ""))
                result = await agent.call_tool(tool, json.loads(named))
                if tool == "teach_folder":
                    order["job"] = fact_of(result)["job"]
                said = text_of(result).replace(order["job"], "job_...")
                lines.extend(f"< {line}" for line in said.splitlines())

    name = json.loads(calls[0][1])["model"]
    a_root(server.site.platform, name)
    server.site.learner.root = server.site.client.versions.get(name, 1)["digest"]
    server.site.client.models.change(name, policy="few", suites=["pets"], reason="a test")
    asyncio.run(walk())
    assert "\n".join(lines) + "\n" == shown


def test_without_a_folder_no_file_is_read(folder: Path) -> None:
    with pytest.raises(Exception, match="none: start it with --folder"):
        Folders([]).file(str(next((folder / "bag").iterdir())))


def test_a_refused_order_leaves_no_dataset_and_says_why(server: Server) -> None:
    before = {one["name"] for one in server.site.client.datasets.list()}
    said = refused(server.calls("teach_folder", model="demo", folder="new", recipe={"epochs": -1}))
    assert "epochs" in said
    assert {one["name"] for one in server.site.client.datasets.list()} == before
    assert "There is no such model." in refused(server.calls("list_versions", model="nobody"))


def test_http_is_served_by_the_command_with_no_key_of_its_own(
    server: Server, tmp_path: Path
) -> None:
    async def walk() -> None:
        ran = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "perennial", "mcp", "--http", "127.0.0.1:0"),
            env={**environment(server.site.url), "XDG_CONFIG_HOME": str(tmp_path)},
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            first = (await ran.stderr.readline()).decode()
            url = first.split("answered at ")[1].split(",")[0]
            async with Server(
                site=server.site, url=url, folder=server.folder, errors=server.errors
            ).agent("http", "auto") as agent:
                assert await told(agent, "list_models")
        finally:
            ran.terminate()
            await ran.communicate()

    asyncio.run(walk())


def test_without_a_login_or_the_package_the_command_says_what_to_do(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = run("mcp")
    assert (ended.code, "You are not logged in" in ended.err) == (ERROR, True)
    assert run("mcp", "--http", "8751").code == 2
    monkeypatch.setitem(sys.modules, "perennial.agents.server", None)  # as without the package
    ended = run("mcp")
    assert (ended.code, "pip install 'perennial-client[mcp]'" in ended.err) == (ERROR, True)
