"""The resource attributes of this process, the same in the spool and over OTLP."""

from __future__ import annotations

import os

from orchwatch import semconv
from orchwatch.recording.context import unescape
from orchwatch.recording.otlp_json import clean_attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orchwatch.recording.otlp_json import AttributeValue

DEFAULT_SERVICE_NAME = "orchestration"


def resource_attributes(service_name: str | None = None) -> dict[str, AttributeValue]:
    """The attributes, from the environment unless a name is given.

    `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` are honoured; `ORCHWATCH_SERVICE_NAME` is
    for hooks, which some hosts start without any `OTEL_*` variable.
    """
    environ = os.environ
    attributes: dict[str, AttributeValue] = {semconv.SERVICE_NAME: DEFAULT_SERVICE_NAME}
    for pair in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        key, separator, value = pair.partition("=")
        if separator and key.strip():
            attributes[key.strip()] = unescape(value.strip())
    name = (
        service_name
        or environ.get("ORCHWATCH_SERVICE_NAME")
        or environ.get("OTEL_SERVICE_NAME")
        or None
    )
    if name:
        attributes[semconv.SERVICE_NAME] = name
    attributes[semconv.PROCESS_PID] = os.getpid()
    attributes[semconv.HOST_NAME] = os.uname().nodename
    return clean_attributes(attributes)
