"""The command line for an isolated interpreter.

`PYTHON -I -S /path/to/isolated.py [--home HOME] COMMAND …` starts fastest, and nothing that a user
has in `PYTHONPATH` or the working directory can break it. For the commands that need the standard
library only; HOME is for where `ORCHWATCH_HOME` is not set.
"""

import os
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    from orchwatch.cli.main import main

    words = sys.argv[1:]
    if words[:1] == ["--home"]:
        os.environ.setdefault("ORCHWATCH_HOME", words[1])
        words = words[2:]
    sys.exit(main(words))
