"""Mail over the whole stack: a run's result, as its flow or its deployment wants it, and what operators hear."""

from collections import deque
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.caller import Caller, until
from tests.e2e.flows import chain, output, template
from tests.e2e.target import Prepared, Target
from tests.notifier.conftest import SCHEDULE
from tests.notifier.mail_server import Inbox, Received, mail_server
from tests.notifier.receiving import delivery, greeting, webhook
from tests.notifier.test_callbacks import deployed

OPERATOR = "operator@headgate.test"


@pytest.fixture
def inbox(mail_port: int) -> Iterator[Inbox]:
    with mail_server(port=mail_port) as found:
        yield found


async def arrived(inbox: Inbox, wanted: Callable[[Received], bool]) -> Received:
    """The first mail that is wanted, once it has come."""

    async def has_come() -> bool:
        return any(map(wanted, inbox.mails))

    await until(has_come)
    return next(filter(wanted, inbox.mails))


async def test_e14_an_output_sends_its_run_s_result_by_email(caller: Caller, inbox: Inbox) -> None:
    mail = {"to": "{{ in.text }}@example.org, team@example.org", "subject": "For {{ in.text }}: {{ hi.text }}"}
    ends = {"id": "out", "type": "api_output", "config": {"value": "{{ hi.text }}", "email": mail}}
    made = await deployed(caller, chain(template("hi", "Hello, {{ in.text }}!"), ends))
    run = await caller.start(made["id"], "ada")
    received = await arrived(inbox, lambda mail: "ada@example.org" in mail.recipients)
    assert received.recipients == ["ada@example.org", "team@example.org"]
    assert received.message["Subject"] == "For ada: Hello, ada!"
    assert received.message["From"] == "Headgate <runs@headgate.test>"
    assert received.message["Headgate-Run-Id"] == run.run_id
    plain, html = (received.message.get_body([kind]) for kind in ("plain", "html"))
    assert plain is not None
    assert html is not None
    assert "Hello, ada!" in plain.get_content()
    assert "Hello, ada!" in html.get_content()


async def test_a_deployment_sends_every_run_s_result_with_what_it_reads_of_the_run(
    caller: Caller, inbox: Inbox
) -> None:
    made = await deployed(
        caller, greeting(), email={"to": "{{ in.text }}@example.org", "subject": "{{ run.status }}: {{ hi.text }}"}
    )
    await caller.start(made["id"], "grace")
    received = await arrived(inbox, lambda mail: mail.recipients == ["grace@example.org"])
    assert received.message["Subject"] == "completed: Hello, grace!"
    await caller.call("PATCH", f"/v1/deployments/{made['id']}", {"email": None})
    run = await caller.start(made["id"], "nobody")
    listed = await caller.call("GET", f"/v1/deliveries?run_id={run.run_id}")
    assert listed.body["data"] == []


async def test_what_a_run_put_into_an_address_is_never_read_as_a_template(caller: Caller, inbox: Inbox) -> None:
    ends = output("x")
    ends["config"]["email"] = {"to": "eve@example.org", "subject": "{{ in.text }}"}
    made = await deployed(caller, chain(template("hi", "y"), ends))
    await caller.start(made["id"], "{{ hi.text }}")
    received = await arrived(inbox, lambda mail: mail.recipients == ["eve@example.org"])
    assert received.message["Subject"] == "{{ hi.text }}"


async def test_a_mail_that_is_put_off_is_sent_again_and_one_that_is_refused_ends_with_the_server_s_words(
    caller: Caller, inbox: Inbox
) -> None:
    made = await deployed(caller, greeting(), email={"to": "{{ in.text }}@example.org", "subject": "x"})
    inbox.to_recipient["full@example.org"] = deque(["450 4.2.2 The mailbox is full"])
    run = await caller.start(made["id"], "full")
    await arrived(inbox, lambda mail: mail.recipients == ["full@example.org"])
    assert await attempts(caller, run.run_id, "delivered") == [450, 250]
    inbox.to_recipient["gone@example.org"] = deque(["550 5.1.1 Nobody by that name here"])
    run = await caller.start(made["id"], "gone")
    assert await attempts(caller, run.run_id, "failed") == [550]
    listed = (await caller.call("GET", f"/v1/deliveries?run_id={run.run_id}")).body["data"]
    shown = (await caller.call("GET", f"/v1/deliveries/{listed[0]['id']}")).body
    assert "Nobody by that name here" in shown["attempts"][0]["answer"]


async def test_operators_hear_of_webhooks_that_are_out_and_of_what_was_given_up(
    caller: Caller, web: Target, inbox: Inbox
) -> None:
    made = await deployed(caller, greeting())
    web.answer("/gone", [Prepared(status=410)])
    web.answer("/down", [Prepared(status=500)] * len(SCHEDULE))
    gone = await webhook(caller, web.url("/gone"), "flow_completed", deployment_id=made["id"])
    down = await webhook(caller, web.url("/down"), "flow_completed", deployment_id=made["id"])
    await caller.start(made["id"])
    await delivery(caller, down["id"], "failed")
    for each, what in ((gone, "was disabled"), (down, "got no flow_completed")):
        alert = await arrived(inbox, lambda mail, each=each, what=what: subject(mail).find(f"{each['id']} {what}") > 0)
        assert alert.recipients == [OPERATOR]


def subject(mail: Received) -> str:
    """The subject on one line."""
    return " ".join(str(mail.message["Subject"]).split())


async def attempts(caller: Caller, run_id: str, status: str) -> list[int]:
    """The receiver's statuses of the run's only delivery, oldest first, once it stands so."""
    found: list[int] = []

    async def stands() -> bool:
        listed = (await caller.call("GET", f"/v1/deliveries?run_id={run_id}")).body["data"]
        if [each["status"] for each in listed] != [status]:
            return False
        shown = (await caller.call("GET", f"/v1/deliveries/{listed[0]['id']}")).body
        found[:] = [each["status"] for each in reversed(shown["attempts"])]
        return True

    await until(stands)
    return found
