"""Which other users could read a secret in a settings file."""

from __future__ import annotations

import os
import stat
import subprocess

OTHERS = stat.S_IRWXG | stat.S_IRWXO

_TIMEOUT_S = 10.0
# Looking at an untrusted repository must not run the programs that its configuration names.
_GIT = ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-C"]
_IS_TRACKED, _IS_IGNORED = ("ls-files", "--error-unmatch"), ("check-ignore", "--quiet")


def exposed_mode(path: str) -> int | None:
    """The mode of a file that other users may look into; None where they may not."""
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return None
    return mode if mode & OTHERS else None


def in_git(path: str) -> str | None:
    """Why a file would get into a git repository; None where it would not, or lies in none.

    Args:
        path: Where it lies, links followed; it need not exist.
    """
    directory = os.path.dirname(path)
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    if not _is_in_work_tree(directory):
        return None
    if _git(directory, *_IS_TRACKED, path) == 0:
        return "git tracks it"
    # 1 says that it is not ignored; anything else is no repository that git would take a file into.
    if _git(directory, *_IS_IGNORED, path) in (1, None):
        return "git does not ignore it"
    return None


def _is_in_work_tree(directory: str) -> bool:
    while not os.path.exists(os.path.join(directory, ".git")):
        parent = os.path.dirname(directory)
        if parent == directory:
            return False
        directory = parent
    return True


def _git(directory: str, *words: str) -> int | None:
    """What git ends with; None where git is missing, or does not end."""
    environ = {key: text for key, text in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            [*_GIT, directory, *words[:-1], "--", words[-1]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_S,
            env={**environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.returncode
