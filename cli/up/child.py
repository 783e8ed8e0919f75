"""One process that comes back: it is started, watched, and started again after a while when it ends."""

import signal
import subprocess
from collections.abc import Callable

import msgspec

from cli.servers.failure import ServerError

_FIRST_DELAY_SECONDS = 0.2
_LONGEST_DELAY_SECONDS = 5.0
_STEADY_AFTER_SECONDS = 10.0


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `processes.json`."""

    service: str
    index: int
    pid: int
    url: str


def next_delay(previous_seconds: float, lived_seconds: float) -> float:
    """How long to wait before the next start: doubling, and from the beginning after a life of ten seconds."""
    if previous_seconds == 0 or lived_seconds >= _STEADY_AFTER_SECONDS:
        return _FIRST_DELAY_SECONDS
    return min(previous_seconds * 2, _LONGEST_DELAY_SECONDS)


class Child:
    """A process of the stack. Times are the caller's monotonic seconds."""

    def __init__(
        self,
        *,
        service: str,
        index: int,
        url: str,
        launch: Callable[[], subprocess.Popen[bytes]],
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.service = service
        self.index = index
        self.url = url
        self.stop_signal = stop_signal
        self.delay_seconds = 0.0
        self.due_at: float | None = None
        self._launch = launch
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    @property
    def name(self) -> str:
        """What its log file and its lines on the terminal are called."""
        return f"{self.service}-{self.index}"

    @property
    def running(self) -> Running | None:
        """Its line in `processes.json`, while it runs."""
        if self._process is None:
            return None
        return Running(service=self.service, index=self.index, pid=self._process.pid, url=self.url)

    def is_due(self, now: float) -> bool:
        """Whether it has ended and waited long enough."""
        return self.due_at is not None and self.due_at <= now

    def start(self, now: float) -> None:
        """Start the process. What the launch raises is raised on."""
        self.due_at = None
        self._started_at = now
        self._process = self._launch()

    def start_again(self, now: float) -> str | None:
        """Start the process as after a death: a launch that fails is tried later, its reason is returned."""
        try:
            self.start(now)
        except (OSError, ServerError) as error:
            self._come_back(now)
            return str(error)
        return None

    def reap(self, now: float) -> int | None:
        """The exit code if the process has just ended; it is then due to be started again."""
        if self._process is None or (code := self._process.poll()) is None:
            return None
        self._process = None
        self._come_back(now)
        return code

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if the process runs."""
        if self._process is not None:
            self._process.send_signal(number)

    def _come_back(self, now: float) -> None:
        self.delay_seconds = next_delay(self.delay_seconds, now - self._started_at)
        self.due_at = now + self.delay_seconds
