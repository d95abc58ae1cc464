"""A process's environment, as others on its machine see it."""

import os
import subprocess
import sys

import psutil
import pytest

from tests.support.places import ROOT

SECRET = "pk_open-sesame-of-some-length"
PROGRAM = """
import os, subprocess, sys
from core.logs import hide_environment
{hide}
print(os.environ["PERENNIAL_ADMIN_KEY"])
subprocess.run([sys.executable, "-c", "import os; print(os.environ['PERENNIAL_ADMIN_KEY'])"])
sys.stdin.read()
"""


def run(hide: str) -> tuple[list[str], dict[str, str]]:
    """What a process and its child find in their own environment, and what others see of it."""
    given = os.environ | {"PERENNIAL_ADMIN_KEY": SECRET, "PYTHONPATH": str(ROOT)}
    given["PERENNIAL_HOME"] = "/a home"
    command = [sys.executable, "-u", "-c", PROGRAM.format(hide=hide)]
    with subprocess.Popen(
        command, env=given, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        found = [process.stdout.readline().strip() for _ in range(2)]
        seen = psutil.Process(process.pid).environ()
        process.communicate()
    return found, seen


@pytest.mark.parametrize("hide", ["", "hide_environment()"])
def test_an_environment_that_is_hidden_is_still_the_processs_own(hide: str) -> None:
    found, seen = run(hide)
    assert found == [SECRET, SECRET]
    if hide and sys.platform == "linux":
        assert seen == {"PERENNIAL_HOME": "/a home"}
    else:
        assert seen["PERENNIAL_ADMIN_KEY"] == SECRET
