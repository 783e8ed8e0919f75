"""The HTTP library's many exceptions, told as the two words for failure.

Messages name the host and a reason. The library's own texts are not passed on: they repeat whole URLs.
"""

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from libs.egress.policy import EgressRefused
from libs.runtime.failures import Failure, Retryable, Terminal


def failure_of(error: Exception, host: str) -> Failure:
    """The failure that `error`, raised while talking to `host`, stands for."""
    match error:
        case TimeoutError():
            return timed_out(host)
        case aiohttp.ClientConnectorDNSError():
            return _retryable(f"{host} could not be resolved", error.os_error)
        case aiohttp.ClientConnectorCertificateError():
            return Retryable("node_failed", f"the certificate of {host} was not accepted")
        case aiohttp.ClientConnectorSSLError():
            return Retryable("node_failed", f"{host} did not complete the TLS handshake")
        case aiohttp.ClientConnectorError(os_error=PermissionError()):
            return EgressRefused(f"a connection to {host} is not permitted")
        case aiohttp.ClientConnectorError():
            return _retryable(f"{host} could not be connected to", error.os_error)
        case aiohttp.ClientResponseError() if _is_oversize(error.__cause__):
            return headers_too_large(host)
        case aiohttp.ClientResponseError():
            return Retryable("node_failed", f"{host} did not answer in valid HTTP")
        case aiohttp.ClientPayloadError():
            return Retryable("node_failed", f"the answer of {host} broke off")
        case aiohttp.InvalidURL():
            return EgressRefused(f"the URL of {host} is not well formed")
        case _:
            return Retryable("node_failed", f"the connection to {host} was lost")


def timed_out(host: str) -> Retryable:
    """`host` did not answer, or not in full, within the time of the request."""
    return Retryable("node_timeout", f"{host} did not answer in time")


def headers_too_large(host: str) -> Terminal:
    """The headers of an answer pass the bound."""
    return Terminal("node_failed", f"the headers of the answer of {host} are too large")


def body_too_large(host: str, max_body_bytes: int) -> Terminal:
    """The body of an answer passes the bound, compressed or not."""
    return Terminal("node_failed", f"the answer of {host} is larger than {max_body_bytes} bytes")


def _retryable(what: str, error: OSError) -> Retryable:
    return Retryable("node_failed", f"{what}: {error.strerror}" if error.strerror else what)


def _is_oversize(error: BaseException | None) -> bool:
    """Whether the parser gave up over size: it has a class for long lines, only a text for too many."""
    while isinstance(error, HttpProcessingError):
        if isinstance(error, LineTooLong) or "Too many headers" in error.message:
            return True
        error = error.__cause__
    return False
