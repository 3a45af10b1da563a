"""`OTEL_CONFIG_FILE`: the OpenTelemetry SDK as a file declares it, the host's own choice.

Source: OpenTelemetry specification, declarative configuration; the file is all there is to the SDK,
and the other `OTEL_*` variables count only where it names them.
"""

from __future__ import annotations

import logging
import os

from orchwatch import semconv
from orchwatch.errors import MissingExtraError, OrchwatchError

VARIABLE = semconv.CONFIG_FILE_VARIABLE
_LOGGER = "opentelemetry.configuration.file._loader"


def path() -> str:
    """The file that the environment names; empty where it names none."""
    return os.environ.get(VARIABLE, "")


def apply(file: str) -> None:
    """Sets the global providers up as the file says.

    Raises:
        MissingExtraError: What reads such a file is not installed.
        OrchwatchError: It cannot be read, or is wrong.
    """
    try:
        from opentelemetry.configuration import configure_sdk, load_config_file  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(
            f"{VARIABLE} is set, and reading it takes pip install 'orchwatch[config]'"
        ) from error
    log = logging.getLogger(_LOGGER)
    log.addFilter(_is_no_error)  # what it logs with a traceback it raises too
    try:
        configure_sdk(load_config_file(file))
    except Exception as error:  # a parser's, a validator's, an exporter's
        said = " ".join(str(error).split()) or type(error).__name__
        raise OrchwatchError(f"{VARIABLE}: {file}: {said}") from error
    finally:
        log.removeFilter(_is_no_error)


def _is_no_error(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR
