"""SIGTERM to every process of every service, one after the other, each when the one before is back.

Callers may be told to come back (503), find nobody listening, or be cut off before anything was read of what they
ask; a call whose run is on the log is answered.
"""

import signal

from chaos.fault import Fault
from chaos.stage import Stage

_SERVICES = ("gateway", "auth", "executor", "notifier")


async def strike(stage: Stage, nth: int) -> None:
    processes = [each for each in stage.stack.processes() if each["service"] in _SERVICES]
    processes.sort(key=lambda each: (_SERVICES.index(each["service"]), each["index"]))
    each = processes[nth % len(processes)]
    stage.strike()
    await stage.back(each["service"], each["index"], stage.stack.kill(each["service"], each["index"], signal.SIGTERM))


FAULT = Fault(
    name="rolling-restart",
    says="a rolling restart of every service",
    times=90,
    runs=2000,
    strike=strike,
    counts={"auths": 2, "notifiers": 2},
    orderly=True,
)
