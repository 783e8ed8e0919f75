"""Four durable steps with Restate's Python SDK, as its documentation has it."""

from typing import Any

import restate

service = restate.Service("FourNodes")


@service.handler()
async def run(ctx: restate.Context, body: dict[str, Any]) -> dict[str, Any]:
    given = await ctx.run_typed("in", lambda: {"name": str(body["name"]), "prices": list(body["prices"])})
    text = await ctx.run_typed("greeting", lambda: f"Hello, {given['name']}!")
    total = await ctx.run_typed("total", lambda: {"text": text, "total": sum(given["prices"])})
    return await ctx.run_typed("out", lambda: {"status": "completed", "output": total})


app = restate.app([service])
