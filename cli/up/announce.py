"""From started to ready: waits for every service, loads the example flows, tells the user where everything
is.
"""

import asyncio
import time
from collections.abc import Sequence

import aiohttp

from cli.api import Api, ApiError, UnreachableError, connected, is_ready
from cli.curl import key_in, list_flows, start_run
from cli.documents import sample_input
from cli.up.child import Child
from cli.up.examples import Example, load, read_examples, recall, remember
from cli.up.installation import AdminKey
from cli.up.plan import Plan
from cli.up.refusal import StartRefusedError
from cli.up.screen import Screen

_POLL_SECONDS = 0.05
_IMPATIENT_AFTER_SECONDS = 15.0


async def announce(plan: Plan, services: Sequence[Child], key: AdminKey, screen: Screen) -> None:
    """Print the way in as soon as every service is ready and the flows are deployed."""
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        for child in services:
            group.create_task(_ready(session, child, screen))
    first = await _deploy_examples(plan, key.value, screen) if plan.flows else None
    for line in _way_in(plan, key, first):
        screen.say(line)
    screen.say(f"Headgate is ready on {plan.address}", style="bold green")


async def _ready(session: aiohttp.ClientSession, child: Child, screen: Screen) -> None:
    impatient_at = time.monotonic() + _IMPATIENT_AFTER_SECONDS
    while True:
        ready, waits_for = await is_ready(session, child.url)
        if ready:
            screen.say(f"  {child.name:<12} is ready on {child.url}", style="dim")
            return
        if time.monotonic() > impatient_at:
            screen.say(f"  {child.name:<12} is not ready yet: {waits_for}", style="yellow")
            impatient_at = time.monotonic() + _IMPATIENT_AFTER_SECONDS
        await asyncio.sleep(_POLL_SECONDS)


async def _deploy_examples(plan: Plan, key: str, screen: Screen) -> Example | None:
    """Load what can be loaded, say what cannot; the first that was, for the line to try."""
    assert plan.flows is not None  # noqa: S101 - the caller asked
    memory = plan.data / "examples.json"
    seen, loaded = recall(memory), list[Example]()
    try:
        examples = read_examples(plan.flows, plan.address)
        async with connected(plan.address, key) as api:
            flows = {flow["slug"]: flow["id"] async for flow in api.pages("/v1/flows")}
            for example in examples:
                if await _load_one(api, example, flows, seen, screen):
                    loaded.append(example)
    except (StartRefusedError, ApiError, UnreachableError) as error:
        screen.say(f"  the flows of {plan.flows} were not loaded: {error}", style="red")
    if loaded:
        remember(memory, seen | {example.slug: example.fingerprint for example in loaded})
        screen.say(f"  flows deployed: {', '.join(example.slug for example in loaded)}", style="dim")
    return min(loaded, key=lambda example: (example.slug != "greeter", example.slug), default=None)


async def _load_one(api: Api, example: Example, flows: dict[str, str], seen: dict[str, str], screen: Screen) -> bool:
    try:
        await load(api, example, flows=flows, seen=seen)
    except ApiError as error:
        screen.say(f"  {example.file} was not loaded: {error}", style="red")
        return False
    return True


def _way_in(plan: Plan, key: AdminKey, first: Example | None) -> list[str]:
    kept = key_in(plan.data / "admin.key")
    curl = list_flows(plan.address, kept)
    if first is not None:
        curl = start_run(plan.address, first.slug, kept, sample_input(first.document))
    lines = [
        "",
        f"  Console    {plan.address}/",
        f"  API docs   {plan.address}/docs",
        f"  Admin key  {key.value}  (shown this once; kept in {plan.data / 'admin.key'})"
        if key.made
        else f"  Admin key  in {plan.data / 'admin.key'}",
        "",
        "  Try it:",
        f"  {curl}",
        "",
    ]
    if plan.egress_allow:
        lines.append(f"  Flows and webhooks may call private addresses: HEADGATE_EGRESS_ALLOW is {plan.egress_allow}.")
    lines.append("  Ctrl-C stops everything.")
    return [*lines, ""]
