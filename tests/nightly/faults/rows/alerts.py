"""The database, the API or all workers down: Prometheus, which scrapes the API, raises an alert."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import httpx
import yaml

from devtools.servers import prometheus_server
from tests.nightly.faults.stage import KEY, Stage, now, until
from tests.nightly.faults.tries import Try
from tests.support.deployment.chart import CHART
from tests.support.processes import wait_for_exit

ALERTS = {
    "database": "PerennialDatabaseDown",
    "API": "PerennialNotScraped",
    "workers": "PerennialQueueWithoutWorkers",
}

INTERVAL = "2s"  # of scrapes and evaluations


def run(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """By turns; each alert ends once what it is about is back."""
    stage.ready()
    with (
        tempfile.TemporaryDirectory() as name,
        prometheus_server(Path(name), _configuration(stage, Path(name))) as url,
    ):
        until(lambda: _is_scraped(url))
        for number in range(tries):
            down = [*ALERTS][number % len(ALERTS)]
            before = _firing(url)
            _take_down(stage, down)
            struck = now()
            until(lambda down=down: ALERTS[down] in _firing(url))
            took = now() - struck
            if down == "database":
                stage.database.start()
            stage.mend()
            until(lambda down=down: ALERTS[down] not in _firing(url))
            stage.ready()
            early = ALERTS[down] in before
            yield Try(
                what=f"{down} down, {ALERTS[down]}",
                trouble="it fired before" if early else "",
                recovery_s=took,
            )


def _take_down(stage: Stage, what: str) -> None:
    match what:
        case "database":
            stage.database.kill()
        case "API":
            stage.api.kill()
            wait_for_exit(stage.api)
        case _:
            for supervisor in stage.supervisors():
                stage.kill(supervisor)


def _configuration(stage: Stage, folder: Path) -> dict[str, Any]:
    """The configuration of docs/operations.md, whose rules wait for nothing."""
    rules = yaml.safe_load((CHART / "monitoring" / "alerts.yaml").read_text())
    for rule in rules["groups"][0]["rules"]:
        rule.pop("for", None)
    (folder / "rules.yml").write_text(json.dumps(rules))
    scraped = {
        "job_name": "perennial",
        "authorization": {"credentials": KEY},
        "static_configs": [{"targets": [f"127.0.0.1:{stage.settings.port}"]}],
    }
    return {
        "global": {
            "scrape_interval": INTERVAL,
            "scrape_timeout": INTERVAL,
            "evaluation_interval": INTERVAL,
        },
        "rule_files": [str(folder / "rules.yml")],
        "scrape_configs": [scraped],
    }


def _is_scraped(url: str) -> bool:
    query = {"query": "perennial_database_up == 1"}
    found = httpx.get(f"{url}/api/v1/query", params=query, trust_env=False).json()
    return bool(found["data"]["result"])


def _firing(url: str) -> set[str]:
    found = httpx.get(f"{url}/api/v1/alerts", trust_env=False).json()["data"]["alerts"]
    return {one["labels"]["alertname"] for one in found if one["state"] == "firing"}
