"""Requirements, pins and images: the API comes without torch, all else at pinned releases."""

import re
import tomllib
from fnmatch import fnmatch

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.deployment.requirements import installed_for
from tests.support.places import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CLIENT_PROJECT = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())
CLIENT = CLIENT_PROJECT["project"]["dependencies"]
SERVICE = PROJECT["project"]["dependencies"]
WORKER = PROJECT["project"]["optional-dependencies"]["worker"]
DEV = PROJECT["dependency-groups"]["dev"]
MUTANTS = PROJECT["dependency-groups"]["mutants"]
TORCH = {"torch", "torchvision"}
TENSOR_PACKAGES = TORCH | {"open-clip-torch", "safetensors", "timm"}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def stages() -> dict[str, str]:
    """The stages of the Dockerfile by name."""
    text = (ROOT / "Dockerfile").read_text()
    parts = re.split(r"^FROM \S+ AS (\S+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_service_itself_brings_no_tensor_package() -> None:
    assert not TENSOR_PACKAGES & set(installed_for(SERVICE))
    assert set(installed_for([*SERVICE, *WORKER])) >= TENSOR_PACKAGES


def test_the_client_brings_httpx_and_what_its_command_needs() -> None:
    assert [line for line in SERVICE if line.startswith(("httpx", "click"))] == CLIENT[1::-1]
    assert [Requirement(line).name for line in CLIENT] == ["httpx", "click", "rich"]
    assert not {"perennial", "fastapi", "pydantic"} & set(installed_for(CLIENT))


def test_the_command_comes_with_the_client_of_the_same_release() -> None:
    version = CLIENT_PROJECT["project"]["version"]
    assert f"perennial-client=={version}" in SERVICE
    assert "scripts" not in PROJECT["project"]
    assert list(CLIENT_PROJECT["project"]["scripts"]) == ["perennial"]


def test_the_service_is_packed_without_its_client() -> None:
    patterns = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    for package, packed in {"cli": True, "core.jobs": True, "client.perennial": False}.items():
        assert any(fnmatch(package, pattern) for pattern in patterns) is packed


def test_service_and_client_are_released_together() -> None:
    for field in ("version", "requires-python", "license"):
        assert CLIENT_PROJECT["project"][field] == PROJECT["project"][field]


def test_every_distribution_is_pinned_to_a_release_that_all_who_need_it_allow() -> None:
    pinned = pins()
    theirs = set(installed_for(WORKER)) & {"setuptools", "triton"} | TORCH | {"perennial-client"}
    everything = [*SERVICE, *WORKER, *CLIENT, *DEV, *MUTANTS]
    for name, asked in installed_for(everything).items():
        if name in theirs or re.match("nvidia-|cuda-", name):
            assert name not in pinned
            continue
        for requirement in asked:
            assert requirement.specifier.contains(pinned[name], prereleases=True), requirement


def test_the_images_hold_what_their_processes_need_and_no_more() -> None:
    found = stages()
    assert set(found) == {"api", "worker", "worker-gpu"}
    installs = {stage: re.findall(r"pip install (.+)", text) for stage, text in found.items()}
    assert [line.split()[-3:] for line in installs["api"]] == [
        ["client", "--editable", '".[traces]"']
    ]
    assert "$TORCH_CPU_INDEX" in installs["worker"][0]
    assert installs["worker"][0].endswith("torch torchvision \\")
    assert installs["worker-gpu"] == installs["worker"][1:]
    assert re.search(r"^ARG TORCH_CPU_INDEX=\S+/cpu$", found["worker"], flags=re.MULTILINE)
    for lines in installs.values():
        pinned = [line for line in lines if "--editable" in line]
        assert pinned
        assert all("--constraint constraints.txt" in line for line in pinned)
