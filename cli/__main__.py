"""`python -m cli` is `perennial`."""

import sys

from core.loading import loading

with loading():
    from cli.main import main

if __name__ == "__main__":
    sys.exit(main())
