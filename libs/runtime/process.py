"""The life of a service process: settings, logs, the event loop, signals, and an orderly end.

A service is an async context manager, `serve(settings, readiness, stopping)`: entered when it starts, left
when it stops. On SIGTERM, SIGINT or the loss of its supervisor, `stopping` is set, the process says "not
ready", and the context is left within `linger_seconds`, `drain_seconds` and a little.
"""

import asyncio
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import structlog
import uvloop

from libs.runtime.health import Readiness
from libs.runtime.lines import write_lines
from libs.runtime.logs import configure_logs
from libs.runtime.metrics import describe_process, measure_lag
from libs.runtime.settings import Settings, read_settings
from libs.runtime.tracing import tracing

Service = Callable[[Settings, Readiness, asyncio.Event], AbstractAsyncContextManager[None]]

LEAVE_SECONDS = 4.0
"""Beyond `linger_seconds` and `drain_seconds`, for closing connections; then the process ends, whatever it holds."""

_COLLECTED_AT = (20_000, 20, 50)
"""When the garbage collector looks for cycles, of which a run leaves few: at Python's (700, 10, 10) it took 5% of the
gateway's CPU under load, here about 1%."""

log = structlog.get_logger()


def run_service(name: str, serve: Service) -> None:
    """Run the service until it is told to stop; the process's exit code is 0 after an orderly end."""
    try:
        settings = read_settings({"HEADGATE_SERVICE": name, **os.environ})
    except ValueError as error:
        sys.exit(str(error))
    configure_logs(settings.service, settings.instance, settings.log_level)
    describe_process(name)
    _allow_files()
    gc.freeze()
    gc.set_threshold(*_COLLECTED_AT)
    try:
        with tracing(settings.service, settings.instance, os.environ):
            uvloop.run(_live(settings, serve))
    finally:
        write_lines()


def _allow_files() -> None:
    """As many open files as this process may have: each stream is one, and many systems begin with 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _live(settings: Settings, serve: Service) -> None:
    readiness, stopping = Readiness(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if settings.parent_fd >= 0:
        loop.add_reader(settings.parent_fd, stopping.set)
    measuring = asyncio.create_task(measure_lag())
    async with serve(settings, readiness, stopping):
        log.info("service started", port=settings.port)
        await stopping.wait()
        if settings.parent_fd >= 0:
            loop.remove_reader(settings.parent_fd)
        readiness.draining = True
        log.info("service stopping")
        loop.call_later(settings.linger_seconds + settings.drain_seconds + LEAVE_SECONDS, _give_up)
    measuring.cancel()
    log.info("service stopped")


def _give_up() -> None:
    log.error("service did not stop in time")
    os._exit(1)
