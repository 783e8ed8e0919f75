"""Runs flows on a Headgate server. `Client` blocks, `AsyncClient` is for asyncio; both do the same on the wire.

Needs nothing but Python >= 3.9.
"""

from headgate_client.async_client import AsyncClient
from headgate_client.client import Client
from headgate_client.errors import ConnectionFailed, HeadgateError, InvalidWebhook, RunFailed, WaitTimeout
from headgate_client.results import Batch, Event, FlowResult, Run, RunError, Usage
from headgate_client.retries import RetryPolicy
from headgate_client.webhooks import verify_webhook

LangflowClient = Client

__all__ = [
    "AsyncClient",
    "Batch",
    "Client",
    "ConnectionFailed",
    "Event",
    "FlowResult",
    "HeadgateError",
    "InvalidWebhook",
    "LangflowClient",
    "RetryPolicy",
    "Run",
    "RunError",
    "RunFailed",
    "Usage",
    "WaitTimeout",
    "verify_webhook",
]
