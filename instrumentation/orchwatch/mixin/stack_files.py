"""What `docker compose up` needs beside what follows from the table, where there is no checkout.

The files are those of a checkout, and there is no second copy: the wheel has them in `stack/`
of this package (hatch_build.py puts them there), a checkout as they are. The image
of the monitor is built from this very package, so that it needs no release to be published.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orchwatch
from orchwatch.errors import OrchwatchError
from orchwatch.recording import files, home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Read = Callable[[Path], str | None]
    Outline = Callable[[str, str], str]
    Fill = Callable[[str, str], str]

# What was written, by name: SHA-256, without what follows from the table.
NOTE: Final = ".orchwatch.json"
# Beside a file that the user has changed, the new version is written.
NEW_SUFFIX: Final = ".new"

_PACKAGE: Final = Path(orchwatch.__file__).parent
_PACKAGED: Final = _PACKAGE / "stack"
_MAX_BYTES: Final = 1024 * 1024
_LEFT_OUT: Final = {"__pycache__", _PACKAGED.name}


def shipped() -> dict[str, str]:
    """Each file's text by its path below a checkout.

    Raises:
        OrchwatchError: This installation has none.
    """
    found = {f"instrumentation/orchwatch/{name}": path for name, path in _below(_PACKAGE)}
    if (_PACKAGED / "docker-compose.yml").is_file():
        found |= dict(_below(_PACKAGED))
    else:
        found |= _of_checkout(_PACKAGE.parents[1])
    return {name: files.read(path, _MAX_BYTES).decode() for name, path in sorted(found.items())}


def _of_checkout(root: Path) -> dict[str, Path]:
    try:
        project = tomllib.loads(files.read(root / "pyproject.toml", _MAX_BYTES).decode())
        names = project["tool"]["hatch"]["build"]["hooks"]["custom"]["files"]
    except (OSError, KeyError) as error:
        raise OrchwatchError(
            "this installation has no files of the stack; pip install 'orchwatch[local,grafana]'"
        ) from error
    return {
        f"{name}/{below}".removesuffix("/."): path
        for name in names
        for below, path in _below(root / name)
    }


def _below(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_file():
        yield ".", path
    for file in sorted(path.rglob("*")):
        relative = file.relative_to(path)
        if file.is_file() and _LEFT_OUT.isdisjoint(relative.parts):
            yield str(relative), file


def changes(root: Path, read: Read, outline: Outline, fill: Fill) -> dict[Path, str | None]:
    """What is to be written below a directory, and None for what is to go.

    A file that its user has changed stays; where this version's is another than the last one's, it
    is written beside it. `.env` is its user's from the start.

    Args:
        root: The directory.
        read: Reads a file, None where there is none.
        outline: Takes what follows from the table out of a file of that name.
        fill: Puts it in.

    Raises:
        OrchwatchError: A file stands there that is not from here; nothing is to be written.
    """
    note = _note(read(root / NOTE))
    wanted = shipped()
    changed: dict[Path, str | None] = {}
    for name, text in wanted.items():
        path, now = root / name, read(root / name)
        if now is None or _digest(outline(name, now)) in (note.get(name), _digest(text)):
            new = fill(name, text)
        elif not note:
            raise OrchwatchError(f"{path} is not from orchwatch: name a directory of its own")
        else:
            new = fill(name, now)
            if note.get(name) != _digest(text):
                changed[path.with_name(path.name + NEW_SUFFIX)] = fill(name, text)
        if new != now:
            changed[path] = new
    for name in note.keys() - wanted.keys():
        now = read(root / name)
        if now is not None and _digest(outline(name, now)) == note[name]:
            changed[root / name] = None
    if read(root / ".env") is None:
        changed[root / ".env"] = environment()
    written = {name: _digest(text) for name, text in wanted.items()}
    if written != note:
        # Last: what is only half written is begun anew.
        changed[root / NOTE] = json.dumps(written, indent=1) + "\n"
    return changed


def environment() -> str:
    """For docker compose: whose spool it reads, and where, quoted: it would expand a `$`."""
    return (
        f"ORCHWATCH_UID={os.getuid()}\nORCHWATCH_GID={os.getgid()}\n"
        f"ORCHWATCH_HOME='{os.path.abspath(home.home())}'\n"
    )


def _note(text: str | None) -> dict[str, str]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
