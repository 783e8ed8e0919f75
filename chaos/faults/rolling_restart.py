"""SIGTERM to every process of every service, one after the other, each when the one before is back.

Callers may be told to come back (503), or find nobody listening; a call that was taken is answered.
"""

import signal

from chaos.fault import Fault
from chaos.stage import Stage

_SERVICES = ("gateway", "auth", "executor", "notifier")
_HARMLESS = ("ClientConnectorError", "503 unavailable", "429 concurrency_limit", "stream: ClientConnectorError")


async def strike(stage: Stage, nth: int) -> None:
    processes = [each for each in stage.stack.processes() if each["service"] in _SERVICES]
    processes.sort(key=lambda each: (_SERVICES.index(each["service"]), each["index"]))
    each = processes[nth % len(processes)]
    stage.strike()
    await stage.back(each["service"], each["index"], stage.stack.kill(each["service"], each["index"], signal.SIGTERM))
    for client in (stage.free.client, stage.limited.client):
        for reason in client.retries.keys() - set(_HARMLESS):
            stage.wrong.append(f"{client.retries.pop(reason)} calls broke: {reason}")


FAULT = Fault(
    name="rolling-restart",
    says="a rolling restart of every service",
    times=90,
    runs=2000,
    strike=strike,
    counts={"auths": 2, "notifiers": 2},
)
