"""Effects on a blocking socket."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time

from headgate_client.effects import Connect, Effect, Outcome, Read, Steps, T, failure_of, resume

_MOST_BYTES = 64 * 1024


class BlockingWire:
    """At most one connection. `tls` None: in plain."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._socket: socket.socket | None = None

    def perform(self, steps: Steps[T]) -> T:
        """Do what the steps ask for, and answer what they come to."""
        try:
            effect = next(steps)
            while True:
                effect = resume(steps, self._outcome(effect))
        except StopIteration as end:
            result: T = end.value
            return result

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _outcome(self, effect: Effect) -> Outcome:
        try:
            return self._do(effect)
        except OSError as error:
            return failure_of(error)

    def _do(self, effect: Effect) -> bytes:
        if isinstance(effect, Read):
            return self._read(effect)
        self.close()
        if isinstance(effect, Connect):
            self._connect(effect)
        else:
            time.sleep(effect.seconds)
        return b""

    def _connect(self, effect: Connect) -> None:
        opened = socket.create_connection((effect.host, effect.port), effect.timeout)
        self._socket = opened
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            self._socket = self._tls.wrap_socket(opened, server_hostname=effect.host)
        # A server may refuse a body before it has read it all: its answer may still be there to read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(effect.data)

    def _read(self, effect: Read) -> bytes:
        if self._socket is None:
            raise ConnectionError("there is no connection")
        self._socket.settimeout(effect.timeout)
        return self._socket.recv(_MOST_BYTES)
