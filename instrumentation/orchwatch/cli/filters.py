"""Which spans a command looks at: the same options, with the same meaning, for every command."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchwatch.cli import window
from orchwatch.errors import OrchwatchError, UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from orchwatch.store.database import Store
    from orchwatch.store.selection import Selection
    from orchwatch.store.small import SmallStore

_NS = 1_000_000_000
# How many that a beginning fits are named.
_MAX_NAMED = 5
# By option: what it selects, and which command lists those.
_OPTIONS = {
    "session": ("the session whose id starts with this", "sessions"),
    "agent": ("the agent of that name, or whose id starts with this", "agents"),
    "service": ("the service of that name", "current"),
    "operation": ("the operation of that name", "current"),
}
_BY_BEGINNING = ("session", "agent")


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What a command is to look at.

    Attributes:
        selection: The spans to look at.
        words: The same in words, e.g. `in the last 24h, --session 1f3c`.
        note: A sentence where another window than the default is used, else None.
    """

    selection: Selection
    words: str
    note: str | None = None


def add_arguments(parser: argparse.ArgumentParser, default: str = window.DEFAULT) -> None:
    """Declares the window and the filters; without `--since`, `default` is meant."""
    parser.set_defaults(default_since=default)
    window.add_arguments(parser, default)
    for name, (what, _) in _OPTIONS.items():
        parser.add_argument(f"--{name}", metavar="NAME" if name != "session" else "ID", help=what)


def given(arguments: argparse.Namespace) -> list[str]:
    """The options that were given, as they are written."""
    names = ("since", "until", *_OPTIONS)
    return [f"--{name}" for name in names if getattr(arguments, name) is not None]


@contextmanager
def opened(home: Path, *, small: bool = True) -> Iterator[Store | SmallStore]:
    """A home's store.

    Args:
        home: The home directory.
        small: Whether DuckDB is left out where it is small enough.

    Raises:
        OrchwatchError: Its files cannot be read.
    """
    from orchwatch.store import small as small_store  # noqa: PLC0415 - slow, see `commands`

    found = small_store.read(home) if small else None
    if found is not None:
        yield found
        return
    from orchwatch.store.database import Store  # noqa: PLC0415

    with Store(home, say) as store:
        yield store


def say(what: str) -> None:
    """Writes to stderr where that is a terminal."""
    if sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(f"orchwatch: {what}\n")


def chosen(
    arguments: argparse.Namespace, store: Store | SmallStore, home: Path, *, moved: bool = True
) -> Chosen:
    """What the options select; imported history counts at its own time.

    Where nothing ended within the default window, the one of the same length that ends
    with the last operation is looked at instead, unless `moved` is false: what was imported may be
    from last month.

    Raises:
        UsageError: A window is invalid.
        OrchwatchError: A filter matches nothing that is stored, or more than one.
    """
    from orchwatch.store import spans  # noqa: PLC0415 - as above
    from orchwatch.store.selection import Selection  # noqa: PLC0415

    since = arguments.default_since if arguments.since is None else arguments.since
    selection = Selection(
        since_ns=window.since_ns(since),
        until_ns=None if arguments.until is None else window.until_ns(arguments.until),
        history=True,
    )
    apart = False
    if selection.until_ns is not None and (selection.since_ns or 0) > selection.until_ns:
        if arguments.since is not None:
            raise UsageError("--since must lie before --until")
        # `--until` alone looks as far back from there.
        length_s = window.length_s(since) or 0
        selection = replace(selection, since_ns=selection.until_ns - length_s * _NS)
        apart = True
    found: dict[str, Any] = {
        "session_id" if name == "session" else name: _found(
            store, selection, name, getattr(arguments, name), home
        )
        for name in _OPTIONS
        if getattr(arguments, name) is not None
    }
    selection = replace(selection, **found)
    words = _words(arguments, since, apart=apart)
    explicit = arguments.since is not None or selection.until_ns is not None
    if explicit or selection.since_ns is None or not moved:
        return Chosen(selection=selection, words=words)
    latest_ns = spans.latest_before_ns(store, selection)
    if latest_ns is None:
        return Chosen(selection=selection, words=words)
    length_s = window.length_s(since) or 0
    last = replace(selection, since_ns=latest_ns - length_s * _NS, until_ns=latest_ns)
    return Chosen(
        selection=last,
        words=f"in the {since} until the last operation",
        note=f"Nothing ended in the last {since}: these are the {since} until the last operation;"
        " --since and --until look elsewhere.",
    )


def _words(arguments: argparse.Namespace, since: str, *, apart: bool) -> str:
    """In words; `apart` is a window that ends before the usual one begins."""
    parts = []
    if arguments.until:
        parts.append(f"until {window.shown(arguments.until)}")
    if apart:
        parts = [f"in the {since} {parts[0]}"]
    elif since != window.ALL:
        moment = window.shown(since)
        ago = moment == f"{since} ago"
        from_there = f"since {moment}" if arguments.until or not ago else f"in the last {since}"
        parts.insert(0, from_there)
    parts += [
        f"--{name} {getattr(arguments, name)}"
        for name in _OPTIONS
        if getattr(arguments, name) is not None
    ]
    return ", ".join(parts)


def _found(
    store: Store | SmallStore, selection: Selection, name: str, start: str, home: Path
) -> str:
    """The one value that is meant.

    Raises:
        UsageError: It is empty.
        OrchwatchError: There is none, or more than one.
    """
    from orchwatch.analysis import listing  # noqa: PLC0415 - slow, see `commands`

    if not start:
        raise UsageError(f"--{name} must not be empty")
    known = listing.values(store, selection, name)
    if start in known:
        return start
    fitting = [value for value in known if value.startswith(start)]
    if name in _BY_BEGINNING and len(fitting) == 1:
        return fitting[0]
    if name in _BY_BEGINNING and fitting:
        more = ", …" if len(fitting) > _MAX_NAMED else ""
        raise OrchwatchError(
            f"--{name} {start}: begins more than one: {', '.join(fitting[:_MAX_NAMED])}{more}"
        )
    from orchwatch.cli.suggestions import did_you_mean  # noqa: PLC0415

    hint = did_you_mean(start, known) or f"orchwatch {_OPTIONS[name][1]} shows what there is"
    raise OrchwatchError(f"--{name} {start}: matches nothing in {home}; {hint}")
