"""The command hook: `PYTHON -I -S /path/to/orchwatch/agents/claude_code/hook.py [HOME]`.

A script's own code is compiled anew on each run, so that it stands in `hook_line`. Whatever
happens, the agent must not notice: nothing is printed, and the exit code is 0.
"""

import os
import sys


def main() -> None:
    """Records the event on standard input; HOME is for where `ORCHWATCH_HOME` is not set."""
    try:
        # Isolated, the interpreter finds the standard library only.
        sys.path.insert(0, __file__.rpartition("/orchwatch/")[0])
        from orchwatch.agents.claude_code import hook_line  # noqa: PLC0415 - needs the path from above

        hook_line.record(*sys.argv[1:2])
    finally:
        # No traceback, whatever was raised; and nothing is left that an orderly end would write.
        os._exit(0)


if __name__ == "__main__":
    main()
