"""Variables that a page computes and nobody chooses: what a search leaves out, what can be shown.

Tempo cannot sort by duration, and a search ends after so many traces. Prometheus knows how many
operations lasted longer than each edge of their histogram, however many there were: so the search
for the slowest begins at the edge beyond which there are as many as one search takes.

Nor can it be asked for the slowest trace. But Grafana sorts the values of an attribute, and in one
of them each trace of a session has how long it took, and its id.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from orchwatch import semconv
from orchwatch.mixin.dashboards import queries
from orchwatch.mixin.lib.promql import OPERATION, at_ends, text

# Beyond so many the search might be cut: increases are those of series that live, and spans come
# a little after their counts.
_MAX: Final = queries.TRACES // 2
SLOW: Final = "slow"
CUT: Final = "cut"
SHOWN: Final = "shown"
# As far as Prometheus looks back for a sample, so that none is missed in between.
_STEP: Final = "5m"
_LABEL: Final = "computed"
# Between a value and its text, which titles have.
_BESIDE: Final = "#"


class Computed(NamedTuple):
    """A variable.

    Attributes:
        name: As queries and titles use it.
        query: PromQL; its value is the first series' label `computed`, empty without one.
    """

    name: str
    query: str

    @property
    def pattern(self) -> str:
        """What Grafana finds the value with in the answer, and the text behind it, if any."""
        return f'/{_LABEL}="(?<value>[^"{_BESIDE}]*)(?:{_BESIDE}(?<text>[^"]*))?"/'


class Listed(NamedTuple):
    """All values of an attribute at once, the last in the order of the alphabet first.

    Attributes:
        name: As queries use it.
        attribute: The attribute.
        pattern: What Grafana finds the value with, and the text that it sorts by.
    """

    name: str
    attribute: str
    pattern: str


# Of the chosen session; ids as Tempo writes them, without zeros in front.
RANKED: Final = Listed(
    "ranked",
    semconv.TRACE_RANK,
    r"/^(?<text>\d+) (?:${session}) 0*(?<value>[0-9a-f]+)$/",
)
OPENED: Final = "opened"
# What the variable `trace` holds as long as nothing was opened.
SLOWEST: Final = "slowest"
# A search that finds nothing: a panel that asks for a trace says that there is none. With an empty
# id it would say that the data source failed.
NO_TRACE: Final = "{ false }"


def opened() -> Computed:
    """The trace that was opened, or as long as none was, the slowest of the chosen session."""
    found = _labelled("vector(1)", _LABEL, NO_TRACE)
    for label, value in (("ranked", f"${{{RANKED.name}:pipe}}"), ("asked", "$trace")):
        found = _labelled(found, label, value)
        found = f'label_replace({found}, "{_LABEL}", "$1", "{label}", "([0-9a-f]+)(?:[|].*)?")'
    return Computed(OPENED, f"max by ({_LABEL}) ({found})")


def slow(series: str, labels: str, chosen: str) -> Computed:
    """The duration in seconds beyond which all operations come back, or the longest if too many.

    Its text says so, for titles.

    Args:
        series: The histogram, without a suffix.
        labels: Selects the operations, in braces.
        chosen: What the page's variables hold that no histogram knows, one after another. Where
            one is chosen there is no bound: fewer operations have it.
    """
    every = at_ends(f"{series}_count{labels}", "$__range")
    within = at_ends(f"{series}_bucket{labels[:-1]},le!={text('+Inf')}}}", "$__range", "by (le) ")
    beyond = f"({_labelled(every, 'le', '0')} or {every} - on () group_right {within})"
    all_of_them = queries.ANY * chosen.count("$")
    free = f"and on (chosen) {_labelled('vector(1)', 'chosen', all_of_them)}" if chosen else ""
    marked = f"label_replace({beyond}, {text('chosen')}, {text(chosen)}, {text('')}, {text('')})"
    known = f"({marked} {free})" if chosen else beyond
    edge = (
        f"topk(1, {known} >= 1 <= {_MAX}) or on () bottomk(1, {known} >= 1)"
        f" or on () {_labelled('vector(0)', 'le', '0')}"
    )
    said = f'label_replace({edge}, "{_LABEL}", "$1{_BESIDE} above $1 s", "le", "(.*)")'
    # Without a bound there is nothing to say; an empty text would be the value.
    return Computed(SLOW, f'label_replace({said}, "{_LABEL}", "0{_BESIDE} ", "le", "0")')


def cut(number: str) -> Computed:
    """For a title: `: the newest 1000 of 4567` where there are more than a search takes."""
    many = f'count_values("number", round({number}) > {queries.TRACES})'
    words = f": the newest {queries.TRACES} of $1"
    return Computed(CUT, f'label_replace({many}, "{_LABEL}", "{words}", "number", "(.*)")')


def shown(variable: str, chosen: str, every: str) -> Computed:
    """The operation that a page is about: the chosen one, or if none of it ran, one that did.

    Grafana hides no panel, and at its next refresh puts another operation in place of one that it
    does not know: so a page shows what there is at once. Its text, for a heading, says what it is.

    Args:
        variable: What is chosen, as queries have it.
        chosen: The counter of that operation.
        every: The counter of all operations.
    """
    within = f"sum({chosen})[$__range:{_STEP}]"
    # What it was at the start is not within, and may be nothing yet.
    as_before = f"last_over_time({within}) == on () sum({chosen} offset $__range)"
    more = f"last_over_time({within}) unless on () ({as_before})"
    ran = f"vector(1) and on () (changes({within}) > 0 or on () ({more}))"
    other = f"topk(1, {at_ends(every, '$__range', f'by ({OPERATION}) ')} > 0)"
    itself, instead, none = (
        f"{name}{_BESIDE}{words}"
        for name, words in (
            (variable, f"{variable} over time"),
            ("$1", f"None of {variable} ran in this time range: this is $1, which did"),
            (variable, "No operation ran in this time range"),
        )
    )
    return Computed(
        SHOWN,
        f"{_labelled(ran, _LABEL, itself)} or on () "
        f'label_replace({other}, "{_LABEL}", "{instead}", "{OPERATION}", "(.*)") or on () '
        f"{_labelled('vector(1)', _LABEL, none)}",
    )


def _labelled(expr: str, label: str, value: str) -> str:
    return f"label_replace({expr}, {text(label)}, {text(value)}, {text('')}, {text('')})"
