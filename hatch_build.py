"""Puts into the sdist and the wheel what `orchwatch generate --output` writes beside the package.

`files` in pyproject.toml lists it. What is not there is left out: the image, which is built from
the package and its metadata, is given nothing else.
"""

from __future__ import annotations

import os
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_IN_WHEEL = "orchwatch/stack/"


class StackFiles(BuildHookInterface[Any]):
    """Hatch's hook."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Adds the files; an editable installation reads the checkout's own."""
        if version == "editable":
            return
        prefix = _IN_WHEEL if self.target_name == "wheel" else ""
        for name in self.config["files"]:
            path = os.path.join(self.root, name)
            if os.path.exists(path):
                build_data["force_include"][path] = prefix + name
