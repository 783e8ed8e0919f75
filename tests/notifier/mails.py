"""Deliveries and runs for the tests of mail."""

from datetime import UTC, datetime
from typing import Any

from libs.events.deliveries import Delivery, ToEmail
from libs.events.run import Run
from libs.events.run_events import CompletedData, Fault, RunCompleted, Usage
from services.notifier.channels import Story

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def delivery(
    to: str = "ada@example.test", subject: str = "The result", *, attempts: int = 0, event: str = "run_ended"
) -> Delivery:
    return Delivery(
        id="dlv_1",
        workspace="ws_1",
        target=ToEmail(to=to, subject=subject),
        event=event,
        created_at=AT,
        flow_id="flow_1",
        deployment_id="dep_1",
        run_id="run_1" if event == "run_ended" else "",
        attempts=attempts,
    )


def story(output: Any = "Hello, Ada!", error: Fault | None = None) -> Story:
    run = Run(
        id="run_1",
        flow_id="flow_1",
        deployment_id="dep_1",
        version=3,
        status="failed" if error else "completed",
        input={"card": "4111-secret"},
        output=output,
        error=error,
        session_id=None,
        metadata={},
        created_at=AT,
        started_at=AT,
        finished_at=AT,
        duration_seconds=0.25,
        usage=Usage(),
    )
    data = CompletedData(usage=Usage(), started_at=AT, duration_seconds=0.25, output=output)
    return Story(run=run, event=RunCompleted(seq=9, run_id="run_1", at=AT, data=data))
