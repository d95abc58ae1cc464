"""First on the path of the processes under test: lets named points strike the API and workers."""

import os
import sys
from pathlib import Path

if sys.orig_argv[1:3] in (["-m", "cli"], ["-m", "worker"]) and "FAULT_POINTS" in os.environ:
    from tests.nightly.faults.points import install

    install(Path(os.environ["FAULT_POINTS"]))
