"""What may go wrong, one class a situation. No message ever holds the API key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headgate_client.results import Run

_RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})


class HeadgateError(Exception):
    """The server refused the call, or answered something that no Headgate answers.

    `status` is HTTP's, 0 without an answer; `code` is stable and for programs; `errors` names each fault of a bad
    input as `{"pointer", "detail"}` (RFC 9457); `request_id` finds the call in the server's logs.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        errors: Sequence[Mapping[str, Any]] = (),
        request_id: str = "",
        *,
        run_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.request_id = request_id
        self.run_id = run_id
        self.retry_after = retry_after
        """Seconds that the server asked callers to wait."""

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later. A 500 about a run is a dialect's word for a run that failed."""
        return self.status in _RETRYABLE and not (self.status == 500 and self.run_id)


class ConnectionFailed(HeadgateError):
    """No whole answer came: nothing listens there, the connection broke, or it was silent for too long."""

    def __init__(self, detail: str, *, transient: bool = True) -> None:
        super().__init__(0, "connection_failed", detail)
        self._transient = transient

    @property
    def retryable(self) -> bool:
        """True unless another attempt must fail too, as with a certificate that does not fit."""
        return self._transient


class RunFailed(HeadgateError):
    """The run ended, but not as completed. `run` is None where a dialect told of the failure without the run."""

    def __init__(self, code: str, detail: str, *, run_id: str, run: Run | None = None, status: int = 200) -> None:
        super().__init__(status, code, detail, run_id=run_id)
        self.run = run

    @property
    def retryable(self) -> bool:
        """Never: the same idempotency key finds the same failed run."""
        return False


class WaitTimeout(HeadgateError):
    """The time given to wait is over; what was waited for goes on, and may be waited for again. `run_id` is
    empty where the run had not been accepted yet."""

    def __init__(self, what: str, run_id: str = "") -> None:
        super().__init__(0, "wait_timeout", f"{what} has not ended in the time given; it may go on.", run_id=run_id)


class InvalidWebhook(ValueError):
    """The request was not signed with this secret, is too old, or is no webhook: answer 400 and do nothing else."""
