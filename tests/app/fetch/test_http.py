"""TLS is checked against the name in the URL, though the connection goes to an address."""

import datetime
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.errors import ApiError
from tests.app.fetch.world import ANY, ORG, PUBLIC, PUBLIC_6, SITE, World, answer, world


@dataclass(slots=True)
class Secure:
    """A small internet whose site has a certificate for its name, and what trusts it."""

    internet: World
    trust: ssl.SSLContext
    names: list[str | None]
    """The names that clients asked for in their TLS hellos."""


def _certificate(directory: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, SITE)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(SITE)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = directory / "site.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest_asyncio.fixture
async def secure(tmp_path: Path) -> AsyncIterator[Secure]:
    path = _certificate(tmp_path)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(path)
    names: list[str | None] = []
    served.sni_callback = lambda _socket, name, _context: names.append(name)
    trust = ssl.create_default_context(cafile=path)
    async with world(served) as internet:
        internet.site.answers["/"] = answer(b"over TLS")
        yield Secure(internet, trust, names)


async def test_the_name_is_in_the_hello_and_in_the_host_header(secure: Secure):
    fetcher = secure.internet.fetcher(tls=secure.trust)
    fetched = await fetcher.fetch(f"https://{SITE}/", org_id=ORG, max_bytes=100, accept=ANY)
    assert fetched.content == b"over TLS"
    assert secure.names == [SITE]
    assert secure.internet.network.connected == [(PUBLIC, 443)]
    assert f"host: {SITE}\r\n".encode() in secure.internet.site.requests[0].lower()


@pytest.mark.parametrize("host", ["other.example", PUBLIC, f"[{PUBLIC_6}]"])
async def test_a_certificate_for_another_name_is_not_taken(secure: Secure, host: str):
    secure.internet.names.known["other.example"] = [[PUBLIC]]
    fetcher = secure.internet.fetcher(tls=secure.trust)
    with pytest.raises(ApiError, match="could not be fetched"):
        await fetcher.fetch(f"https://{host}/", org_id=ORG, max_bytes=100, accept=ANY)
    assert secure.internet.site.requests == []


async def test_a_certificate_that_nobody_vouches_for_is_not_taken(secure: Secure):
    with pytest.raises(ApiError, match="could not be fetched"):
        await secure.internet.fetcher().fetch(
            f"https://{SITE}/", org_id=ORG, max_bytes=100, accept=ANY
        )
    assert secure.internet.site.requests == []
