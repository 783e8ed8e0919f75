"""The command line runs on asyncio's own loop: uvloop keeps SIGCHLD, which tells the supervisor of a death."""

import asyncio
from collections.abc import Callable, Mapping


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loop of the tests in this directory."""
    return {"asyncio": asyncio.new_event_loop}
