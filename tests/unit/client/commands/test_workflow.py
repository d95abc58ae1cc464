"""The workflow in docs/examples, run step by step against a service."""

import shutil
from pathlib import Path

from perennial.terminal.exit_codes import GATE
from tests.support.workflow import run_workflow
from tests.unit.client.commands.conftest import Site


def test_the_workflow_fails_on_a_failed_gate_and_keeps_the_report(
    site: Site, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "new-images")
    secret = site.client.keys.create("ci", "contributor", models=["demo"])["secret"]
    login = {"PERENNIAL_URL": site.url, "PERENNIAL_KEY": secret}
    assert [step.code for step in run_workflow(tmp_path, **login)] == [0, 0, 0, 0]
    live = site.client.aliases.get("demo")
    assert live["version"] == 2
    site.learner.forgets = True
    *_, teach, report = run_workflow(tmp_path, **login)
    assert (teach.command.split()[:2], teach.code) == (["perennial", "teach"], GATE), teach.err
    assert (report.code, "gate: failed" in report.out) == (0, True), report.err
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert site.client.aliases.get("demo") == live


def test_the_workflow_stops_at_a_wrong_key(site: Site, tmp_path: Path) -> None:
    *_, whoami, report = run_workflow(tmp_path, PERENNIAL_URL=site.url, PERENNIAL_KEY="pk_wrong")
    assert (whoami.command, whoami.code) == ("perennial whoami", 1)
    assert report.code != 0
