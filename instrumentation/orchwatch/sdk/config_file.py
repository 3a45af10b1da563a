"""`OTEL_CONFIG_FILE`: the OpenTelemetry SDK as a file declares it, the host's own choice.

Source: OpenTelemetry specification, declarative configuration; the file is all there is to the SDK,
and the other `OTEL_*` variables count only where it names them.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.errors import MissingExtraError, OrchwatchError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

VARIABLE = semconv.CONFIG_FILE_VARIABLE
_LOGGER = "opentelemetry.configuration.file._loader"
# Made of keys of the file alone; propagators are named by values too.
_NO_PLUGIN = re.compile(r"Plugin '[^']*' not found in group 'opentelemetry_(?!propagator)\w+'")


def path() -> str:
    """The file that the environment names; empty where it names none."""
    return os.environ.get(VARIABLE, "")


def apply(file: str) -> None:
    """Sets the global providers up as the file says.

    Raises:
        MissingExtraError: What reads such a file is not installed.
        OrchwatchError: It cannot be read, or is wrong. What is wrong is said without any value of
            the file: keys and passwords are among them.
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
    except Exception as error:  # noqa: BLE001 - a parser's, a validator's, an exporter's
        said = " ".join(_said(error).split()) if Path(file).is_file() else "no such file"
        # Not from the error: a traceback would show its text.
        raise OrchwatchError(f"{VARIABLE}: {file}: {said}") from None
    finally:
        log.removeFilter(_is_no_error)


def _said(error: Exception) -> str:
    """What is wrong, without a value of the file."""
    for one in _causes(error):
        if hasattr(one, "validator_value"):  # jsonschema's, which comes with what reads the file
            path = " -> ".join(map(str, one.absolute_path)) or "the top"
            return f"at {path}: {_rule(one)}"
        mark = getattr(one, "problem_mark", None)  # YAML's
        line = mark.line + 1 if mark else getattr(one, "lineno", None)  # JSON's
        if line:
            return f"{type(one).__name__} in line {line}"
    if isinstance(error, ImportError):  # what is to be installed
        return str(error)
    plugin = _NO_PLUGIN.match(str(error))
    if plugin:
        return plugin[0]
    *_, first = _causes(error)
    return type(first).__name__


def _causes(error: BaseException | None) -> Iterator[Any]:
    while error is not None:
        yield error
        error = error.__cause__


def _rule(error: Any) -> str:
    value = error.validator_value
    if error.validator == "type":
        return f"must be of type {value if isinstance(value, str) else ' or '.join(value)}"
    if error.validator == "required":
        return f"lacks {', '.join(one for one in value if one not in error.instance)}"
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        return f"does not know {', '.join(str(one) for one in error.instance if one not in known)}"
    if error.validator == "enum":
        return f"must be one of {', '.join(map(str, value))}"
    simple = f" ({value})" if isinstance(value, int | float | str) else ""
    return f"breaks the schema's rule {error.validator}{simple}"


def _is_no_error(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR
