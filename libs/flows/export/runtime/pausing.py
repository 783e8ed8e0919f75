"""The node `delay`."""

import time
from typing import Any

from libs.flows.export.runtime.scope import Scope
from libs.flows.pauses import pause_seconds
from libs.runtime.failures import Retryable


def pause(scope: Scope, seconds: Any) -> dict[str, Any]:
    """`{}`, after so many seconds."""
    until = time.monotonic() + pause_seconds(seconds)
    time.sleep(max(0.0, min(until, scope.deadline) - time.monotonic()))
    if scope.deadline < until:
        raise Retryable("node_timeout", "the time for this node is over")
    return {}
