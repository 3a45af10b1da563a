"""`orchwatch bench`: how long things take, again and again, on this machine."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from orchwatch.bench.case import COMPONENTS
from orchwatch.cli import options
from orchwatch.cli.suggestions import did_you_mean
from orchwatch.errors import CheckFailedError, UsageError
from orchwatch.recording.safe_text import safe
from orchwatch.units import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchwatch.bench.program import Own

HELP = "benchmark the components, or a command or function of yours, against the targets"

ALL = "all"
_MAX_NAME = 256
_ABOUT = (
    "Operations of a benchmark are recorded apart and removed in the end: `orchwatch current` never"
    " counts them. It works below ORCHWATCH_HOME, on the same disk."
)
_COMPONENT_HELP = f"one or more of {', '.join(COMPONENTS)} (default: {ALL})"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's own commands."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="run|load|stress")
    run = actions.add_parser(
        "run",
        help="each component, one iteration after the other; every run is kept",
        description="Benchmarks each component in a process of its own and keeps the run, with the"
        " machine and the commit of the current directory; exit code 3 if a target is missed or an"
        f" iteration failed. {_ABOUT}",
        usage="orchwatch bench run [OPTIONS] [-- COMMAND ...]",
    )
    _add_components(run)
    run.add_argument(
        "--iterations",
        type=options.whole(1, 1_000_000),
        default=100,
        metavar="N",
        help="how many are timed of each operation (default: %(default)s)",
    )
    run.add_argument(
        "--warmup",
        type=options.whole(0, 1_000_000),
        default=5,
        metavar="N",
        help="how many go before that are not (default: %(default)s)",
    )
    run.add_argument(
        "--callable", metavar="MODULE:FUNCTION", help="benchmark this Python function instead"
    )
    run.add_argument(
        "--operation",
        metavar="NAME",
        help="what COMMAND or --callable is called, as in orchwatch.toml (default: its own name)",
    )
    options.add_format(run)
    options.add_color(run)
    run.add_argument("command", nargs="*", metavar="COMMAND", help="benchmark this command instead")
    load = actions.add_parser(
        "load",
        help="many processes at once",
        description="Processes at once, each doing every component in turn, and after each a write"
        " to a session that all share; exit code 3 if a target is missed, an operation failed or a"
        f" write is lost. {_ABOUT}",
    )
    _add_components(load)
    _add_load(load, processes=10)
    load.add_argument(
        "--duration",
        type=options.number(1, 3600),
        default=20.0,
        metavar="SECONDS",
        help="for how long (default: 20)",
    )
    stress = actions.add_parser(
        "stress",
        help="a steady load for minutes: what grows",
        description="A load as `bench load`, for longer; compares its end with its beginning: time,"
        " memory, open files, storage; exit code 3 if one of the first three grew, or as there."
        f" {_ABOUT}",
    )
    _add_components(stress)
    _add_load(stress, processes=2)
    stress.add_argument(
        "--duration",
        type=options.number(0.1, 7 * 24 * 60),
        default=5.0,
        metavar="MINUTES",
        help="for how long (default: 5)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs it and prints what came out.

    Raises:
        UsageError: The options do not fit.
        OrchwatchError: A component cannot be benchmarked.
        CheckFailedError: A target is missed, something failed, was lost or grew.
    """
    from orchwatch.bench.workers import BenchmarkError  # noqa: PLC0415 - slow, see `commands`

    try:
        return _ACTIONS[arguments.action](arguments)
    except BenchmarkError as error:
        raise BenchmarkError(f"bench: {error}") from error


def _run(arguments: argparse.Namespace) -> int:
    from orchwatch.bench import program  # noqa: PLC0415 - slow, see `commands`
    from orchwatch.reporters import benchmark  # noqa: PLC0415

    own = _own(arguments)
    if own and arguments.component:
        raise UsageError("bench run: --component does not go with a command or --callable")
    done, path = program.run(
        _chosen(arguments.component),
        own,
        iterations=arguments.iterations,
        warmup=arguments.warmup,
    )
    _print(arguments, done.as_json(), partial(benchmark.render, done))
    if arguments.format == "json":
        sys.stderr.writelines(f"orchwatch: bench: {line}\n" for line in benchmark.errors(done))
    else:
        sys.stdout.write(f"Kept in {safe(str(path))}.\n")
    dropped = program.drop_oldest()
    if dropped:
        sys.stderr.write(
            f"orchwatch: bench: the {counted(dropped, 'oldest run')} went from {safe(str(path))}:"
            " [retention] benchmark_bytes in orchwatch.toml\n"
        )
    _check(benchmark.missed(done))
    return 0


def _load(arguments: argparse.Namespace) -> int:
    from orchwatch.bench import load  # noqa: PLC0415 - as above
    from orchwatch.reporters import benchmark  # noqa: PLC0415
    from orchwatch.reporters import benchmark_load as report  # noqa: PLC0415

    done = load.run(
        _chosen(arguments.component),
        processes=arguments.concurrent,
        rate=arguments.rate,
        duration_s=arguments.duration,
    )
    _print(arguments, report.load_as_json(done), partial(report.render_load, done))
    _check([*benchmark.missed(done.run), *report.lost(done)])
    return 0


def _stress(arguments: argparse.Namespace) -> int:
    from orchwatch.bench import stress  # noqa: PLC0415 - as above
    from orchwatch.reporters import benchmark  # noqa: PLC0415
    from orchwatch.reporters import benchmark_load as report  # noqa: PLC0415

    done = stress.run(
        _chosen(arguments.component),
        processes=arguments.concurrent,
        rate=arguments.rate,
        duration_s=arguments.duration * 60,
    )
    _print(arguments, report.stress_as_json(done), partial(report.render_stress, done))
    grew = [f"{name} grew" for name in done.grew]
    _check([*benchmark.missed(done.load.run), *report.lost(done.load), *grew])
    return 0


_ACTIONS = {"run": _run, "load": _load, "stress": _stress}


def _print(arguments: argparse.Namespace, document: Any, render: Callable[..., None]) -> None:
    from orchwatch.reporters import colour, json_document  # noqa: PLC0415 - as above

    if arguments.format == "json":
        json_document.answer(f"bench {arguments.action}", document, sys.stdout)
    else:
        render(sys.stdout, colour=colour.wanted(sys.stdout, arguments.color))


def _check(complaints: list[str]) -> None:
    if complaints:
        raise CheckFailedError(f"bench: {'; '.join(complaints)}")


def _own(arguments: argparse.Namespace) -> Own | None:
    from orchwatch.bench.program import Own  # noqa: PLC0415 - as above

    if arguments.command and arguments.callable:
        raise UsageError("bench run: give a command or --callable, not both")
    if arguments.operation is not None and not 0 < len(arguments.operation) <= _MAX_NAME:
        raise UsageError(f"bench run: --operation must have 1 to {_MAX_NAME} characters")
    if arguments.command:
        program = arguments.command[0]
        if shutil.which(program) is None:
            raise UsageError(f"bench run: {program}: no such command, or it is not executable")
        name = arguments.operation or os.path.basename(program)
        return Own(operation=name, command=tuple(arguments.command))
    if arguments.callable:
        module, _, function = arguments.callable.partition(":")
        if not module or not function:
            raise UsageError(
                f"bench run: --callable must be spelt MODULE:FUNCTION, not {arguments.callable!r}"
            )
        return Own(operation=arguments.operation or arguments.callable, callable=arguments.callable)
    if arguments.operation is not None:
        raise UsageError("bench run: --operation names a command or --callable, and there is none")
    return None


def _add_components(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--component", action="append", type=component, metavar="NAME", help=_COMPONENT_HELP
    )


def _add_load(parser: argparse.ArgumentParser, *, processes: int) -> None:
    parser.add_argument(
        "--concurrent",
        type=options.whole(1, 1000),
        default=processes,
        metavar="N",
        help="how many processes at once (default: %(default)s)",
    )
    parser.add_argument(
        "--rate",
        type=options.number(0, 1_000_000),
        default=20.0,
        metavar="N",
        help="operations a second, of all together; 0: as many as they can (default: 20)",
    )
    options.add_format(parser)
    options.add_color(parser)


def _chosen(given: list[str] | None) -> tuple[str, ...]:
    """Each once, in the order of the list."""
    if not given or ALL in given:
        return tuple(COMPONENTS)
    return tuple(name for name in COMPONENTS if name in given)


def component(text: str) -> str:
    """What `--component` takes."""
    if text not in (*COMPONENTS, ALL):
        hint = did_you_mean(text, COMPONENTS) or f"known are {', '.join((*COMPONENTS, ALL))}"
        raise argparse.ArgumentTypeError(f"no component {text!r}; {hint}")
    return text
