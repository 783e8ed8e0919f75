"""Notifiers that are killed, and everything with them: each event arrives at least once, under one id."""

from collections import deque

from tests.e2e.caller import calling, until
from tests.e2e.target import Prepared, Target
from tests.notifier.mail_server import mail_server
from tests.notifier.receiving import body, delivery, greeting, message_id, webhook
from tests.notifier.test_callbacks import deployed
from tests.stack import Stack

NOTIFIERS = 2


def kill_all(stack: Stack) -> None:
    """`kill -9` of every notifier; returns when others have taken their place."""
    killed = [(index, stack.kill("notifier", index)) for index in range(NOTIFIERS)]
    for index, pid in killed:
        stack.restarted("notifier", index, pid)


async def test_a_delivery_goes_on_after_every_notifier_was_killed_between_attempts(fragile: Stack, web: Target) -> None:
    web.answer("/between", [Prepared(status=500, headers={"Retry-After": "2"})])
    async with calling(fragile) as caller:
        deployment = await caller.deploy(greeting())
        made = await webhook(caller, web.url("/between"), "flow_completed", deployment_id=deployment)
        run = await caller.start(deployment)
        await web.received("/between")
        await delivery(caller, made["id"], "pending")
        kill_all(fragile)
        first, second = await web.received("/between", 2)
        assert (message_id(first), first.body) == (message_id(second), second.body)
        assert body(second)["run_id"] == run.run_id
        assert (await delivery(caller, made["id"], "delivered"))["attempt_count"] == 2


async def test_a_mail_goes_on_after_every_notifier_was_killed_between_attempts(fragile: Stack, mail_port: int) -> None:
    async with calling(fragile) as caller:
        with mail_server(port=mail_port) as inbox:
            refusals = inbox.to_recipient["ada@example.org"] = deque(["451 4.3.0 try again"] * 2)
            made = await deployed(caller, greeting(), email={"to": "ada@example.org", "subject": "x"})
            run = await caller.start(made["id"])

            async def is_put_off() -> bool:
                return len(refusals) < 2

            async def has_come() -> bool:
                return bool(inbox.mails)

            await until(is_put_off)
            kill_all(fragile)
            await until(has_come)
        (told,) = (await caller.call("GET", f"/v1/deliveries?run_id={run.run_id}")).body["data"]
        assert {mail.message["Message-ID"] for mail in inbox.mails} == {f"<{told['id']}@localhost>"}


async def test_an_attempt_that_died_with_its_notifier_is_made_again(fragile: Stack, web: Target) -> None:
    web.hold("/during")
    async with calling(fragile) as caller:
        deployment = await caller.deploy(greeting())
        made = await webhook(caller, web.url("/during"), "flow_completed", deployment_id=deployment)
        await caller.start(deployment)
        await web.received("/during")
        kill_all(fragile)
        web.release("/during")
        await web.received("/during", 2)
        assert len({message_id(each) for each in web.to("/during")}) == 1
        await delivery(caller, made["id"], "delivered")


async def test_everything_is_delivered_after_everything_was_killed(fragile: Stack, web: Target) -> None:
    web.hold("/all")
    async with calling(fragile) as caller:
        deployment = await caller.deploy(greeting())
        made = await webhook(caller, web.url("/all"), "flow_completed", deployment_id=deployment)
        runs = {(await caller.start(deployment, str(number))).run_id for number in range(10)}
        await web.received("/all")
    fragile.crash()
    web.release("/all")
    fragile.start()
    async with calling(fragile) as caller:
        await web.received("/all", len(runs))
        told: dict[str, set[str]] = {}

        async def all_told() -> bool:
            for each in web.to("/all"):
                told.setdefault(body(each)["run_id"], set()).add(message_id(each))
            listed = await caller.call("GET", f"/v1/webhooks/{made['id']}/deliveries?status=pending")
            return set(told) == runs and listed.body["data"] == []

        await until(all_told)
        assert all(len(ids) == 1 for ids in told.values())
