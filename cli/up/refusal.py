"""Why `headgate up` does not start."""

from cli.failures import CommandError


class StartRefusedError(CommandError):
    """Something the user can put right stands in the way; the message says what, and how."""
