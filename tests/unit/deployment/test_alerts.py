"""The alert rules, as Prometheus reads them."""

import subprocess
from pathlib import Path

from devtools.servers import find_prometheus
from tests.support.deployment.chart import CHART

RULES = CHART / "monitoring" / "alerts.yaml"

TESTS = Path(__file__).with_name("alerts.yaml")


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(
        [find_prometheus("promtool"), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_valid() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)


def test_alerts_fire_when_something_is_wrong_and_only_then(tmp_path: Path) -> None:
    tests = tmp_path / "tests.yaml"
    tests.write_text(TESTS.read_text().replace("RULES", str(RULES)))
    promtool("test", "rules", tests)
