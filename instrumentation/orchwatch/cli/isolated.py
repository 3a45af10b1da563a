"""The command line for an isolated interpreter: `PYTHON -I -S /path/to/isolated.py COMMAND …`.

It starts fastest, and nothing that a user has in `PYTHONPATH` or the working directory can break
it. For the commands that need the standard library only.
"""

import os
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    from orchwatch.cli.main import main

    sys.exit(main())
