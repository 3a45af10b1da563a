"""`orchwatch tune`: better settings for the runtime, found by measuring."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchwatch.bench.case import COMPONENTS
from orchwatch.cli import options
from orchwatch.cli.commands.bench import component
from orchwatch.errors import UsageError
from orchwatch.recording.safe_text import safe
from orchwatch.targets.knobs import KNOBS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

HELP = "find better settings for the runtime by measuring a workload, one change at a time"

# What the settings reach; the others would only take time.
_DEFAULT = ("state", "persist", "event", "agent")
_ITERATIONS = 100
_MINUTES = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares its options."""
    parser.usage = "orchwatch tune [log|undo] [OPTIONS]"
    parser.description = (
        "Measures a workload, changes one setting of [tuning] at a time, keeps a change only where"
        " an operation became faster beyond doubt, twice, and none slower, and undoes it otherwise."
        " What is kept lies in ORCHWATCH_HOME, as does the log of all decisions; orchwatch.toml is"
        " never written."
    )
    parser.add_argument(
        "action",
        nargs="?",
        choices=("log", "undo"),
        metavar="log|undo",
        help="instead: show all decisions, or take the last change back that is in effect",
    )
    parser.add_argument(
        "--component",
        action="append",
        type=component,
        metavar="NAME",
        help=f"the workload: one or more of {', '.join(COMPONENTS)} (default:"
        f" {', '.join(_DEFAULT)})",
    )
    parser.add_argument(
        "--callable",
        metavar="MODULE:FUNCTION",
        help="the workload: this Python function that uses orchwatch.runtime",
    )
    parser.add_argument(
        "--knob",
        action="append",
        choices=tuple(knob.name for knob in KNOBS),
        metavar="NAME",
        help=f"only this one; one or more of {', '.join(knob.name for knob in KNOBS)}",
    )
    parser.add_argument(
        "--iterations",
        type=options.whole(10, 100_000),
        metavar="N",
        help=f"how many of each operation a measurement takes at most (default: {_ITERATIONS})",
    )
    parser.add_argument(
        "--minutes",
        type=options.number(0.01, 24 * 60),
        metavar="N",
        help=f"begin nothing new after so long (default: {_MINUTES:g})",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only propose: keep nothing, log nothing"
    )
    options.add_format(parser)
    options.add_color(parser)


def run(arguments: argparse.Namespace) -> int:
    """Does it.

    Raises:
        UsageError: The options do not fit.
        OrchwatchError: Another one runs, or the workload fails.
    """
    from orchwatch.recording.home import home  # noqa: PLC0415 - slow, see `commands`

    given = [
        f"--{name.replace('_', '-')}"
        for name in ("component", "callable", "knob", "iterations", "minutes", "dry_run")
        if getattr(arguments, name)
    ]
    if arguments.action and given:
        raise UsageError(f"tune {arguments.action}: {given[0]} does not go with it")
    return _ACTIONS[arguments.action](arguments, Path(home()))


def _tune(arguments: argparse.Namespace, home: Path) -> int:
    from orchwatch.bench import tuner  # noqa: PLC0415 - as above
    from orchwatch.bench.workers import BenchmarkError  # noqa: PLC0415
    from orchwatch.reporters import tuning as report  # noqa: PLC0415

    with tuner.alone(home):
        asked = tuner.Tuner(
            home,
            tuner.Workload(home, _tasks(arguments), iterations=arguments.iterations or _ITERATIONS),
            knobs=[knob for knob in KNOBS if not arguments.knob or knob.name in arguments.knob],
            limit_s=(arguments.minutes or _MINUTES) * 60,
            dry_run=arguments.dry_run,
        )
        try:
            done = asked.run()
        except BenchmarkError as error:
            raise BenchmarkError(f"tune: {error}") from error
    document = {
        "decisions": [report.as_json(one) for one in done.decisions],
        "settings": report.settings_as_json(done.settings),
        "untried": done.untried,
        "took_s": round(done.took_s, 3),
    }
    _print(
        arguments,
        document,
        partial(report.render, done.decisions, done.settings, done.untried),
    )
    return 0


def _log(arguments: argparse.Namespace, home: Path) -> int:
    from orchwatch.analysis import tuning  # noqa: PLC0415 - as above
    from orchwatch.reporters import tuning as report  # noqa: PLC0415
    from orchwatch.runtime import settings  # noqa: PLC0415
    from orchwatch.targets import config  # noqa: PLC0415

    log = tuning.read(home)
    now = settings.of(config.load().tuning, settings.tuned(home))
    in_effect = log.in_effect(now)
    document = {
        "decisions": [report.as_json(one) for one in log.decisions],
        "in_effect": [one.number for one in in_effect],
        "settings": report.settings_as_json(now),
        "unreadable": log.unreadable,
    }
    _print(
        arguments,
        document,
        partial(report.render_log, log.decisions, in_effect, now, log.unreadable),
    )
    return 0


def _undo(arguments: argparse.Namespace, home: Path) -> int:
    from orchwatch.bench import tuner  # noqa: PLC0415 - as above
    from orchwatch.reporters import json_document  # noqa: PLC0415
    from orchwatch.reporters import tuning as report  # noqa: PLC0415
    from orchwatch.targets.knobs import shown  # noqa: PLC0415

    with tuner.alone(home):
        done, now = tuner.undo(home)
    if arguments.format == "json":
        document = {"decision": report.as_json(done), "settings": report.settings_as_json(now)}
        json_document.answer("tune undo", document, sys.stdout)
    else:
        sys.stdout.write(f"{done.knob} = {shown(done.after)} again, not {shown(done.before)}.\n")
    return 0


_ACTIONS: dict[str | None, Callable[[argparse.Namespace, Path], int]] = {
    None: _tune,
    "log": _log,
    "undo": _undo,
}


def _tasks(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    from orchwatch.bench.program import Own  # noqa: PLC0415 - as above

    if not arguments.callable:
        chosen = arguments.component or _DEFAULT
        return [{"component": name} for name in COMPONENTS if name in chosen or "all" in chosen]
    if arguments.component:
        raise UsageError("tune: --component does not go with --callable")
    module, _, function = arguments.callable.partition(":")
    if not module or not function:
        shown = safe(arguments.callable)
        raise UsageError(f"tune: --callable must be spelt MODULE:FUNCTION, not {shown!r}")
    return [Own(operation=arguments.callable, callable=arguments.callable).task]


def _print(arguments: argparse.Namespace, document: Any, render: Callable[..., None]) -> None:
    from orchwatch.cli.parser import columns  # noqa: PLC0415 - as above
    from orchwatch.reporters import colour, json_document  # noqa: PLC0415

    if arguments.format == "json":
        command = f"tune {arguments.action or ''}".rstrip()
        json_document.answer(command, document, sys.stdout)
    else:
        painted = colour.wanted(sys.stdout, arguments.color)
        render(sys.stdout, colour=painted, room=columns())
