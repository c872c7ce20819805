"""`python -m so3krates` is the command `so3krates`."""

import sys

from so3krates.cli import main

if __name__ == "__main__":
    sys.exit(main())
