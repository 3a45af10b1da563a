"""Grafana's pages, one module each, as the JSON that Grafana reads from files.

Written for Grafana 12.3. The library that knows Grafana's types is an extra and is imported only
when a page is written.
"""

from __future__ import annotations

import importlib
from functools import partial
from typing import TYPE_CHECKING, Final

from orchwatch.errors import OrchwatchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchwatch.targets import Targets

DIRECTORY: Final = "grafana/dashboards"
# In the order in which they link to each other; the first is Grafana's home.
PAGES: Final = ("overview", "operations", "agents", "session", "resources", "kpis", "pipeline")


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


def files() -> dict[str, Callable[[Targets], str]]:
    """What writes each file."""
    return {f"{DIRECTORY}/{page}.json": partial(text, page) for page in PAGES}
