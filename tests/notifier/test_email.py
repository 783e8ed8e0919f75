"""Email over real sockets: what arrives, what is tried again, and what ends."""

import asyncio
import base64
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from aiosmtpd.smtp import LoginPassword

from libs.events.deliveries import Delivery
from libs.runtime.settings import read_settings
from services.notifier.channels import Outcome
from services.notifier.channels.email import EmailChannel, open_email
from services.notifier.mail_connections import Patience
from tests.events.waiting import until_true
from tests.notifier.mail_server import PASSWORD, USER, Identity, mail_server, scripted
from tests.notifier.mails import delivery, story

QUICK = Patience(attempt=0.3)
GREETING = (b"220 ready\r\n", b"250 hello\r\n")
LOGIN = f"{quote(USER, safe='')}:{quote(PASSWORD, safe='')}@"


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Identity(tmp_path_factory.mktemp("identity"))


@asynccontextmanager
async def channel(url: str, patience: Patience | None = None, **settings: str) -> AsyncIterator[EmailChannel]:
    given = {"HEADGATE_SMTP_URL": url, "HEADGATE_EMAIL_FROM": "Headgate <no-reply@sender.test>"}
    given |= {f"HEADGATE_{name.upper()}": value for name, value in settings.items()}
    async with open_email(read_settings(given), patience) as opened:
        yield opened


async def attempt(email: EmailChannel, given: Delivery | None = None) -> Outcome:
    given = given or delivery()
    return await email.send(given, email.compose(given, story()))


async def test_a_mail_arrives_over_a_plain_connection() -> None:
    with mail_server() as inbox:
        async with channel(f"smtp://127.0.0.1:{inbox.port}") as email:
            outcome = await attempt(email, delivery("ada@example.test, grace@example.test"))
    assert outcome == Outcome(delivered=True, status=250, answer="queued as 1")
    [mail] = inbox.mails
    assert mail.sender == "no-reply@sender.test"
    assert mail.recipients == ["ada@example.test", "grace@example.test"]
    assert mail.message["From"] == "Headgate <no-reply@sender.test>"
    assert mail.message["To"] == "ada@example.test, grace@example.test"
    assert mail.message["Subject"] == "The result"
    assert not mail.encrypted


async def test_every_character_that_an_address_may_have_reaches_the_server() -> None:
    address = "a!#$%&'*+-/=^_`{|}~.b@ex-ample.test"
    with mail_server() as inbox:
        async with channel(f"smtp://127.0.0.1:{inbox.port}") as email:
            assert (await attempt(email, delivery(address))).delivered
    assert inbox.mails[0].recipients == [address]
    assert inbox.mails[0].message["To"] == address


@pytest.mark.parametrize("option", ["", "?starttls=auto", "?starttls=true"])
async def test_starttls_is_used_where_it_is_offered(identity: Identity, option: str) -> None:
    with mail_server(starttls=identity.context) as inbox:
        url = f"smtp://127.0.0.1:{inbox.port}{option}"
        async with channel(url, smtp_ca=identity.certificate) as email:
            assert (await attempt(email)).delivered
    assert inbox.mails[0].encrypted


async def test_starttls_that_is_required_is_not_done_without(identity: Identity) -> None:
    with mail_server() as inbox:
        async with channel(f"smtp://127.0.0.1:{inbox.port}?starttls=true") as email:
            outcome = await attempt(email)
    assert inbox.mails == []
    assert (outcome.delivered, outcome.final) == (False, False)
    assert outcome.error is not None
    assert "STARTTLS" in outcome.error


async def test_tls_from_the_start(identity: Identity) -> None:
    with mail_server(tls=identity.context) as inbox:
        async with channel(f"smtps://127.0.0.1:{inbox.port}", smtp_ca=identity.certificate) as email:
            assert (await attempt(email)).delivered
    assert inbox.mails[0].encrypted


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_a_certificate_that_nobody_vouches_for_is_not_believed(identity: Identity, scheme: str) -> None:
    tls, option = (identity.context, "") if scheme == "smtps" else (None, "?starttls=true")
    with mail_server(tls=tls, starttls=None if tls else identity.context) as inbox:
        async with channel(f"{scheme}://127.0.0.1:{inbox.port}{option}") as email:
            outcome = await attempt(email)
    assert inbox.mails == []
    assert outcome.error == "the certificate of the mail server was not accepted"
    assert not outcome.final


async def test_without_a_demand_for_tls_no_certificate_is_asked_for(identity: Identity) -> None:
    with mail_server(starttls=identity.context) as inbox:
        async with channel(f"smtp://127.0.0.1:{inbox.port}") as email:
            assert (await attempt(email)).delivered
    assert inbox.mails[0].encrypted


async def test_a_login_is_given(identity: Identity) -> None:
    with mail_server(tls=identity.context, login=True) as inbox:
        url = f"smtps://{LOGIN}127.0.0.1:{inbox.port}"
        async with channel(url, smtp_ca=identity.certificate) as email:
            assert (await attempt(email)).delivered
            assert (await attempt(email)).delivered
    assert inbox.mails[0].login == LoginPassword(USER.encode(), PASSWORD.encode())
    assert inbox.logins == 1, "the second mail took the connection of the first"


async def test_on_this_machine_a_login_may_go_unencrypted() -> None:
    with mail_server(login=True) as inbox:
        async with channel(f"smtp://{LOGIN}127.0.0.1:{inbox.port}") as email:
            assert (await attempt(email)).delivered
    assert inbox.mails[0].login is not None
    assert not inbox.mails[0].encrypted


async def test_a_refused_login_is_the_operators_to_mend_and_is_not_tried_at_once_again(identity: Identity) -> None:
    with mail_server(starttls=identity.context, login=True) as inbox:
        url = f"smtp://{quote(USER)}:wrong-word@127.0.0.1:{inbox.port}?starttls=true"
        async with channel(url, smtp_ca=identity.certificate) as email:
            outcome = await attempt(email)
            logins = inbox.logins
            again = await attempt(email)
    assert (outcome.delivered, outcome.final, outcome.status) == (False, False, 535)
    assert "credentials invalid" in outcome.answer
    assert again == outcome
    assert inbox.logins == logins > 0
    assert "wrong-word" not in repr(outcome)


async def test_a_login_that_a_server_repeats_is_not_passed_on() -> None:
    repeated = base64.b64encode(b"\0ada\0hush-hush")
    script = (b"220 ready\r\n", b"250-hello\r\n250 AUTH PLAIN\r\n", b"535 no: " + repeated + b" hush-hush\r\n")
    async with scripted(*script) as port, channel(f"smtp://ada:hush-hush@127.0.0.1:{port}") as email:
        outcome = await attempt(email)
    assert outcome.answer == "no: [secret] [secret]"
    assert outcome.status == 535


async def test_a_mail_that_is_put_off_is_the_same_mail_at_the_next_attempt() -> None:
    with mail_server() as inbox:
        inbox.to_mail = deque(["451 4.7.1 greylisted", "250 queued"])
        async with channel(f"smtp://127.0.0.1:{inbox.port}") as email:
            first = await attempt(email)
        inbox.to_mail.clear()
        async with channel(f"smtp://127.0.0.1:{inbox.port}") as another:
            assert (await attempt(another, delivery(attempts=1))).delivered
            assert (await attempt(another, delivery(attempts=2))).delivered
    assert (first.delivered, first.final, first.status) == (False, False, 451)
    assert first.answer == "4.7.1 greylisted"
    one, two = inbox.mails
    assert one.content == two.content
    assert one.message["Message-ID"] == "<dlv_1@sender.test>"


@pytest.mark.parametrize("where", ["sender", "recipient", "mail"])
async def test_a_refusal_for_good_ends_it_with_the_servers_words(where: str) -> None:
    with mail_server() as inbox:
        words = deque(["550 5.1.1 nobody of that name"])
        if where == "recipient":
            inbox.to_recipient["ada@example.test"] = words
        else:
            setattr(inbox, f"to_{where}", words)
        async with channel(f"smtp://127.0.0.1:{inbox.port}") as email:
            outcome = await attempt(email)
            assert (await attempt(email)).delivered, "the next mail is not hurt by it"
    assert (outcome.delivered, outcome.final, outcome.status) == (False, True, 550)
    assert outcome.answer == "5.1.1 nobody of that name"
    assert "refused" in (outcome.error or "")


async def test_a_demand_for_a_login_ends_no_mail() -> None:
    with mail_server() as inbox:
        inbox.to_sender = deque(["530 5.7.0 authenticate first"])
        async with channel(f"smtp://127.0.0.1:{inbox.port}") as email:
            outcome = await attempt(email)
    assert (outcome.final, outcome.status) == (False, 530)


async def test_who_is_refused_for_good_is_named_and_the_others_get_it() -> None:
    with mail_server() as inbox:
        inbox.to_recipient["gone@example.test"] = deque(["550 moved away"])
        async with channel(f"smtp://127.0.0.1:{inbox.port}") as email:
            outcome = await attempt(email, delivery("ada@example.test, gone@example.test"))
    assert inbox.mails[0].recipients == ["ada@example.test"]
    assert (outcome.delivered, outcome.final, outcome.status) == (False, True, 550)
    assert outcome.error == "gone@example.test was refused with 550; sent to ada@example.test"
    assert outcome.answer == "moved away"


async def test_who_is_put_off_holds_up_the_others_for_a_few_attempts_and_nobody_gets_it_twice() -> None:
    with mail_server() as inbox:
        inbox.to_recipient["full@example.test"] = deque(["452 mailbox full"] * 4)
        async with channel(f"smtp://127.0.0.1:{inbox.port}") as email:
            given = [delivery("ada@example.test, full@example.test", attempts=attempts) for attempts in range(4)]
            outcomes = [await attempt(email, each) for each in given]
    assert [outcome.final for outcome in outcomes] == [False, False, False, True]
    assert {outcome.status for outcome in outcomes} == {452}
    assert [mail.recipients for mail in inbox.mails] == [["ada@example.test"]]
    assert outcomes[3].error == "full@example.test was refused with 452; sent to ada@example.test"


async def test_one_alone_who_is_put_off_is_tried_to_the_end() -> None:
    with mail_server() as inbox:
        inbox.to_recipient["ada@example.test"] = deque(["452 mailbox full"])
        async with channel(f"smtp://127.0.0.1:{inbox.port}") as email:
            outcome = await attempt(email, delivery(attempts=8))
            assert (outcome.final, outcome.status, inbox.mails) == (False, 452, [])
            assert (await attempt(email, delivery(attempts=9))).delivered


async def test_a_server_that_dies_within_the_mail_is_tried_again() -> None:
    script = (*GREETING, b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n", None)
    async with scripted(*script) as port, channel(f"smtp://127.0.0.1:{port}") as email:
        outcome = await attempt(email)
    assert outcome == Outcome(delivered=False, error="the connection to the mail server was lost")


@pytest.mark.parametrize("said", range(6))
async def test_a_server_that_hangs_is_waited_for_a_bounded_time(said: int) -> None:
    script = (*GREETING, b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n")[:said]
    began = asyncio.get_running_loop().time()
    async with scripted(*script, b"") as port, channel(f"smtp://127.0.0.1:{port}", QUICK) as email:
        outcome = await attempt(email)
    assert outcome == Outcome(delivered=False, error="the mail server did not answer in time")
    assert asyncio.get_running_loop().time() - began < 5.0


async def test_a_server_that_is_slow_at_each_step_is_waited_for_no_longer() -> None:
    script = (*GREETING, b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n", b"250 queued\r\n")
    async with scripted(*script, each_after_seconds=0.2) as port, channel(f"smtp://127.0.0.1:{port}", QUICK) as email:
        outcome = await attempt(email)
    assert outcome == Outcome(delivered=False, error="the mail server did not answer in time")


async def test_who_waits_for_a_free_connection_waits_a_bounded_time() -> None:
    async with scripted(b"") as port, channel(f"smtp://127.0.0.1:{port}", QUICK) as email:
        outcomes = await asyncio.gather(*(attempt(email) for _ in range(30)))
    assert {outcome.error for outcome in outcomes} == {"the mail server did not answer in time"}


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n", b"\xff\xfe\r\n", b"220" + b"x" * 100_000])
async def test_a_server_that_speaks_nonsense_is_tried_again(greeting: bytes) -> None:
    async with scripted(greeting) as port, channel(f"smtp://127.0.0.1:{port}", QUICK) as email:
        outcome = await attempt(email)
    assert (outcome.delivered, outcome.final, outcome.status) == (False, False, None)


async def test_a_greeting_that_refuses_us_ends_no_mail() -> None:
    script = (b"554 5.7.1 your address is on a list\r\n",)
    async with scripted(*script) as port, channel(f"smtp://127.0.0.1:{port}") as email:
        outcome = await attempt(email)
    assert (outcome.final, outcome.status, outcome.answer) == (False, 554, "5.7.1 your address is on a list")


async def test_a_server_that_is_not_there_is_tried_again() -> None:
    with mail_server() as inbox:
        port = inbox.port
    async with channel(f"smtp://127.0.0.1:{port}") as email:
        outcome = await attempt(email)
        assert outcome == Outcome(delivered=False, error="the mail server could not be connected to")
        with mail_server(port=port) as inbox:
            assert (await attempt(email)).delivered


async def test_what_a_server_says_is_cut() -> None:
    words = "550-\x07" + "ä" * 600 + "\r\n550 the end\r\n"
    async with scripted(*GREETING, words.encode(), None) as port, channel(f"smtp://127.0.0.1:{port}") as email:
        outcome = await attempt(email)
    assert (outcome.status, outcome.answer) == (550, "ä" * 512)


async def test_mails_one_after_another_share_a_connection_and_many_at_once_a_few() -> None:
    with mail_server() as inbox:
        async with channel(f"smtp://127.0.0.1:{inbox.port}") as email:
            for _ in range(5):
                assert (await attempt(email)).delivered
            assert len(inbox.peers) == 1
            outcomes = await asyncio.gather(*(attempt(email) for _ in range(60)))
    assert all(outcome.delivered for outcome in outcomes)
    assert len(inbox.mails) == 65
    assert 1 < len(inbox.peers) <= 8


async def test_an_idle_connection_is_closed_with_a_goodbye() -> None:
    said: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        replies = {b"EHLO": b"250 hello", b"DATA": b"354 go on", b"QUIT": b"221 bye"}
        writer.write(b"220 ready\r\n")
        while line := await reader.readline():
            said.append(line[:4])
            writer.write(replies.get(line[:4], b"250 ok") + b"\r\n")
            if line[:4] == b"DATA":
                await reader.readuntil(b"\r\n.\r\n")
                writer.write(b"250 queued\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with channel(f"smtp://127.0.0.1:{port}", Patience(idle=0.05)) as email:
            assert (await attempt(email)).delivered
            await until_true(lambda: said[-1:] == [b"QUIT"])
            assert (await attempt(email)).delivered
    assert said.count(b"EHLO") == said.count(b"QUIT") == 2


async def test_a_kept_connection_that_the_server_closed_costs_no_attempt() -> None:
    with mail_server() as inbox:
        port = inbox.port
        async with channel(f"smtp://127.0.0.1:{port}") as email:
            assert (await attempt(email)).delivered
            inbox.to_sender = deque(["421 too long idle"])
            assert (await attempt(email)).delivered
    assert len(inbox.mails) == 2
    assert len(inbox.peers) == 2


async def test_without_a_mail_server_it_ends_and_says_what_to_set() -> None:
    async with open_email(read_settings({})) as email:
        outcome = await attempt(email)
    assert outcome == Outcome(delivered=False, error="no mail server is set: HEADGATE_SMTP_URL", final=True)


async def test_a_target_that_is_no_address_ends_it_before_anything_is_said() -> None:
    with mail_server() as inbox:
        async with channel(f"smtp://127.0.0.1:{inbox.port}") as email:
            outcome = await attempt(email, delivery("ada@example.test\r\nRCPT TO:<eve@example.test>"))
    assert (outcome.delivered, outcome.final, inbox.peers) == (False, True, set())
    assert outcome.error == "email: mail addresses hold no line break or other control character"


def test_the_password_may_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "smtp"
    path.write_text("smtps://ada:hush@mail.example.test\n")
    server = read_settings({"HEADGATE_SMTP_URL_FILE": str(path)}).mail_server
    assert server is not None
    assert (server.host, server.port, server.user, server.password) == ("mail.example.test", 465, "ada", "hush")
