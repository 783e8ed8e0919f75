"""The two servers that Headgate needs, from their wheels, as child processes on loopback.

For a laptop and for tests; a cluster runs the official images, and the services do not know the difference.
"""

from cli.servers.failure import ServerError
from cli.servers.nats import NatsServer
from cli.servers.postgres import PostgresServer

__all__ = ["NatsServer", "PostgresServer", "ServerError"]
