"""Why an embedded server does not run."""

from pathlib import Path

from cli.failures import CommandError

_TAIL_BYTES = 4000


class ServerError(CommandError):
    """An embedded server is not ready; the message ends with the last lines of its log, where there is one."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        tail = _tail(log) if log else ""
        super().__init__(f"{message}\n{tail}" if tail else message)


def _tail(log: Path) -> str:
    try:
        text = log.read_bytes()[-_TAIL_BYTES:].decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(f"  {line}" for line in text.splitlines()[-8:])
