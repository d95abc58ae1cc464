"""Run the whole cycle over HTTP: teach twice, score, promote, refuse, classify and roll back."""

import argparse
import json
import shutil
import sys
from pathlib import Path

from demo.service import running_service
from demo.walkthrough import walk
from perennial import JobFailed


def main() -> None:
    """Run the demo in its own folder, which is deleted first."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument(
        "--home",
        type=Path,
        default=Path("var/demo"),
        help="run-time folder, deleted first (default: var/demo)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="random seed of all updates (default: 0)"
    )
    parser.add_argument("--json", type=Path, help="also write the final table to this file")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.home, ignore_errors=True)
    try:
        with running_service(arguments.home) as service:
            summary = walk(service, seed=arguments.seed)
    except KeyboardInterrupt:
        sys.exit(130)
    except JobFailed as failure:
        sys.exit(str(failure))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
