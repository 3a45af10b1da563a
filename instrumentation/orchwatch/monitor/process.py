"""The monitor process: from its start to the signal that ends it."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from orchwatch.agents.claude_code.settings import registration
from orchwatch.analysis.alert_events import SERVICE_NAME
from orchwatch.analysis.status import SYSTEM_INTERVAL_S
from orchwatch.monitor import alert_receiver, exposition, heartbeat, hook_events
from orchwatch.monitor.alert_receiver import AlertReceiver
from orchwatch.monitor.alert_stream import AlertStream
from orchwatch.monitor.checkpoint import Checkpoint
from orchwatch.monitor.endpoint import HOST_VARIABLE, Endpoint
from orchwatch.monitor.figures import Figures
from orchwatch.monitor.following import Following
from orchwatch.monitor.heartbeat import Heartbeat
from orchwatch.monitor.shutdown import ShutdownFlag
from orchwatch.recording.home import home
from orchwatch.sdk import configure, sends_otlp
from orchwatch.store import unfinished

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchwatch.agents.reader import Reader

_INTERVAL_S = 0.25
# So that an event's answer does not wait for a long step of the other thread.
_SWITCH_INTERVAL_S = 0.0005
_INTERVAL_VARIABLE = "OTEL_METRIC_EXPORT_INTERVAL"
_DAY_S = 24 * 3600

_logger = logging.getLogger(__name__)


def run(roots: Sequence[str], readers: Sequence[Reader], project: Path) -> None:
    """Follows until SIGTERM or SIGINT.

    Args:
        roots: The projects folders of Claude Code.
        readers: Of other agents, whose sessions are followed too.
        project: The project whose coverage and quality are looked for.

    Raises:
        OrchwatchError: Another monitor runs, a port is taken, or the home cannot be written.
    """
    shutdown = ShutdownFlag()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, shutdown.set)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    exports = _set_interval()
    checkpoint = Checkpoint()
    with closing(Following(checkpoint, roots, readers)) as following:
        stream = AlertStream()
        figures = Figures(project, following, stream, exports=exports)
        rounds = Heartbeat()
        where = Path(home())
        endpoint = _endpoint(figures, stream, rounds)
        endpoint.start()
        try:
            configure(service_name=SERVICE_NAME)
            followed = [*roots, *(reader.title for reader in readers)]
            _logger.info("following %s; hooks post to port %d", ", ".join(followed), endpoint.port)
            while not shutdown.is_set:
                started_s = time.monotonic()
                unfinished.close(where)
                following.step(_INTERVAL_S)
                figures.measure(started_s)
                rounds.beat()
                shutdown.wait(started_s + _INTERVAL_S - time.monotonic())
        finally:
            endpoint.close()
            figures.close()
        following.step(_INTERVAL_S)
        following.save()
        following.export_tokens()
    checkpoint.close()
    _logger.info("ended; %d spans recorded", following.spans)


def _set_interval() -> bool:
    """How often the SDK hands on the gauges; whether that is left to `Figures`.

    What goes to the spool depends on who reads it, and the SDK's interval cannot be changed later.
    It still hands on what there is when the process ends.
    """
    if _INTERVAL_VARIABLE in os.environ:
        return False
    sends = sends_otlp()
    os.environ[_INTERVAL_VARIABLE] = str((SYSTEM_INTERVAL_S if sends else _DAY_S) * 1000)
    return not sends


def _endpoint(figures: Figures, stream: AlertStream, rounds: Heartbeat) -> Endpoint:
    return Endpoint(
        host=os.environ.get(HOST_VARIABLE) or registration.MONITOR_HOST,
        port=registration.monitor_port(),
        routes={
            registration.HOOK_PATH: hook_events.route(),
            alert_receiver.PATH: AlertReceiver(stream).route(),
            exposition.PATH: exposition.route(figures.exposition),
            heartbeat.PATH: rounds.route(),
        },
    )
