"""`python -m cli` runs the operators' commands without the client's distribution."""

import sys

from cli.main import main

if __name__ == "__main__":
    sys.exit(main())
