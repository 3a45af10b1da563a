"""Which callables are to be watched, and as which operation: from the file and the environment."""

from __future__ import annotations

import os

from orchwatch.integrations.activation import INSTRUMENT_VARIABLE
from orchwatch.targets import config


def configured() -> dict[str, str]:
    """Operation name by callable, `"package.module:Class.method"`.

    They stand under `[instrument]` in `orchwatch.toml`;
    `ORCHWATCH_INSTRUMENT="package.module:Class.method=state.query,…"` adds to them and wins.

    Raises:
        ConfigError: One of the two breaks a rule; the message names it.
    """
    callables = dict(config.load().instrument)
    entries = os.environ.get(INSTRUMENT_VARIABLE, "").split(",")
    for entry in filter(None, map(str.strip, entries)):
        target, separator, operation_name = map(str.strip, entry.rpartition("="))
        module_name, _, path = target.partition(":")
        if not (separator and module_name and path and operation_name):
            raise config.ConfigError(
                INSTRUMENT_VARIABLE, entry, 'must be spelt "package.module:Class.method=operation"'
            )
        callables[target] = operation_name
    return callables
