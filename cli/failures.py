"""What a command ends with when it cannot do what was asked: a sentence for people, and what to do next."""


class CommandError(Exception):
    """Printed on standard error, `hint` below it; the exit code is 1. Never holds a secret."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
