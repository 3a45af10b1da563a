"""`python -m orchwatch.cli`, for where the console script is not on the path."""

import sys

from orchwatch.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
