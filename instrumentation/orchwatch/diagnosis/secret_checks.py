"""Whether the secrets that hooks and Alertmanager show to the monitor are still secrets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from orchwatch.agents.claude_code.settings import locations, registration, secrecy, settings_file
from orchwatch.diagnosis.check import Check
from orchwatch.errors import OrchwatchError
from orchwatch.recording import files
from orchwatch.recording.home import home

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = "secrets"
_MAX_BYTES = 16 * 1024 * 1024
_ALERTMANAGER = ("alertmanager", "credentials")


def check_secrets() -> Iterator[Check]:
    """Nothing where all are secrets: most homes hold none."""
    for path in (registration.secret_path(), os.path.join(home(), *_ALERTMANAGER)):
        yield from _check_mode(path)
    for scope in locations.SCOPES:
        path = os.path.realpath(locations.settings_file(scope))
        held = _secrets_in(path)
        if not held:
            continue
        yield from _check_mode(path)
        why = secrecy.in_git(path)
        if why:
            yield Check(
                name=_NAME,
                state="fail",
                found=f"{path} holds the hooks' secret, and {why}",
                remedy=f"orchwatch claude uninstall --{scope}, then install with --hooks command;"
                f" a secret that others have seen: remove {registration.secret_path()} as well",
            )
        if held != {_own()}:
            yield Check(
                name=_NAME,
                state="fail",
                found=f"{path} holds another secret than the monitor's: its hooks are refused",
                remedy=f"orchwatch claude uninstall --{scope}, then orchwatch claude install",
            )


def _check_mode(path: str) -> Iterator[Check]:
    mode = secrecy.exposed_mode(path)
    if mode is not None:
        yield Check(
            name=_NAME,
            state="fail",
            found=f"{path} holds a secret, and others may read or change it: its mode is {mode:o}",
            remedy=f"chmod {mode & ~secrecy.OTHERS:o} {path}",
        )


def _own() -> str | None:
    try:
        return registration.read_secret()
    except OrchwatchError:
        return None


def _secrets_in(path: str) -> set[str]:
    """What hooks of ours show; nothing where there are none, or the file cannot be understood."""
    try:
        value = settings_file.parse(files.read(path, _MAX_BYTES).decode("utf-8-sig"))
        hooks = [
            hook
            for groups in value.get("hooks", {}).values()
            for group in groups
            for hook in group.get("hooks", ())
            if registration.is_own(hook)
        ]
        return {str(hook["headers"][registration.SECRET_HEADER]) for hook in hooks if "url" in hook}
    except (OSError, OrchwatchError, ValueError, LookupError, TypeError, AttributeError):
        return set()
