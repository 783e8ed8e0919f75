"""What cert-manager would make of the overlay's Certificate: an authority, and the servers' certificate it signed."""

import datetime
from collections.abc import Sequence
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = datetime.timedelta(days=1)
_USAGES = {"server auth": ExtendedKeyUsageOID.SERVER_AUTH, "client auth": ExtendedKeyUsageOID.CLIENT_AUTH}


def tls_secret(names: Sequence[str], addresses: Sequence[str], usages: Sequence[str]) -> dict[str, bytes]:
    """A Secret's `tls.crt`, `tls.key` and `ca.crt`. `addresses` too, for here names are addresses."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _builder("headgate", "headgate", authority_key).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    signed_authority = authority.sign(authority_key, hashes.SHA256())
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives = [*map(x509.DNSName, names), *(x509.IPAddress(ip_address(each)) for each in addresses)]
    server = (
        _builder("nats", "headgate", key)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.ExtendedKeyUsage([_USAGES[each] for each in usages if each in _USAGES]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = serialization.Encoding.PEM
    return {"tls.crt": server.public_bytes(pem), "tls.key": private, "ca.crt": signed_authority.public_bytes(pem)}


def _builder(name: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
    )
