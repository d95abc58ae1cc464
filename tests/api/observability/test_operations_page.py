"""docs/operations.md says of settings and metrics what there is, no more and no less."""

import json
import re

import pytest
from pydantic import SecretStr

from core.settings import Settings
from tests.support.api.service import Service
from tests.support.deployment.chart import CHART
from tests.support.places import ROOT

PAGE = (ROOT / "docs/operations.md").read_text()
LIMIT = re.compile(r"^\| `PERENNIAL_(\w+)` \| `(\S+)` \|", flags=re.MULTILINE)
LIMITS = LIMIT.findall((ROOT / "docs/limits.md").read_text("utf-8"))
METRIC = re.compile(r"\b(?:perennial|process|python)_[a-z0-9_]+")
OF_A_HISTOGRAM = re.compile(r"_(bucket|sum|count)$")


def section(heading: str) -> str:
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def rows(heading: str) -> list[list[str]]:
    """The cells of the tables under a heading, first row and rule left out."""
    tables = re.findall(r"(?:^\|.*\n)+", section(heading), flags=re.MULTILINE)
    lines = [line for table in tables for line in table.splitlines()[2:]]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def exposed(service: Service) -> set[str]:
    """The names in a scrape; when a counter began (`_created`) is a remark on it."""
    service.client.get("/healthz")
    scrape = service.client.get("/metrics").text
    names = set(re.findall(r"^# TYPE (\S+)", scrape, flags=re.MULTILINE))
    return {name for name in names if not name.endswith("_created")}


def spelled(default: object) -> str:
    """A default as the environment would spell it."""
    match default:
        case SecretStr() | "":
            return ""
        case bool() | tuple() | dict():
            return f"`{json.dumps(default, separators=(',', ':'))}`"
        case _:
            return f"`{default}`"


def test_every_setting_stands_there_or_among_the_limits_with_its_default() -> None:
    told = [(name, default) for name, default, _ in rows("Configuration")]
    told += [(f"`PERENNIAL_{name}`", f"`{default}`") for name, default in LIMITS]
    assert sorted(told) == sorted(
        (f"`PERENNIAL_{name.upper()}`", spelled(field.default))
        for name, field in Settings.model_fields.items()
    )


def test_every_metric_stands_there(service: Service) -> None:
    assert {name.strip("`") for name, _, _ in rows("Monitor")} == exposed(service)


@pytest.mark.parametrize(
    "file", ["monitoring/alerts.yaml", "monitoring/dashboard.json", "templates/autoscaling.yaml"]
)
def test_what_watches_metrics_names_those_that_there_are(service: Service, file: str) -> None:
    watched = {OF_A_HISTOGRAM.sub("", name) for name in METRIC.findall((CHART / file).read_text())}
    assert watched
    assert watched <= exposed(service)
