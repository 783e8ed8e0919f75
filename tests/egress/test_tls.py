"""TLS: who is believed, and that nothing steps down from it."""

import asyncio
import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from libs.egress import Egress, EgressRefused, Policy
from libs.runtime.failures import Retryable
from tests.egress.conftest import Serve, answering, http, request_to


def _certify(path: Path, valid_days: int = 1) -> Path:
    """A file with a key and a certificate for 127.0.0.1 that vouches for itself, valid since two days ago."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=valid_days))
        .add_extension(alternative, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(secret + signed.public_bytes(pem))
    return path


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return _certify(tmp_path / "server.pem")


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


async def test_an_unknown_certificate_is_not_believed(egress: Egress, serve: Serve, server_tls: ssl.SSLContext) -> None:
    base = await serve(answering(http(b"secret")), ssl=server_tls)
    with pytest.raises(Retryable, match=r"the certificate of 127\.0\.0\.1 was not accepted") as failed:
        await egress.fetch(request_to(base))
    assert failed.value.code == "node_failed"


async def test_a_certificate_whose_time_is_over_is_not_believed(serve: Serve, tmp_path: Path) -> None:
    certificate = _certify(tmp_path / "expired.pem", valid_days=-1)
    expired = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    expired.load_cert_chain(certificate)
    base = await serve(answering(http(b"secret")), ssl=expired)
    async with Egress(Policy.parse("127.0.0.1"), tls=ssl.create_default_context(cafile=str(certificate))) as client:
        with pytest.raises(Retryable, match=r"the certificate of 127\.0\.0\.1 was not accepted"):
            await client.fetch(request_to(base))


async def test_a_peer_that_never_finishes_the_handshake_has_a_time(egress: Egress, serve: Serve) -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            pass

    base = await serve(silent)
    with pytest.raises(Retryable) as failed:
        await asyncio.wait_for(egress.fetch(request_to(base.replace("http:", "https:"), timeout_seconds=0.3)), 5)
    assert failed.value.code == "node_timeout"


async def test_a_peer_without_tls_is_not_spoken_to(egress: Egress, serve: Serve) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(http(b"plain"))
        await writer.drain()

    base = await serve(plain)
    with pytest.raises(Retryable, match="TLS handshake") as failed:
        await egress.fetch(request_to(base.replace("http:", "https:")))
    assert failed.value.code == "node_failed"


async def test_an_operators_authority_is_believed(
    serve: Serve, server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    base = await serve(answering(http(b"secret")), ssl=server_tls)
    async with Egress(Policy.parse("127.0.0.1"), tls=trusting) as client:
        assert (await client.fetch(request_to(base))).body == b"secret"
        with pytest.raises(Retryable, match="certificate of localhost"):
            await client.fetch(request_to(base.replace("127.0.0.1", "localhost")))


async def test_a_redirect_from_https_to_http_is_refused(
    serve: Serve, server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    plain = await serve(answering(http(b"plain")))
    base = await serve(answering(http(b"", f"Location: {plain}", status="308 Moved")), ssl=server_tls)
    async with Egress(Policy.parse("127.0.0.1"), tls=trusting) as client:
        with pytest.raises(EgressRefused, match="from https to http"):
            await client.fetch(request_to(base))
