"""The entry point of the studies: `python -m benchmarks.study --help`."""

import sys

from benchmarks.study.cli import main

if __name__ == "__main__":
    sys.exit(main())
