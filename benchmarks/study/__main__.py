"""The paper's protocol as a command: `python -m benchmarks.study --help`."""

import sys

from benchmarks.study.cli import main

if __name__ == "__main__":
    sys.exit(main())
