"""The Python clients read HTTP/1.1 as it may be sent, and nothing else; TLS is believed when it holds."""

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.clients.speakers import KEY, AsyncioSpeaker, BlockingSpeaker, Speaker
from tests.clients.wire import Sent, Wire, answer, head, run, serving

RUN = "GET /v1/runs/run_1"
BODY = b'{"id": "run_1", "status": "completed", "output": "x"}'


@pytest.fixture(params=[BlockingSpeaker, AsyncioSpeaker], ids=["blocking", "asyncio"])
def python(request: pytest.FixtureRequest) -> Speaker:
    found: Speaker = request.param()
    return found


def chunks(*pieces: bytes) -> bytes:
    return b"".join(b"%X;extension=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


@pytest.mark.parametrize(
    "sent",
    [
        head(200, {"Content-Length": str(len(BODY))}) + BODY,
        head(200, {}) + BODY,
        head(200, {"Transfer-Encoding": "Chunked"}) + chunks(BODY[:1], BODY[1:9], BODY[9:]) + b"0\r\n\r\n",
        head(200, {"Transfer-Encoding": "chunked"}) + chunks(BODY) + b"0\r\nTrailer: 1\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + head(200, {"Content-Length": str(len(BODY))}) + BODY,
        b"HTTP/1.1 200\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY,
        b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
    ],
    ids=["length", "until the end", "chunks", "trailer", "interim", "no reason", "1.0"],
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_an_answer_is_read_however_it_is_framed_and_cut(
    python: Speaker, wire: Wire, sent: bytes, size: int
) -> None:
    wire.answer(RUN, Sent(pieces=tuple(sent[at : at + size] for at in range(0, len(sent), size))))
    told = await python.say(wire.url, "get_run", "run_1")
    assert told.result is not None, told.error
    assert told.result["output"] == "x"


@pytest.mark.parametrize(
    "sent",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        head(200, {"Transfer-Encoding": "chunked"}) + b"no size\r\n",
        head(200, {"Transfer-Encoding": "chunked"}) + chunks(BODY),
        head(200, {"Transfer-Encoding": "chunked"}) + b"100\r\n{}",
        head(200, {f"X-{number}": "x" for number in range(500)}),
        b"HTTP/1.1 200 OK\r\nContent-Le",
    ],
    ids=["ssh", "2", "no chunk", "no last chunk", "short chunk", "many headers", "half a head"],
)
async def test_what_is_no_whole_answer_is_a_failed_connection(python: Speaker, wire: Wire, sent: bytes) -> None:
    wire.answer(RUN, Sent(pieces=(sent,)))
    told = await python.say(wire.url, "get_run", "run_1", retry={"max_attempts": 1})
    assert told.error is not None
    assert told.error["name"] == "ConnectionFailed"


async def test_large_inputs_and_outputs_pass(python: Speaker, wire: Wire) -> None:
    text = "ä" * 1_500_000
    wire.answer("POST /v1/deployments/a%2Fb%20c/runs", answer(200, run(output=text)))
    told = await python.say(wire.url, "run", "a/b c", {"text": text})
    assert told.result["output"] == text
    assert wire.received[0].body["input"] == {"text": text}


async def test_a_head_without_an_end_is_not_waited_for(python: Speaker, wire: Wire) -> None:
    wire.answer(RUN, Sent(pieces=(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 20_000), held=True))
    async with asyncio.timeout(10):
        told = await python.say(wire.url, "get_run", "run_1", retry={"max_attempts": 1})
    assert told.error is not None
    assert told.error["detail"] == "the answer is not HTTP"


async def test_cancelling_a_call_hangs_up(wire: Wire) -> None:
    from headgate_client import AsyncClient

    left = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        called.set()
        try:
            await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()
            left.set()

    called = asyncio.Event()
    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        client = AsyncClient(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", KEY)
        call = asyncio.create_task(client.get_run("run_1"))
        async with asyncio.timeout(10):
            await called.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await left.wait()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A file with a key and a certificate for 127.0.0.1 that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(alternative, critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "server.pem"
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(secret + signed.public_bytes(pem))
    return path


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def _blocking(client: Callable[..., Any]) -> Any:
    return await asyncio.to_thread(client, "run_1")


async def _awaited(client: Callable[..., Any]) -> Any:
    return await client("run_1")


@pytest.mark.parametrize(("kind", "call"), [("Client", _blocking), ("AsyncClient", _awaited)])
async def test_a_certificate_that_the_context_trusts_is_believed(
    kind: str, call: Callable[..., Any], certificate: Path, server_tls: ssl.SSLContext
) -> None:
    import headgate_client

    trusting = ssl.create_default_context(cafile=str(certificate))
    async with serving(server_tls) as wire:
        wire.answer(RUN, answer(200, run()))
        client = getattr(headgate_client, kind)(wire.url, KEY, ssl_context=trusting)
        assert (await call(client.get_run)).output == "Hello"


async def test_a_certificate_that_nobody_vouches_for_is_refused_at_once(
    speaker: Speaker, server_tls: ssl.SSLContext
) -> None:
    async with serving(server_tls) as wire:
        async with asyncio.timeout(5):
            told = await speaker.say(wire.url, "get_run", "run_1", retry={"base_seconds": 15.0, "cap_seconds": 15.0})
        assert told.error is not None
        assert told.error["name"] == "ConnectionFailed"
        assert wire.received == []
