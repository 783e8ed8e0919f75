"""Logs: one JSON object a line on standard output, facts as fields, never a sentence with values in it.

Inputs, outputs, prompts, keys and bodies never get here; `_redact` is the net below that rule.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import msgspec
import structlog

from libs.runtime.lines import configure_lines

_SECRET = re.compile(r"(sk-|whsec_)[A-Za-z0-9+/=_-]{8,}|(?<=://)[^/@\s]+:[^/@\s]+(?=@)")


def configure_logs(service: str, instance: str, level: str) -> None:
    """Send structlog and the standard library's warnings to standard output as JSON lines."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact,
            structlog.processors.JSONRenderer(serializer=_encode),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service, instance=instance)
    configure_lines(service, instance, told=number <= logging.INFO)
    logging.basicConfig(handlers=[_Forward()], level=logging.WARNING, force=True)


class _Forward(logging.Handler):
    """Passes what libraries log through structlog, so that a log file holds nothing but JSON."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        structlog.get_logger().log(
            record.levelno,
            record.getMessage(),
            logger=record.name,
            **({"error": f"{type(error).__name__}: {error}"} if error else {}),
        )


def _redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = _SECRET.sub("[redacted]", value)
    return event


def _encode(event: Any, **_: Any) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)
