"""`orchwatch fleet leave`: undoes `orchwatch fleet join`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchwatch.errors import OrchwatchError

if TYPE_CHECKING:
    import argparse

HELP = "undo join: forget the gateway and the token"


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """None."""


def run(_arguments: argparse.Namespace) -> int:
    """Removes what `join` has written.

    Raises:
        OrchwatchError: Something cannot be removed, the agent runs, or there is nothing.
    """
    from orchwatch.diagnosis.fleet import membership  # noqa: PLC0415 - slow, see `commands`

    if not membership.leave():
        raise OrchwatchError("this machine has joined no fleet")
    sys.stdout.write(
        "left the fleet. Kept: the machine's id, how far the spool was read, and the passwords in\n"
        "stack/access. The token is valid until `orchwatch fleet token revoke` at the gateway.\n"
    )
    return 0
