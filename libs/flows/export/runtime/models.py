"""Language models behind the OpenAI chat-completions protocol, as many servers besides OpenAI's speak it."""

import os
import time
from dataclasses import dataclass
from typing import Any

from libs.flows.export.runtime.calls import Answer, Request, fetch
from libs.flows.export.runtime.scope import Scope
from libs.flows.export.runtime.values import read, read_json, to_json
from libs.flows.urls import checked_url
from libs.runtime.failures import Retryable, Terminal

_MODEL_SECONDS = 600.0
_MAX_ANSWER_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Provider:
    """Where a provider's address (ends in `/v1`) and key are read: names of environment variables."""

    name: str
    base_url: str
    api_key: str
    default_url: str = ""


def ask_model(
    scope: Scope,
    provider: Provider,
    model: str,
    system: str,
    prompt: str,
    *,
    temperature: float | None = None,
    max_tokens: int | None = None,
) -> dict[str, Any]:
    """`{"text", "reasoning", "model", "usage", "cost_usd"}`, the cost 0. There is no session, so no history."""
    said = [{"role": "system", "content": system}] if system else []
    body = {
        "model": model,
        "messages": [*said, {"role": "user", "content": prompt}],
        "temperature": temperature,
        "max_tokens": max_tokens,
    }
    answer = fetch(
        _completion(scope, provider, {name: value for name, value in body.items() if value is not None}),
        deadline=min(scope.deadline, time.monotonic() + _MODEL_SECONDS),
        max_body_bytes=_MAX_ANSWER_BYTES,
    )
    completion = _completed(answer, provider)
    message = read(completion, "choices", 0, "message")
    return {
        "text": read(message, "content") or "",
        "reasoning": read(message, "reasoning_content") or None,
        "model": f"{provider.name}/{completion.get('model') or model}",
        "usage": {
            "input_tokens": read(completion, "usage", "prompt_tokens") or 0,
            "output_tokens": read(completion, "usage", "completion_tokens") or 0,
        },
        "cost_usd": 0.0,
    }


def _completion(scope: Scope, provider: Provider, body: dict[str, Any]) -> Request:
    base_url = os.environ.get(provider.base_url) or provider.default_url
    if not base_url:
        raise Terminal("node_failed", f"no provider `{provider.name}` is configured: set {provider.base_url}")
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Idempotency-Key": scope.idempotency_key,
    }
    if key := os.environ.get(provider.api_key):
        headers["Authorization"] = f"Bearer {key}"
    url = checked_url(base_url.rstrip("/") + "/chat/completions")
    return Request(method="POST", url=url, headers=headers, body=to_json(body).encode())


def _completed(answer: Answer, provider: Provider) -> dict[str, Any]:
    """The body of a completion. `Retryable` where the provider may answer later, else `Terminal`."""
    who = f"the model provider `{provider.name}`"
    try:
        body = read_json(answer.body.decode())
    except (ValueError, RecursionError):
        body = None
    error = read(body, "error")
    said = str(error if isinstance(error, str) else read(error, "message") or "")[:300]
    if answer.status != 200:
        message = f"{who} answered {answer.status}" + (f": {said}" if said else "")
        if answer.status < 500 and answer.status not in (408, 409, 425, 429):
            raise Terminal("node_failed", message)
        after = answer.headers.get("retry-after", "")
        raise Retryable("node_failed", message, float(after) if after.isdigit() else None)
    if not isinstance(body, dict):
        raise Retryable("node_failed", f"{who} answered with invalid JSON")
    if error is not None:
        raise Retryable("node_failed", f"{who} failed: {said}")
    if not isinstance(read(body, "choices", 0, "message"), dict):
        raise Retryable("node_failed", f"{who} answered without a choice")
    return body
