"""The result of one check of `orchwatch doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """A result.

    Attributes:
        name: What was checked.
        state: `fail` needs fixing, `warn` deserves a look, `unknown` could not be checked, which
            is fine where the thing is not in use.
        found: What was found, one line.
        remedy: What to do about it; empty where there is nothing to do.
    """

    name: str
    state: State
    found: str
    remedy: str = ""
