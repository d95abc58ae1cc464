"""Versions, reports, aliases and exports of a model that has learned twice."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from core.evaluation.report import FEWEST
from perennial.commands import exports as bundles
from perennial.commands import reports
from perennial.commands import verify as verifying
from perennial.terminal.session import ERROR, GATE, JOB, URL, USAGE
from tests.support.api.seeds import a_root
from tests.support.bundles import OURS, THEIRS
from tests.support.deployment.workflow import Step, run_workflow
from tests.support.evaluation.evidence import Opened, forged
from tests.support.signatures import accepts, change_a_byte
from tests.unit.client.commands.conftest import Run, Site, rows


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
    assert ["pets, with suites' classes", "parent", "handbag", "bag", "7", "9"] in rows(told, 6)
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
