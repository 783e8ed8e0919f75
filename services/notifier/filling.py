"""Fills in what a deployment's email reads of a run: who gets it, and its subject. Then it lies in the delivery."""

import msgspec

from libs.events.deliveries import Delivery, ToEmail
from libs.events.log import EventLog
from libs.events.run import fold, run_of
from libs.events.subjects import RunKey
from libs.flows import Scope
from libs.flows.templates import compile_template
from libs.runtime.failures import Failure


async def filled(log: EventLog, delivery: Delivery) -> Delivery:
    """The delivery with its email's templates rendered; what cannot be rendered is left, and refused as an address."""
    target = delivery.target
    if not isinstance(target, ToEmail):
        return delivery
    state = fold([message.payload for message in await log.read(RunKey(delivery.workspace, delivery.run_id))])
    run = run_of(state)
    scope = Scope(
        outputs={node_id: node.output for node_id, node in state.nodes.items()},
        run=msgspec.to_builtins(run),
        session={},
        secrets={},
        idempotency_key=delivery.id,
        now=run.finished_at or run.created_at,
    )
    try:
        to, subject = (compile_template(text).render(scope) for text in (target.to, target.subject))
    except (Failure, ValueError):
        return delivery
    return msgspec.structs.replace(delivery, target=ToEmail(to=to.strip(), subject=" ".join(subject.split())))
