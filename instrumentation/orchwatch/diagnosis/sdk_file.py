"""Whether the file that `OTEL_CONFIG_FILE` names can set the OpenTelemetry SDK up."""

from __future__ import annotations

import os
from importlib import metadata
from typing import TYPE_CHECKING, Final

from orchwatch import semconv
from orchwatch.diagnosis import trial
from orchwatch.diagnosis.check import Check

if TYPE_CHECKING:
    from collections.abc import Iterator

# In another process, as nothing here imports the SDK; it ends before anything is sent.
_APPLY: Final = """
import errno, logging, os, sys
logging.disable()  # what it logs it raises too
from orchwatch.errors import OrchwatchError
from orchwatch.sdk import config_file
said = ""
try:
    config_file.apply(sys.argv[1])
except OrchwatchError as error:
    # A port that is taken may well be taken by the program that the file is for.
    if getattr(error.__context__, "errno", None) != errno.EADDRINUSE:
        said = str(error).removeprefix(f"{config_file.VARIABLE}: {sys.argv[1]}: ")
sys.stderr.write(said)
sys.stderr.flush()
os._exit(bool(said))
"""
_PACKAGE: Final = "opentelemetry-configuration"
_MAX_ERROR_CHARACTERS: Final = 300


def check_sdk_file() -> Iterator[Check]:
    """Nothing where the environment names none."""
    variable = semconv.CONFIG_FILE_VARIABLE
    file = os.environ.get(variable)
    if not file:
        return
    name = "opentelemetry"
    export = os.environ.get("ORCHWATCH_EXPORT")
    if export:
        yield Check(
            name=name,
            state="ok",
            found=f"{variable} names {file}; not used, as ORCHWATCH_EXPORT says {export}",
        )
        return
    try:
        metadata.version(_PACKAGE)
    except metadata.PackageNotFoundError:
        yield Check(
            name=name,
            state="fail",
            found=f"{variable} names {file}, and what reads it is not installed: configure() fails",
            remedy="pip install 'orchwatch[config]', or unset the variable",
        )
        return
    error = trial.error(_APPLY, file)[:_MAX_ERROR_CHARACTERS]
    if error:
        yield Check(
            name=name,
            state="fail",
            found=f"{variable} names {file}, which configure() cannot use: {error}",
            remedy="correct the file, or unset the variable",
        )
        return
    yield Check(
        name=name,
        state="ok",
        found=f"{variable} names {file}: configure() sets the SDK up by it alone;"
        " processes without configure() append to the spool as ever",
    )
