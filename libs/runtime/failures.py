"""The two words for failure: what may be tried again and what may not.

Handlers and nodes raise these; runners decide what follows. Anything else that is raised is a defect
of ours and counts as `Retryable` until its attempts are used up.
"""


class Failure(Exception):
    """A failure that the code foresaw: a stable `code` for programs, a `message` for people.

    The message is shown to API callers and stored in the log: it never holds a secret, a key or a stack trace.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Terminal(Failure):
    """Trying again cannot help."""


class Retryable(Failure):
    """Trying again may help, after `after` seconds if the other side said so."""

    def __init__(self, code: str, message: str, after: float | None = None) -> None:
        super().__init__(code, message)
        self.after = after
