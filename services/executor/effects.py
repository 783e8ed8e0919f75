"""Performs what nodes ask of the outside: HTTP through egress, models, and parsing in worker threads.

Nodes are generators that ask and are answered; nothing of a node's meaning is known here, and nothing of the
network is known there.
"""

import asyncio
from typing import Any, assert_never

import msgspec

from libs.egress import Egress, Policy, Request
from libs.events.run_events import Usage
from libs.flows import AnyNode, Compute, Effect, HttpAnswer, HttpCall, ModelAnswer, ModelCall, Scope, SearchCall
from libs.runtime.failures import Failure
from services.executor.models import Models, OnDelta
from services.executor.search import Search

_HTTP_SECONDS = 60.0


class Performed(msgspec.Struct, frozen=True, kw_only=True):
    """What a node made of its answers, and what models used for it."""

    output: Any
    usage: Usage | None


class Performer:
    """Runs the steps of nodes with effects."""

    def __init__(self, egress: Egress, models: Models, search: Search) -> None:
        self._egress = egress
        self._models = models
        self._search = search

    @property
    def policy(self) -> Policy:
        """Who may be reached."""
        return self._egress.policy

    async def perform(self, node: AnyNode, scope: Scope, workspace: str, on_delta: OnDelta) -> Performed:
        """One attempt. Raises Failure; cancelled, it closes what it had open."""
        steps = node.steps(scope)
        usage: Usage | None = None
        try:
            effect = next(steps)
            while True:
                try:
                    answer = await self._answer(effect, scope.idempotency_key, workspace, on_delta)
                except Failure as failure:
                    effect = steps.throw(failure)
                    continue
                if isinstance(answer, ModelAnswer):
                    usage = (usage or Usage()) + _usage(answer)
                effect = steps.send(answer)
        except StopIteration as stop:
            return Performed(output=stop.value, usage=usage)
        finally:
            steps.close()

    async def _answer(self, effect: Effect, idempotency_key: str, workspace: str, on_delta: OnDelta) -> Any:
        match effect:
            case HttpCall():
                return await self._http(effect)
            case ModelCall():
                return await self._models.complete(effect, idempotency_key, on_delta)
            case SearchCall():
                return await self._search.answer(workspace, effect)
            case Compute():
                return await asyncio.to_thread(effect.function, *effect.args)
            case _:
                assert_never(effect)

    async def _http(self, call: HttpCall) -> HttpAnswer:
        request = Request(
            method=call.method,
            url=call.url,
            headers=call.headers,
            body=call.body,
            timeout_seconds=call.timeout_seconds or _HTTP_SECONDS,
            max_body_bytes=call.max_body_bytes,
            follow_redirects=call.follow_redirects,
        )
        answer = await self._egress.fetch(request)
        return HttpAnswer(status=answer.status, headers=answer.headers, body=answer.body, url=answer.url)


def _usage(answer: ModelAnswer) -> Usage:
    return Usage(
        input_tokens=answer.input_tokens, output_tokens=answer.output_tokens, cost_usd=round(answer.cost_usd, 10)
    )
