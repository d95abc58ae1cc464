"""A version published as a folder, to a hub and to a registry, from which others verify it."""

import hashlib
import io
import json
import logging
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from huggingface_hub import ModelCard
from oras.client import OrasClient

from core.gate.rules import Verdict
from devtools.servers import PASSWORD
from perennial.publishing import oci
from perennial.publishing.bom import bill_of_materials
from perennial.publishing.facts import read_facts
from perennial.terminal.session import ERROR, GATE, USAGE
from tests.support.api.seeds import a_candidate, a_root
from tests.support.evaluation.evaluations import report_of, second_update
from tests.support.servers import oci as registries
from tests.support.servers.hub import a_stand_in_hub
from tests.support.signatures import accepts, change_a_byte
from tests.unit.client.commands.conftest import Run, Site, teach

SIG = "model.sig"
MODEL_PACK = Path(__file__).with_name("schemas") / "ModelPack.json"


@pytest.fixture(scope="module")
def taught(site: Site) -> int:
    """The number of the version that is live then; its parent is the root."""
    return teach(site, "good")


def test_a_published_version_has_a_card_of_its_facts_and_a_signature_that_others_verify(
    site: Site, perennial: Run, taught: int, tmp_path: Path, key_pair: tuple[Path, Path]
) -> None:
    private, public = key_pair
    to = tmp_path / "published"
    words = ("publish", f"demo:{taught}", "--license", "apache-2.0", "--base", "lab/clip-small")
    ended = perennial(*words, "--to", to, "--sign", private)
    assert (ended.code, f"{to}: demo:{taught} with README.md" in ended.out) == (0, True), ended
    assert {"README.md", "model.sig"} < {path.name for path in to.iterdir()}
    assert accepts(to, public)

    card = ModelCard.load(to / "README.md")
    assert (card.data.license, card.data.base_model) == ("apache-2.0", "lab/clip-small")
    version, report = (
        found("demo", taught) for found in (site.client.versions.get, site.client.versions.report)
    )
    assert version["digest"] in card.text
    assert report["root_digest"] in card.text
    assert "Verdict of the gate: **passed**" in card.text
    assert report["summary"]["learned"] in card.text
    assert "| own update | version 2 | parent | 0.0 | 100.0 | +100.0 |" in card.text
    data = next(
        one
        for one in site.client.datasets.versions(version["dataset"])
        if one["number"] == version["dataset_version"]
    )
    for name, count in data["counts"].items():
        assert f"| {name} | {' | '.join(map(str, count.values()))} |" in card.text
    assert f"| `epochs` | `{version['recipe']['epochs']}` |" in card.text

    bill = (to / "bom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    told = json.loads(bill)["metadata"]["component"]
    assert (told["name"], told["version"]) == ("demo", str(taught))
    assert told["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    root, base = told["pedigree"]["ancestors"]
    assert root["properties"] == [{"name": "perennial:digest", "value": report["root_digest"]}]
    assert base["purl"] == "pkg:huggingface/lab/clip-small"
    files = {path.name: path for path in to.iterdir() if path.name not in {"bom.cdx.json", SIG}}
    hashes = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    assert {one["name"]: one["hashes"][0]["content"] for one in told["components"]} == hashes
    parts = told["modelCard"]
    facts = {one["name"].removeprefix("perennial:"): one["value"] for one in parts["properties"]}
    assert (facts["digest"], facts["verdict"]) == (version["digest"], "passed")
    assert json.loads(facts["recipe:epochs"]) == version["recipe"]["epochs"]
    (of,) = parts["modelParameters"]["datasets"]
    counts = {one["name"]: one["value"] for one in of["contents"]["properties"]}
    assert counts["perennial:images"] == str(data["images"])
    assert counts["perennial:images:train:bag"] == str(data["counts"]["bag"]["train"])
    changes = [
        (float(one["value"]), *map(float, one["confidenceInterval"].values()))
        for one in parts["quantitativeAnalysis"]["performanceMetrics"]
        if "confidenceInterval" in one
    ]
    assert changes == [
        tuple(pytest.approx(one[name]) for name in ("difference", "interval_lower", "upper"))
        for one in report["measures"]
    ]
    change_a_byte(to / "open_clip_model.safetensors")
    assert not accepts(to, public)


@pytest.mark.filterwarnings("ignore:Use 'content=<:DeprecationWarning")  # of huggingface_hub
def test_a_version_is_published_to_a_hub_as_one_private_commit_that_others_verify(
    site: Site,
    perennial: Run,
    taught: int,
    tmp_path: Path,
    key_pair: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    private, public = key_pair
    words = ("publish", f"demo:{taught}", "--license", "mit", "--sign", private)
    words = (*words, "--to", "hf://lab/shoes")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    ended = perennial(*words)
    assert (ended.code, "Set HF_TOKEN" in ended.err) == (ERROR, True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # as its variable
    with a_stand_in_hub("hf_right") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", "hf_wrong")
        ended = perennial(*words)
        assert (ended.code, f"{hub.url} did not take lab/shoes: " in ended.err) == (ERROR, True)
        assert "hf_wrong" not in ended.err
        monkeypatch.setenv("HF_TOKEN", "hf_right")
        ended = perennial(*words)
    assert (ended.code, f"{hub.url}/lab/shoes/commit/" in ended.out) == (0, True), ended
    assert "hf_right" not in ended.out + ended.err + site.told() + caplog.text
    (made,) = hub.made
    assert (made["organization"], made["name"], made["visibility"]) == ("lab", "shoes", "private")
    assert "hf_right" not in str(hub.files)
    for name, data in hub.files.items():
        (tmp_path / name).write_bytes(data)
    assert ModelCard.load(tmp_path / "README.md").data.license == "mit"
    assert accepts(tmp_path, public)
    assert perennial(*words[:-1], "hf://shoes").code == USAGE


def test_a_version_is_published_to_a_registry_from_which_others_pull_and_verify_it(
    site: Site,
    perennial: Run,
    taught: int,
    tmp_path: Path,
    key_pair: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    private, public = key_pair
    words = ("publish", f"demo:{taught}", "--license", "mit", "--sign", private, "--to")
    monkeypatch.setenv(oci.USER, registries.USER)
    (tmp_path / "registry").mkdir()
    with registries.a_registry(tmp_path / "registry") as host:
        for password, wanted in ((None, f"Set {oci.USER} and"), ("wrong-one", "401 Unauthorized")):
            if password:
                monkeypatch.setenv(oci.PASSWORD, password)
            ended = perennial(*words, f"oci://{host}/lab/shoes:2")
            assert (ended.code, wanted in ended.err) == (ERROR, True), ended
            assert "wrong-one" not in ended.err
        monkeypatch.setenv(oci.PASSWORD, PASSWORD)
        pack, image = (
            perennial(*words, f"oci://{host}/lab/shoes:{tag}", *more, "--json")
            for tag, more in (("2", ()), ("2-image", ("--image",)))
        )
        assert (pack.code, image.code) == (0, 0), (pack, image)
        assert PASSWORD not in pack.out + pack.err + site.told() + caplog.text
        assert PASSWORD not in (tmp_path / "registry/log").read_text()

        told, pulled = json.loads(pack.out), tmp_path / "pulled"
        reader = OrasClient(hostname=host, insecure=True, auth_backend="basic")
        reader.auth.set_basic_auth(registries.USER, PASSWORD)
        assert f"oci://{host}/lab/shoes:2@sha256:" in told["to"]
        reader.pull(target=told["to"].replace(":2@", "@")[6:], outdir=str(pulled))
        assert sorted(path.name for path in pulled.iterdir()) == told["files"]
        assert accepts(pulled, public)
        with httpx.Client(
            base_url=f"http://{host}/v2/lab/shoes/", auth=(registries.USER, PASSWORD)
        ) as registry:
            manifest = fetched(registry, "manifests", told["to"].partition("@")[2])
            assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
            config = fetched(registry, "blobs", manifest["config"]["digest"])
            jsonschema.validate(config, json.loads(MODEL_PACK.read_text()))
            assert config["descriptor"]["licenses"] == ["MIT"]

            index = fetched(registry, "manifests", json.loads(image.out)["to"].partition("@")[2])
            platforms = [one["platform"]["architecture"] for one in index["manifests"]]
            assert platforms == ["amd64", "arm64"]
            for one in index["manifests"]:
                mounted = tmp_path / one["platform"]["architecture"]
                for layer in fetched(registry, "manifests", one["digest"])["layers"]:
                    data = registry.get(f"blobs/{layer['digest']}").content
                    assert f"sha256:{hashlib.sha256(data).hexdigest()}" == layer["digest"]
                    assert len(data) % tarfile.BLOCKSIZE == 0
                    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                        archive.extractall(mounted, filter="data")
        assert [path.name for path in mounted.iterdir()] == ["models"]
        assert accepts(mounted / "models", public)
    for file in pulled.iterdir():
        signed_anew = file.name == SIG
        assert signed_anew or file.read_bytes() == (mounted / "models" / file.name).read_bytes()
    change_a_byte(pulled / "open_clip_config.json")
    assert not accepts(pulled, public)
    for rest in (("oci://shoes:2",), ("here", "--image"), ("here", "--public")):
        assert perennial(*words, *rest).code == USAGE


def fetched(registry: httpx.Client, kind: str, digest: str) -> dict[str, Any]:
    """A document of a registry, which has the digest."""
    accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"
    data = registry.get(f"{kind}/{digest}", headers={"Accept": accept}).content
    assert f"sha256:{hashlib.sha256(data).hexdigest()}" == digest
    return json.loads(data)


@pytest.mark.parametrize(
    "base", ["", "lab/", "lab/small/2", "lab/small@1", "lab/small?a=b#c", "pkg:npm/x", "läb/small"]
)
def test_a_base_that_no_hub_could_name_is_refused(
    perennial: Run, tmp_path: Path, base: str
) -> None:
    words = ("publish", "demo:1", "--license", "other", "--to", tmp_path / "root")
    ended = perennial(*words, "--base", base)
    assert (ended.code, "as hubs name models" in ended.err) == (USAGE, True)


def test_a_bill_of_materials_names_the_base_by_a_package_url(
    site: Site,
) -> None:
    facts = read_facts(site.client, "demo", 1, licence="other", base="a lab/clip?x=1#y@2")
    told = json.loads(bill_of_materials(facts, []))
    (base,) = told["metadata"]["component"]["pedigree"]["ancestors"]
    assert base["purl"] == "pkg:huggingface/a%20lab/clip%3Fx%3D1%23y%402"


def test_what_the_gate_has_not_passed_or_nobody_can_sign_is_not_published(
    perennial: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("publish", "demo:1", "--license", "other", "--to", tmp_path / "root")
    ended = perennial(*words)
    assert (ended.code, "it has no verdict" in ended.err) == (GATE, True)
    words_of_openssl = f"genpkey -algorithm ed25519 -out {tmp_path / 'key.pem'}"
    subprocess.run(["openssl", *words_of_openssl.split()], check=True, capture_output=True)
    ended = perennial(*words, "--any-verdict", "--sign", tmp_path / "key.pem")
    assert (ended.code, "P-256" in ended.err) == (ERROR, True)
    monkeypatch.setitem(sys.modules, "model_signing", None)
    ended = perennial(*words, "--any-verdict", "--sign", tmp_path / "key.pem")
    assert (ended.code, "pip install 'perennial-client[publish]'" in ended.err) == (ERROR, True)
    assert not (tmp_path / "root").exists()
    assert perennial(*words, "--any-verdict").code == 0
    assert "**none, it was not scored**" in (tmp_path / "root/README.md").read_text()
    bill = (tmp_path / "root/bom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    assert '"name": "other"' in bill
    assert "is not empty" in perennial(*words, "--any-verdict").err


def test_what_has_passed_and_would_not_go_live_now_is_not_published(
    site: Site, perennial: Run, tmp_path: Path
) -> None:
    model = a_root(site.platform, "moved-on")
    report = report_of(second_update(), lambda *_: True)
    for _ in range(2):  # each passed beside the root
        a_candidate(site.platform, model, verdict=Verdict.PASSED, report=report)
    words = ("publish", "moved-on:2", "--license", "other", "--to", tmp_path / "older")
    site.client.aliases.promote("moved-on", 3)
    ended = perennial(*words)
    assert (ended.code, "it has passed, but would not go live now" in ended.err) == (GATE, True)
    assert not (tmp_path / "older").exists()
