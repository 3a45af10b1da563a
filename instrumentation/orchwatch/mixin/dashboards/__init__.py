"""Grafana's pages, one module each, as the JSON that Grafana reads from files.

Written for Grafana 12.3; types and transformations of 13.2 agree. The library that knows Grafana's
types is an extra and is imported only when a page is written.
"""

from __future__ import annotations

import importlib
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from orchwatch.errors import OrchwatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from orchwatch.targets.target_table import Targets

DIRECTORY: Final = "grafana/dashboards"
# In the order in which they link to each other; the first is Grafana's home.
PAGES: Final = (
    "overview",
    "operations",
    "agents",
    "hooks",
    "flame",
    "session",
    "resources",
    "kpis",
    "pipeline",
)
TAG: Final = "orchwatch"
# What a variable holds where everything is chosen.
ALL: Final = "$__all"
# Around what a link shows: what stands at the very edge of a graph is not seen.
_MARGIN_MS: Final = 60_000
_NS_PER_MS: Final = 1_000_000


def text(page: str, table: Targets) -> str:
    """A page's JSON.

    Raises:
        OrchwatchError: The extra that writes dashboards is not installed.
    """
    try:
        module = importlib.import_module(f"{__name__}.{page}")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("grafana_foundation_sdk"):
            raise
        raise OrchwatchError(
            "dashboards are written with grafana-foundation-sdk: pip install 'orchwatch[grafana]'"
        ) from error
    written: str = module.page(table).text()
    return written


def uid(name: str) -> str:
    """A page's uid, which links and alerts name."""
    return f"{TAG}-{name}"


def session_address(grafana: str, session_ids: Collection[str], start_ns: int, end_ns: int) -> str:
    """Where a browser shows a session, or all of a time if there are several.

    Args:
        grafana: Grafana's address.
        session_ids: The sessions.
        start_ns: When they began, Unix nanoseconds.
        end_ns: When they ended.
    """
    (session_id,) = session_ids if len(session_ids) == 1 else (ALL,)
    query = {
        "from": start_ns // _NS_PER_MS - _MARGIN_MS,
        "to": end_ns // _NS_PER_MS + _MARGIN_MS,
        "var-session": session_id,
    }
    return f"{grafana}/d/{uid('session')}?{urlencode(query)}"


def files() -> dict[str, Callable[[Targets], str]]:
    """What writes each file."""
    return {f"{DIRECTORY}/{page}.json": partial(text, page) for page in PAGES}
