"""`orchwatch baseline`: what was measured before, and what became slower since."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchwatch.cli import filters, options, window
from orchwatch.errors import CheckFailedError, OrchwatchError, UsageError
from orchwatch.recording.safe_text import safe

if TYPE_CHECKING:
    import argparse

    from orchwatch.analysis.baselines import Baseline, Compared, Side
    from orchwatch.analysis.benchmark_runs import Run

HELP = "keep what was measured, compare it with now, and find since when it changed"

_WEEK = "7d"
_WEEK_NS = 7 * 24 * 3600 * 1_000_000_000
_FORMATS = ("table", "json", "md")
# How far back a parent is looked for that was benchmarked.
_ANCESTORS = 1000
_COMMIT_DIGITS = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's own commands."""
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="save|show|compare|list|history"
    )
    save = actions.add_parser(
        "save",
        help="keep a measurement under a name",
        description="Keeps the newest benchmark run under a name, or with --recorded the operations"
        " that were recorded; an earlier one of that name is replaced.",
    )
    _add_name(save)
    _add_recorded(save, "keep recorded operations instead")
    show = actions.add_parser("show", help="what one holds")
    _add_name(show)
    options.add_format(show)
    compare = actions.add_parser(
        "compare",
        help="hold what is now against one, or two times, versions or commits against each other",
        description="Against a baseline: the newest benchmark run, or recorded operations where it"
        " holds such. Exit code 3 on a regression: a median that is more than a tenth longer, with"
        " the whole interval (99 %%, and the machine's noise added) above 0; or more failures than"
        " chance gives; or where there is too little of every operation.",
    )
    compare.add_argument("name", nargs="?", metavar="NAME", help="the baseline")
    compare.add_argument(
        "--by",
        choices=("week", "version", "commit"),
        help="instead of a baseline: recorded operations of the last week against those of the one"
        " before, of the newest service.version against the one before; benchmark runs of the"
        " commit that is checked out against those of its parent",
    )
    compare.add_argument(
        "--recorded",
        action="store_true",
        help="with --by commit: recorded operations instead, by their vcs.ref.head.revision",
    )
    compare.add_argument(
        "--format",
        choices=_FORMATS,
        default="table",
        help="default: %(default)s; md for a pull request; docs/json.md has the keys of json",
    )
    filters.add_arguments(compare, _WEEK)
    options.add_color(compare)
    listing = actions.add_parser("list", help="which there are")
    options.add_format(listing)
    history = actions.add_parser(
        "history",
        help="since which commit an operation takes longer or less, over all benchmark runs",
        description="Finds change points in the medians of all benchmark runs of this machine;"
        " needs pip install 'orchwatch[history]'.",
    )
    history.add_argument("--operation", metavar="NAME", help="only this one")
    options.add_format(history)


def run(arguments: argparse.Namespace) -> int:
    """Does it.

    Raises:
        UsageError: The words do not fit.
        CheckFailedError: Something became slower, or nothing can be compared.
    """
    from orchwatch.recording.home import home  # noqa: PLC0415 - slow, see `commands`

    return int(_ACTIONS[arguments.action](arguments, Path(home())))


def _save(arguments: argparse.Namespace, home: Path) -> int:
    from datetime import UTC, datetime  # noqa: PLC0415 - as above

    from orchwatch.analysis import baselines  # noqa: PLC0415

    if not arguments.recorded and (given := filters.given(arguments)):
        raise UsageError(f"baseline save: {given[0]} goes with --recorded")
    kind = baselines.RECORDED if arguments.recorded else baselines.BENCHMARK
    side = _recorded(arguments, home) if arguments.recorded else baselines.of_run(_newest(home)[0])
    if not any(one.count for one in side.measurements):
        raise OrchwatchError(f"baseline save: nothing in {safe(side.words)} has succeeded")
    saved = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    replaced = arguments.name in baselines.names(home)
    baseline = baselines.Baseline(name=arguments.name, kind=kind, side=side, saved=saved)
    path = baselines.save(home, baseline)
    did = "Replaced" if replaced else "Kept"
    sys.stdout.write(f"{did} baseline {arguments.name}: {safe(side.words)}.\n{safe(str(path))}\n")
    return 0


def _show(arguments: argparse.Namespace, home: Path) -> int:
    from orchwatch.analysis import baselines  # noqa: PLC0415 - as above
    from orchwatch.reporters import baseline_list, json_document  # noqa: PLC0415

    baseline = baselines.load(home, arguments.name)
    if arguments.format == "json":
        json_document.answer("baseline show", baseline_list.as_json(baseline), sys.stdout)
    else:
        baseline_list.render_one(baseline, sys.stdout)
    return 0


def _list(arguments: argparse.Namespace, home: Path) -> int:
    from orchwatch.analysis import baselines  # noqa: PLC0415 - as above
    from orchwatch.reporters import baseline_list, json_document  # noqa: PLC0415

    kept: list[Baseline] = []
    damaged: list[str] = []
    for name in baselines.names(home):
        try:
            kept.append(baselines.load(home, name))
        except OrchwatchError as error:
            damaged.append(str(error))
    if arguments.format == "json":
        json_document.answer("baseline list", baseline_list.list_as_json(kept), sys.stdout)
    else:
        baseline_list.render(kept, sys.stdout)
    sys.stderr.writelines(f"orchwatch: {safe(line)}\n" for line in damaged)
    return 1 if damaged else 0


def _compare(arguments: argparse.Namespace, home: Path) -> int:
    from orchwatch.reporters import baseline_comparison, colour, json_document  # noqa: PLC0415

    if (arguments.name is None) == (arguments.by is None):
        raise UsageError(
            "baseline compare: give a baseline's NAME or --by week, version or commit;"
            " orchwatch baseline list shows the names"
        )
    compared = _compared(arguments, home)
    if arguments.format == "json":
        document = baseline_comparison.document(compared)
        json_document.answer("baseline compare", document, sys.stdout)
    elif arguments.format == "md":
        baseline_comparison.render_markdown(compared, sys.stdout)
    else:
        colours = colour.wanted(sys.stdout, arguments.color)
        baseline_comparison.render(compared, sys.stdout, colour=colours)
    if compared.regressions:
        names = ", ".join(safe(change.operation) for change in compared.regressions)
        raise CheckFailedError(f"baseline compare: regression of {names}")
    if all(change.verdict == "unknown" for change in compared.changes):
        raise CheckFailedError("baseline compare: nothing could be compared: no data on both sides")
    return 0


def _compared(arguments: argparse.Namespace, home: Path) -> Compared:
    from orchwatch.analysis import baselines  # noqa: PLC0415 - as above

    given = filters.given(arguments)
    if arguments.recorded and arguments.by != "commit":
        raise UsageError("baseline compare: --recorded goes with --by commit")
    if arguments.by == "week":
        if window_given := [name for name in given if name in ("--since", "--until")]:
            raise UsageError(f"baseline compare: {window_given[0]} does not go with --by week")
        return baselines.compare(*_weeks(arguments, home))
    if arguments.by == "version" or arguments.recorded:
        return baselines.compare(*_of_resource(arguments, home))
    if arguments.by is None:
        before = baselines.load(home, arguments.name)
        if before.kind == baselines.RECORDED:
            return baselines.compare(before.side, _recorded(arguments, home))
    if given:
        raise UsageError(
            f"baseline compare: {given[0]} is for recorded operations, and these are benchmark runs"
        )
    if arguments.by == "commit":
        return _commits(home)
    newest, unreadable = _newest(home)
    return baselines.compare(before.side, baselines.of_run(newest), unreadable=unreadable)


def _weeks(arguments: argparse.Namespace, home: Path) -> tuple[Side, Side]:
    import time  # noqa: PLC0415

    from orchwatch.analysis import recorded  # noqa: PLC0415 - as above

    now_ns = time.time_ns()
    with filters.opened(home) as store:
        selection = filters.chosen(arguments, store, home, moved=False).selection
        this = replace(selection, since_ns=now_ns - _WEEK_NS, until_ns=now_ns)
        last = replace(selection, since_ns=now_ns - 2 * _WEEK_NS, until_ns=now_ns - _WEEK_NS - 1)
        return (
            recorded.side(store, last, "operations of the week before last"),
            recorded.side(store, this, "operations of the last 7 days"),
        )


def _of_resource(arguments: argparse.Namespace, home: Path) -> tuple[Side, Side]:
    """Recorded operations by what their resource says of the program: its version, its commit."""
    from orchwatch.analysis import recorded  # noqa: PLC0415 - as above

    arguments.since = window.ALL if arguments.since is None else arguments.since
    listed = _checked_out() if arguments.recorded else []
    with filters.opened(home) as store:
        selection = filters.chosen(arguments, store, home).selection
        if arguments.recorded:
            return recorded.commits(store, selection, listed[0], listed[1:])
        return recorded.versions(store, selection)


def _checked_out() -> list[str]:
    """The commit that is checked out, and those before it, the nearest first."""
    from orchwatch.bench import machine  # noqa: PLC0415 - as above

    listed = machine.git("rev-list", f"--max-count={_ANCESTORS}", "HEAD")
    if not listed:
        raise OrchwatchError("baseline compare: --by commit: no git repository with commits here")
    return listed.splitlines()


def _commits(home: Path) -> Compared:
    from orchwatch.analysis import baselines, benchmark_runs  # noqa: PLC0415 - as above

    head, *ancestors = _checked_out()
    runs = benchmark_runs.read(home)
    measured = baselines.commits(runs.kept)
    if head not in measured:
        raise OrchwatchError(
            f"baseline compare: no benchmark run of commit {head[:_COMMIT_DIGITS]} without changes;"
            " run orchwatch bench run there"
        )
    parent = next((commit for commit in ancestors if commit in measured), None)
    if parent is None:
        raise OrchwatchError(
            f"baseline compare: no benchmark run of a commit before {head[:_COMMIT_DIGITS]}"
        )
    before, after = (baselines.of_run(measured[commit]) for commit in (parent, head))
    return baselines.compare(before, after, unreadable=runs.unreadable)


def _history(arguments: argparse.Namespace, home: Path) -> int:
    from orchwatch.analysis import benchmark_runs, change_points  # noqa: PLC0415 - as above
    from orchwatch.reporters import baseline_history, json_document  # noqa: PLC0415

    runs = benchmark_runs.read(home)
    if not runs.kept:
        raise OrchwatchError("baseline history: no benchmark was run yet: orchwatch bench run")
    series = change_points.find(runs.kept, arguments.operation)
    if not series:
        raise OrchwatchError(
            f"baseline history: no benchmark run here has an operation {arguments.operation!r}"
        )
    elsewhere = len(runs.kept) - len(change_points.here(runs.kept))
    if arguments.format == "json":
        document = baseline_history.document(series, elsewhere)
        json_document.answer("baseline history", document, sys.stdout)
    else:
        baseline_history.render(series, elsewhere, runs.unreadable, sys.stdout)
    return 0


_ACTIONS: dict[str, Any] = {
    "save": _save,
    "show": _show,
    "list": _list,
    "compare": _compare,
    "history": _history,
}


def _newest(home: Path) -> tuple[Run, int]:
    from orchwatch.analysis import baselines  # noqa: PLC0415 - as above

    return baselines.newest(home)


def _recorded(arguments: argparse.Namespace, home: Path) -> Side:
    from orchwatch.analysis import recorded  # noqa: PLC0415 - as above

    with filters.opened(home) as store:
        chosen = filters.chosen(arguments, store, home)
        words = f"recorded operations {chosen.words}".rstrip()
        return recorded.side(store, chosen.selection, words)


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the baseline, e.g. main or 1.4")


def _add_recorded(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--recorded", action="store_true", help=what)
    filters.add_arguments(parser, _WEEK)
