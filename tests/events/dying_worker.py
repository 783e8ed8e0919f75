"""A worker in a process of its own, that says what it was given and never finishes it.

`python -m tests.events.dying_worker <NATS URL> <subscription as JSON>`; prints a line for each delivery.
"""

import asyncio
import sys

import msgspec
import uvloop

from libs.events.broker import connect
from libs.events.pull import Delivery
from libs.events.worker import Subscription, Worker


async def main(url: str, subscribed: Subscription) -> None:
    """Work until killed."""

    async def handler(delivery: Delivery) -> None:
        print(delivery.subject, flush=True)
        await asyncio.Event().wait()

    async with connect(url, "dying", lambda: None) as broker:
        await Worker(broker, subscribed, handler, lambda: 1).run(asyncio.Event(), drain_seconds=0)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], msgspec.json.decode(sys.argv[2], type=Subscription)))
