"""The hook that the demo's supervisor and agents ask."""

from __future__ import annotations

import sys
from pathlib import Path

from orchwatch.runtime.hooks import Hook

# Refuses batches with files outside the library; starts fast, as it imports next to nothing.
BATCH_POLICY = Hook(
    command=(sys.executable, "-I", "-S", str(Path(__file__).with_name("batch_policy.py"))),
    timeout_s=10.0,
)
