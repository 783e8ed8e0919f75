"""One `headgate up` from beginning to end: this is where everything is put together."""

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from functools import partial

from cli.ports import is_free
from cli.up.child import Child
from cli.up.frozen import thaw
from cli.up.installation import AdminKey, held, keep_admin_key, keep_master_key
from cli.up.plan import Plan
from cli.up.refusal import StartRefusedError
from cli.up.screen import Screen
from cli.up.stack import children_of, log_of
from cli.up.supervisor import SERVERS, Supervisor
from cli.up.tail import LogTail

_TAIL_SECONDS = 0.1
_PORT_GRACE_SECONDS = 3.0
"""How long a gateway's port may still be in use: after a crash, the old gateway takes a moment to go."""


def run_stack(plan: Plan, environment: Mapping[str, str], screen: Screen) -> None:
    """Run the stack until SIGINT or SIGTERM, and return when no process of it is left.

    Raises `StartRefusedError` or `ServerError` when it cannot be started.
    """
    with held(plan.data):
        keep_master_key(plan.data)
        key = keep_admin_key(plan.data, environment.get("HEADGATE_ADMIN_KEY", ""))
        asyncio.run(_live(plan, environment, key, screen))


async def _live(plan: Plan, environment: Mapping[str, str], key: AdminKey, screen: Screen) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    await _free_ports(plan)
    children = await children_of(plan, environment, key)
    supervisor = Supervisor(children, register=plan.data / "processes.json", tell=partial(screen.say, style="yellow"))
    loop.add_signal_handler(signal.SIGCHLD, supervisor.wake)
    tails = {child.name: LogTail(log_of(plan, child.name)) for child in children}
    screen.say(f"Starting {', '.join(child.name for child in children)} on {plan.data}")
    try:
        supervisor.start()
        async with asyncio.TaskGroup() as group:
            work = [group.create_task(supervisor.tend()), group.create_task(_show_logs(tails, screen))]
            services = [child for child in children if child.service not in SERVERS]
            work.append(group.create_task(_announce(plan, services, key, screen)))
            work += [
                group.create_task(thaw(child, plan.data, partial(screen.say, style="yellow")))
                for child in children
                if child.service == "nats"
            ]
            await stopping.wait()
            for task in work:
                task.cancel()
    finally:
        screen.say("Stopping; once more to hurry")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, supervisor.hurry)
        async with asyncio.TaskGroup() as group:
            showing = group.create_task(_show_logs(tails, screen))
            await supervisor.stop()
            showing.cancel()
        _show_new(tails, screen)
        screen.say("Headgate has stopped")


async def _announce(plan: Plan, services: Sequence[Child], key: AdminKey, screen: Screen) -> None:
    # Imported when everything is being started: the HTTP client takes longer to import than the servers to start.
    from cli.up.announce import announce

    await announce(plan, services, key, screen)


async def _free_ports(plan: Plan) -> None:
    deadline = time.monotonic() + _PORT_GRACE_SECONDS
    for port in range(plan.port, plan.port + plan.gateways):
        while not is_free(port, plan.host):
            if time.monotonic() > deadline:
                raise StartRefusedError(
                    f"port {port} is in use by another program: stop that, or set HEADGATE_PORT to another port"
                )
            await asyncio.sleep(0.1)


def _show_new(tails: Mapping[str, LogTail], screen: Screen) -> None:
    for source, tail in tails.items():
        screen.show_new(source, tail.lines(), tail.path)


async def _show_logs(tails: Mapping[str, LogTail], screen: Screen) -> None:
    while True:
        _show_new(tails, screen)
        await asyncio.sleep(_TAIL_SECONDS)
