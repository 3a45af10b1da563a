"""What the stack's scripts use of the package beside them, whichever Python runs them.

Only its standard-library part: the scripts run before the environment is made.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

sys.path.append(str(Path(__file__).parent.parent / "instrumentation"))

from orchwatch.recording import files
from orchwatch.recording.safe_text import safe

__all__ = ["files", "say"]

# A path or two, or a list of servers.
_LINE_COLUMNS = 2000


def say(line: str, file: TextIO | None = None) -> None:
    """Writes one line, with nothing in it that a terminal would obey."""
    print(safe(line, _LINE_COLUMNS), file=file or sys.stdout, flush=True)
