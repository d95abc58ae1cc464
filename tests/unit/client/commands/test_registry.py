"""Versions, reports, aliases and exports of a model that has learned twice."""

import hashlib
import io
import json
import logging
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from huggingface_hub import ModelCard
from oras.client import OrasClient

from core.evaluation.report import FEWEST
from core.gate.rules import Verdict
from devtools.servers import PASSWORD
from perennial.commands import exports as bundles
from perennial.commands import reports
from perennial.commands import verify as verifying
from perennial.publishing import oci
from perennial.publishing.bom import bill_of_materials
from perennial.publishing.facts import read_facts
from perennial.terminal.session import ERROR, GATE, JOB, URL, USAGE
from tests.support.api.seeds import a_candidate, a_root
from tests.support.bundles import OURS, THEIRS
from tests.support.deployment.workflow import Step, run_workflow
from tests.support.evaluation.evaluations import report_of, second_update
from tests.support.evaluation.evidence import Opened, forged
from tests.support.servers import oci as registries
from tests.support.servers.hub import a_stand_in_hub
from tests.unit.client.commands.conftest import Run, Site, rows

SIG = "model.sig"
MODEL_PACK = Path(__file__).with_name("schemas") / "ModelPack.json"


@pytest.fixture(scope="module")
def pushed(
    site: Site, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Step]]:
    """A folder in which the workflow of docs/examples has run, and its steps."""
    place = tmp_path_factory.mktemp("checkout")
    shutil.copytree(folder, place / "new-images")
    secret = site.client.keys.create("ci", "operator", models=["demo"])["secret"]
    return place, run_workflow(place, PERENNIAL_URL=site.url, PERENNIAL_KEY=secret)


@pytest.fixture(scope="module")
def taught(pushed: tuple[Path, list[Step]]) -> int:
    """The number of the version that is live then; its parent is the root."""
    job = json.loads((pushed[0] / "job.json").read_text())
    return int(job["result"]["version"])


def test_continuous_integration_teaches_what_was_pushed(
    site: Site, pushed: tuple[Path, list[Step]], taught: int
) -> None:
    place, steps = pushed
    assert [step.returncode for step in steps] == [0, 0, 0, 0], steps
    assert f"demo: version {taught}, gate: passed" in steps[-1].stdout
    assert (place / "report.html").read_text().startswith("<!doctype html>")
    assert site.client.aliases.get("demo")["version"] == taught


def test_versions_are_listed_reported_on_and_compared(
    site: Site, perennial: Run, taught: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = [str(taught), "1", "promoted", "passed", "production", "fp32", "bag, boot"]
    assert wanted in rows(perennial("versions", "demo").out, 7)
    report = site.client.versions.report("demo", taught)
    told = perennial("report", f"demo:{taught}").out
    assert perennial("report", "demo", taught).out == told
    first = "\n".join(
        [
            *(report["summary"][one] for one in ("learned", "lost", "go_live")),
            f"- {report['reasons'][0]}",
        ]
    )
    assert f"demo: version {taught}, gate: passed\n{first}\n" in told
    assert ["own update", "version 2", "parent", "0.0", "100.0", "+100.0"] in rows(told, 6)
    assert json.loads(perennial("report", "demo", taught, "--json").out) == report
    machines = [{"device": "cpu (x)"}, {"device": "cuda (y)"}]
    measure = {**report["measures"][0], "asked": "union"}
    taken = {"name": "pets", "baseline": "parent", "class_name": "handbag", "answered": "bag"}
    taken |= {"images": 7, "lost": 9, "may_be_same": True, "asked": "with_suites"}
    changes = {"exact": False, "environments": machines, "measures": [measure], "taken": [taken]}
    reports._print_report({**report, **changes})
    told = capsys.readouterr().out
    assert "trained on several machines, in order cpu (x); cuda (y)\n" in told
    assert ["suite, all classes", "pets"] in rows(told, 2)
    assert ["pets, with suites", "parent", "handbag", "bag", "7", "9"] in rows(told, 6)
    assert "If 'handbag' and 'bag' mean the same, name the pair in the policy's same_names" in told
    lost = {**report["changes"][0]["classes"][0], "difference": -0.5, "right_before": 9, "right": 4}
    rare = {**lost, "class_name": "ember", "images": reports.FEWEST - 1}
    often = {**lost, "class_name": "clog", "images": reports.FEWEST}
    table = {**report["changes"][0], "name": "pets", "baseline": "parent", "classes": [rare, often]}
    reports._print_report({**report, "changes": [table]})
    told = capsys.readouterr().out
    assert reports.FEWEST == FEWEST  # of the page
    assert ["clog", "pets", "parent", "9", "4", "10"] in rows(told, 6)
    assert "ember" not in told
    assert (
        "1 more class with fewer than 10 images lost some: --output writes a page with it." in told
    )
    assert "outcome" in told
    page = tmp_path / "report.html"
    assert perennial("report", "demo", taught, "--output", page).code == 0
    assert page.read_text().startswith("<!doctype html>")
    told = perennial("compare", "demo:1", f"demo:{taught}").out
    assert ["suite", "pets", "0.0", "100.0", "0", "27", "+100.0"] in rows(told, 7)
    found = json.loads(perennial("compare", "demo", 1, taught, "--json").out)
    assert found == site.client.versions.compare("demo", 1, taught)
    assert (found["fallen"], "Fell furthest" in told) == ([], False)  # no suite has captions
    fell = {"suite": "photos", "pixels": "ab" * 32, "caption": "a red boot", "kind": "lost"}
    fell |= {"rank_before": 0, "rank_now": 41}
    reports._print_comparison({**found, "fallen": [fell, {**fell, "caption": None}]})
    told = capsys.readouterr().out
    assert ["photos", "abababababab", "a red boot", "1", "42"] in rows(told, 5)
    assert ["photos", "abababababab", "-", "1", "42"] in rows(told, 5)
    for words in (("demo",), ("demo:1", "other:2"), ("demo", 1, 2, 3)):
        assert perennial("compare", *words).code == USAGE
    assert "give MODEL:VERSION, as in `demo:1`" in perennial("promote", "demo").err
    unknown = perennial("report", "demo:99").err
    assert f"There is no such version. These exist: demo:1, demo:{taught}." in unknown


def test_groups_of_images_are_blamed(site: Site, perennial: Run, taught: int) -> None:
    command = ("blame", "demo", taught, "--class", "bag", "--by", "random", "--groups", 2)
    ended = perennial(*command, "--wait")
    assert rows(ended.out, 4) == [["1", "random 1", "3", "100.0"], ["2", "random 2", "3", "100.0"]]
    assert "No group is to blame: 'bag' gains nothing" in ended.out
    (newest, *_) = site.client.jobs.list(model="demo", type="blame")
    assert perennial("watch", newest["id"]).out == ended.out
    assert perennial(*command).out.startswith("Ordered: job_")


def test_an_alias_is_rolled_back_and_promoted(site: Site, perennial: Run, taught: int) -> None:
    revision = site.client.aliases.get("demo")["revision"]
    back = perennial("rollback", "demo", "--to", "demo:1", "--reason", "to show it")
    assert back.out == f"demo@production is version 1 (revision {revision + 1}).\n"
    stale = perennial("promote", "demo", taught, "--expected-revision", revision)
    assert (stale.code, "`perennial aliases`" in stale.err) == (ERROR, True)
    again = perennial("promote", "demo", taught, "--reason", "reviewed", "--json")
    assert json.loads(again.out) == site.client.aliases.get("demo")
    assert [str(taught), str(revision + 2)] in [
        row[1:3] for row in rows(perennial("aliases", "demo").out, 3)
    ]
    moves = perennial("history", "demo").out
    assert ("to show it" in moves, "reviewed" in moves) == (True, True)


def test_a_model_is_created_shown_and_deleted(site: Site, perennial: Run, taught: int) -> None:
    assert perennial("model", "create", "other", "--suite", "pets", "--wait").out == (
        "other is ready.\n"
    )
    assert ["other", "production: 1", "pets"] in rows(perennial("model", "list").out, 3)
    assert f"bag ({taught}), boot ({taught})" in perennial("model", "show", "demo").out
    assert perennial("model", "delete", "other", "--yes").out == "Deleted: other.\n"
    assert "other" not in {model["name"] for model in site.client.models.list()}


def test_a_version_is_exported_into_a_folder_unless_it_differs(
    site: Site,
    perennial: Run,
    taught: int,
    tmp_path: Path,
    key_pair: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digest = site.client.versions.get("demo", taught)["digest"]
    for number, reference in enumerate(("demo", "demo@production", f"demo@sha256:{digest}")):
        output = tmp_path / f"out-{number}"
        words = ("export", reference, "--format", "onnx", "--output", output)
        told = perennial(*words, *(("--sign", key_pair[0]) if number else ())).out
        assert f"demo: version {taught} as onnx" in told
        assert f"Smallest cosine: {site.learner.cosine} over 30 images" in told
        names = ["check.json", "image.onnx", *(["model.sig"] if number else []), "text.onnx"]
        assert sorted(path.name for path in output.iterdir()) == names
        assert digest in (output / "image.onnx").read_text()
    assert accepts(output, key_pair[1])
    change_a_byte(output / "image.onnx")
    assert not accepts(output, key_pair[1])
    unwritten = perennial("export", "demo", "--sign", key_pair[0])
    assert (unwritten.code, "--output" in unwritten.err) == (USAGE, True)
    exports = site.client.exports
    onnx = exports.get("demo", taught, "onnx")
    exports.delete("demo", taught, "onnx")
    assert onnx not in exports.list("demo", taught)
    refused = perennial("export", "demo", "--output", output)
    assert (refused.code, f"{output} is not empty" in refused.err) == (ERROR, True)
    unknown = perennial("export", "demo@sha256:00")
    assert (unknown.code, "has the digest 00" in unknown.err) == (ERROR, True)
    assert "means no version" in perennial("export", "demo:1@production").err
    monkeypatch.setattr(site.learner, "cosine", 0.5)
    failed = perennial("export", "demo:1", "--format", "onnx", "--wait")
    assert (failed.code, "smallest cosine is 0.5" in failed.err) == (JOB, True)


@pytest.fixture(scope="module")
def key_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The files of a private and a public key, as openssl makes them."""
    folder = tmp_path_factory.mktemp("keys")
    private, public = folder / "key.pem", folder / "key.pub"
    for words in (
        f"ecparam -name prime256v1 -genkey -noout -out {private}",
        f"ec -in {private} -pubout -out {public}",
    ):
        subprocess.run(["openssl", *words.split()], check=True, capture_output=True)
    return private, public


def accepts(made: Path, public: Path) -> bool:
    """True if the program of model_signing accepts the signature of a folder or a file."""
    signature = made / "model.sig" if made.is_dir() else made.with_name(f"{made.name}.sig")
    words = ["verify", "key", made, "--signature", signature, "--public_key", public]
    done = subprocess.run(
        [sys.executable, "-m", "model_signing", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ("Verification succeeded" in done.stdout) == (done.returncode == 0), done
    return done.returncode == 0


def change_a_byte(file: Path) -> None:
    changed = bytearray(file.read_bytes())
    changed[len(changed) // 2] ^= 1
    file.write_bytes(changed)


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


def test_the_vectors_of_a_dataset_are_stored_and_fetched(
    site: Site, perennial: Run, tmp_path: Path
) -> None:
    ordered = json.loads(perennial("reembed", "demo:1", "pets:1", "--json").out)
    site.client.jobs.wait(ordered["id"])
    output = tmp_path / "pets.npy"
    beside = output.with_suffix(".jsonl")
    beside.write_text("mine")
    for taken, words in ((output, "pets.jsonl is there already"), (beside, "name the file")):
        refused = perennial("reembed", "demo:1", "pets", "--output", taken)
        assert (refused.code, words in refused.err.replace("\n", " ")) == (ERROR, True)
    assert beside.read_text() == "mine"
    beside.unlink()
    told = perennial("reembed", "demo:1", "pets", "--output", output).out
    assert told == "30 vectors of 4 values: pets version 1 by demo version 1.\n"
    assert np.load(output).shape == (30, 4)
    lines = output.with_suffix(".jsonl").read_text().splitlines()
    assert {json.loads(line)["texts"][0] for line in lines} == {"cat", "dog"}
    site.client.vectors.delete("demo", 1, "pets", 1)
    assert site.client.vectors.list("demo", 1) == []


def test_a_verdict_is_recomputed_from_the_service_and_from_a_file(
    perennial: Run, run: Run, taught: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, version = tmp_path / "evidence.zip", f"demo:{taught}"
    told = perennial("verify", version, "--key", OURS.public, "--output", file)
    assert (told.code, told.err) == (verifying.EQUAL, "")
    assert "Signature: valid" in told.out
    assert "Equal: " in told.out
    monkeypatch.setenv(URL, "http://127.0.0.1:1")  # no service
    assert "Signature: not checked" in run("verify", file).out
    found = json.loads(run("verify", file, "--json", "--key", OURS.public).out)
    assert (found["model"], found["equal"], found["differences"]) == ("demo", True, [])

    def lose_a_measure(made: Opened) -> None:
        made.report["measures"].pop()

    file.write_bytes(forged(file.read_bytes(), lose_a_measure))
    told = run("verify", file, "--key", OURS.public)
    assert (told.code, "Differs: 1 value" in told.out) == (verifying.DIFFERS, True)
    told = run("verify", file, "--key", THEIRS.public)
    assert (told.code, "by another key" in told.err) == (verifying.DIFFERS, True)
    assert run("verify", file, "--key", "mine").code == USAGE
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "perennial.rules.bundles.signing", None)
        told = run("verify", file, "--key", OURS.public)
        assert (told.code, "perennial-client[verify]" in told.err) == (verifying.UNKNOWN, True)
    file.write_bytes(b"no evidence")
    assert run("verify", file).code == verifying.UNKNOWN
    assert run("verify", tmp_path / "none.zip").code == USAGE


def test_an_old_index_is_reported_on_with_a_bridge(
    site: Site, perennial: Run, taught: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = f"demo:{taught}"
    monkeypatch.setattr("core.vectors.rules.LEAST_FITTED", 1)
    bridge = tmp_path / "bridge.safetensors"
    told = perennial("compatibility", reference, "--from", "demo:1", "--output", bridge).out
    assert "against a re-embedded one" in told
    (found,) = site.client.vectors.reports("demo", taught)
    assert bridge.stat().st_size == found["bridge"]["size"]
    assert perennial("compatibility", reference, "--output", bridge).code == ERROR  # is there


def test_a_bundle_is_imported_and_must_be_scored(
    site: Site,
    perennial: Run,
    taught: int,
    tmp_path: Path,
    key_pair: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a_root(site.platform, "copy")
    bundle = tmp_path / "demo.tar"
    export = ("export", "demo", "--format", "bundle", "--output", bundle)
    ended = perennial(*export, "--sign", key_pair[0])
    assert (ended.code, f"version {taught} as bundle" in ended.out) == (0, True)
    assert "is there already" in perennial(*export).err
    assert accepts(bundle, key_pair[1])
    kept = bundle.read_bytes()
    change_a_byte(bundle)
    assert not accepts(bundle, key_pair[1])
    bundle.unlink()
    assert "demo.tar.sig is there already" in perennial(*export, "--sign", key_pair[0]).err
    bundle.write_bytes(kept)
    digest = site.client.versions.get("demo", taught)["digest"]
    command = ("import-version", "copy", bundle, "--expect-digest", digest)
    first = perennial(*command, "--wait").out
    assert f"copy: version 2, digest {digest}" in first
    assert "perennial evaluate copy:2" in first
    assert "Nothing guards these of its classes" in first
    monkeypatch.setattr(bundles, "LONGEST_BODY", 0)  # in parts
    assert "nothing was imported" in perennial(*command, "--wait").out
    assert perennial(*command).out.startswith("Ordered: job_")
    origin = site.client.bundles.origin("copy", 2)
    assert [one["version"] for one in origin["line"]] == [1, taught]
    scored = perennial("evaluate", "copy:2", "--wait", "--fail-on-gate")
    assert (scored.code, "gate: inconclusive" in scored.out) == (GATE, True)
    assert perennial("signing-key").out == f"{OURS.public}\n"
    refused = perennial(*command[:3], "--expect-digest", "0" * 64)
    assert (refused.code, "another version" in refused.err) == (ERROR, True)


def test_a_version_is_converted_and_scored(site: Site, perennial: Run, taught: int) -> None:
    command = ("convert", f"demo:{taught}", "--precision", "bf16", "--no-promote")
    ended = perennial(*command, "--wait", "--fail-on-gate")
    assert ended.code == 0
    made = site.client.versions.get("demo", taught + 1)
    assert (made["precision"], made["parent"]) == ("bf16", taught)
    assert f"demo: version {made['version']}, gate: passed\nIt was taught nothing" in ended.out
    assert "To make it live" in ended.out
    row = [str(made["version"]), str(taught), "candidate", "passed", "", "bf16"]
    assert row in rows(perennial("versions", "demo").out, 6)
    again = ("convert", f"demo:{made['version']}", "--precision", "bf16")
    assert "is computed in bf16 already" in perennial(*again).err
    live = json.loads(
        perennial("convert", "demo", "--precision", "bf16", "--no-promote", "--json").out
    )
    assert (live["type"], live["conversion"]["auto_promote"]) == ("convert", False)
