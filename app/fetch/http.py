"""One GET to one address that was checked before: HTTP/1.1, no proxy, no cookie, no second look-up.

The name in the URL is used for TLS and the Host header only. Redirects are answers like any other
here; decoding, retries and pooling do not exist.
"""

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpcore
import httpx

from app.fetch.addresses import Address
from app.fetch.targets import Target

USER_AGENT = "lora-inference-api"


class HttpClient:
    """Sends single requests. Holds no connection between them."""

    def __init__(
        self,
        *,
        connect_seconds: float,
        network: httpcore.AsyncNetworkBackend | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._timeouts = {"connect": connect_seconds}
        self._network = network
        # Operators add their own authorities with SSL_CERT_FILE.
        self._tls = tls or httpx.create_ssl_context()

    @asynccontextmanager
    async def get(
        self, target: Target, address: Address, accept: Sequence[str]
    ) -> AsyncIterator[httpcore.Response]:
        """Yield the response with its body unread. **Raises:** httpcore's errors and OSError."""
        url = httpcore.URL(
            scheme=target.scheme, host=str(address), port=target.port, target=target.path
        )
        headers = [
            ("host", target.authority),
            ("user-agent", USER_AGENT),
            ("accept", ", ".join(accept)),
            ("accept-encoding", "identity"),
            ("connection", "close"),
        ]
        connection = httpcore.AsyncHTTPConnection(
            url.origin, ssl_context=self._tls, network_backend=self._network
        )
        extensions = {"sni_hostname": target.host, "timeout": self._timeouts}
        async with (
            connection,
            connection.stream("GET", url, headers=headers, extensions=extensions) as response,
        ):
            yield response
