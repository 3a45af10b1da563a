"""`orchwatch events`: alerts, failures and what was too slow, as it happens."""

from __future__ import annotations

import argparse
import select
import shutil
import sys
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from orchwatch.cli import filters, options
from orchwatch.recording.safe_text import safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchwatch.analysis.event_stream import Event, EventStream

HELP = "show alerts, failed operations and operations beyond their warning, oldest first"

_LIMIT = 1000
_INTERVAL_S = 0.5
# Of the time, at most this share goes into looking, however much is stored.
_SHARE = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    from orchwatch.reporters import event_list  # noqa: PLC0415 - slow, see `commands`

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "keys of --format json, null where there is nothing to say:\n" + "".join(
        f"  {line}\n" for line in event_list.KEYS.splitlines()
    )
    parser.add_argument("--follow", action="store_true", help="go on until interrupted")
    filters.add_arguments(parser)
    options.add_format(parser, "; table: for a person, in local time; json: one object a line")
    options.add_color(parser)
    options.add_limit(parser, None, f"{_LIMIT} in a table, all of json")


def run(arguments: argparse.Namespace) -> int:
    """Prints what happened, and with `--follow` what happens."""
    from pathlib import Path  # noqa: PLC0415 - slow, see `commands`, and so are the next ones

    from orchwatch.analysis.event_stream import EventStream  # noqa: PLC0415
    from orchwatch.recording.home import home  # noqa: PLC0415
    from orchwatch.targets import target_table  # noqa: PLC0415

    directory = Path(home())
    show = _shower(arguments)
    # What is followed is read again and again, and grows.
    with filters.opened(directory, small=not arguments.follow) as store:
        chosen = filters.chosen(arguments, store, directory, moved=False)
        stream = EventStream(directory, store, target_table.load(), chosen.selection)
        past = stream.past(chosen.selection.since_ns or 0)
        if not _show_latest(past, show, _limit(arguments)) and arguments.format == "table":
            sys.stdout.write(_nothing(chosen, str(directory)))
        if arguments.follow:
            _follow(stream, show)
    return 0


def _limit(arguments: argparse.Namespace) -> int:
    """How many at most; 0 for all."""
    if arguments.limit is None:
        return _LIMIT if arguments.format == "table" else 0
    return int(arguments.limit)


def _show_latest(events: Iterator[Event], show: Callable[..., None], limit: int) -> int:
    """Shows the last so many, and says how many it left out; how many there were."""
    number = 0
    if limit:
        latest: deque[Event] = deque(maxlen=limit)
        for event in events:
            number += 1
            latest.append(event)
        if number > limit and sys.stderr is not None:
            sys.stderr.write(f"{number - limit} earlier ones are left out, see --limit\n")
        show(*latest)
        return number
    for event in events:
        show(event)
        number += 1
    return number


def _shower(arguments: argparse.Namespace) -> Callable[..., None]:
    """Shows events, of which several at once are told apart."""
    from orchwatch.reporters import colour, event_list  # noqa: PLC0415 - as above

    if arguments.format == "json":
        return partial(event_list.render_json, file=sys.stdout)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    painted = colour.wanted(sys.stdout, arguments.color)
    return event_list.EventList(sys.stdout, width=width, colour=painted).write


def _nothing(chosen: filters.Chosen, directory: str) -> str:
    when = f" {chosen.words}" if chosen.words else " yet"
    more = "; --since all looks at all there is" if chosen.selection.since_ns is not None else ""
    return (
        f"Nothing happened{when} in {safe(directory)}:\n"
        f"no alert, no failure, nothing beyond its warning{more}.\n"
    )


def _follow(stream: EventStream, show: Callable[..., None]) -> None:
    """Until Ctrl-C, which is the way to end it, or until the reader of the pipe has gone."""
    wait = _waiter()
    interval_s = _INTERVAL_S
    try:
        while True:
            sys.stdout.flush()
            wait(interval_s)
            started_s = time.process_time()
            for event in stream.news():
                show(event)
            interval_s = max(_INTERVAL_S, (time.process_time() - started_s) / _SHARE)
    except KeyboardInterrupt:
        return


def _waiter() -> Callable[[float], None]:
    """Waits; a pipe that was closed at its other end is noticed with nothing to write."""
    try:
        output = select.poll()
        output.register(sys.stdout.fileno(), 0)
    except OSError:  # no file at all
        return time.sleep

    def wait(interval_s: float) -> None:
        if output.poll(interval_s * 1000):
            raise BrokenPipeError

    return wait
