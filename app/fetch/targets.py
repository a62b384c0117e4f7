"""From a URL's text to what is connected to and asked for. Pure, and the only reader of URLs.

The parts go to the HTTP library one by one, so no second parser can read the URL another way.
Spellings that browsers and resolvers read differently are refused, not interpreted: userinfo,
backslashes, percent signs in hosts, numbers that stand for addresses, anything but ASCII.

**Source:** RFC 3986 for the syntax; the WHATWG URL standard for what a number in a host means.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Self

from app.fetch.addresses import parse_address
from app.fetch.content import UrlRefused

MAX_CHARACTERS = 8192
DEFAULT_PORTS = {"https": 443, "http": 80}
ANY_HOST = "*"

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)(?:#.*)?")
_VISIBLE_ASCII = re.compile(r"[!-\[\]-~]*")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class Target:
    """A checked URL. `host` is lower-case, without brackets; `path` includes the query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """What stands in the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator allows. A named host may have a private address, and its port may be odd.

    `public` allows every public host, at the scheme's own port.
    """

    schemes: frozenset[str]
    public: bool
    named: frozenset[tuple[str, int | None]]

    @classmethod
    def parse(cls, schemes: Iterable[str], allowed_hosts: Iterable[str]) -> Self:
        """Read settings: `*`, `host` or `host:port`. **Raises:** ValueError, naming the entry."""
        hosts = list(allowed_hosts)
        named = frozenset(_named(host) for host in hosts if host != ANY_HOST)
        return cls(frozenset(schemes), ANY_HOST in hosts, named)

    def names(self, target: Target) -> bool:
        """Tell whether the operator lists this very host and port."""
        has_own_port = target.port == DEFAULT_PORTS[target.scheme]
        return (target.host, target.port) in self.named or (
            has_own_port and (target.host, None) in self.named
        )

    def check(self, target: Target) -> None:
        """Refuse what no address could make right. **Raises:** UrlRefused."""
        if self.names(target):
            return
        if not self.public:
            raise UrlRefused("its host is not one that this deployment fetches from")
        if target.port != DEFAULT_PORTS[target.scheme]:
            raise UrlRefused("its port is not one that this deployment connects to")

    @property
    def beginnings(self) -> str:
        return " or ".join(f"{scheme}://" for scheme in sorted(self.schemes, reverse=True))


def parse_url(text: str, policy: Policy) -> Target:
    """Read and check a URL. **Raises:** UrlRefused."""
    if len(text) > MAX_CHARACTERS:
        raise UrlRefused(f"the URL must have at most {MAX_CHARACTERS} characters")
    if _VISIBLE_ASCII.fullmatch(text) is None:
        raise UrlRefused("the URL holds characters that must be percent-encoded")
    match = _URL.fullmatch(text)
    scheme = match[1].lower() if match else ""
    if match is None or scheme not in policy.schemes:
        raise UrlRefused(f"the URL must begin with {policy.beginnings}")
    host, port = _split(match[2])
    path = match[3]
    target = Target(
        scheme=scheme,
        host=host,
        port=DEFAULT_PORTS[scheme] if port is None else port,
        path=path if path.startswith("/") else f"/{path}",
    )
    policy.check(target)
    return target


def _split(authority: str) -> tuple[str, int | None]:
    if "@" in authority:
        raise UrlRefused("the URL must not hold a user name or password")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise UrlRefused("the URL's host is not valid")
    port = None if match[2] is None else int(match[2])
    if port is not None and not 0 < port < 65536:
        raise UrlRefused("the URL's port is not valid")
    return _host(match[1].lower()), port


def _host(text: str) -> str:
    if text.startswith("["):
        address = parse_address(text[1:-1])
        if not isinstance(address, IPv6Address):
            raise UrlRefused("the URL's host is not valid")
        return str(address)
    labels = text.split(".")
    if len(text) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise UrlRefused("the URL's host is not valid")
    # Resolvers take `127.1`, `0x7f.1` and `2130706433` for addresses, and some read octals.
    if _NUMBER.fullmatch(labels[-1]) and parse_address(text) is None:
        raise UrlRefused("the URL's host is not valid")
    return text


def _named(entry: str) -> tuple[str, int | None]:
    try:
        return _split(entry)
    except UrlRefused as error:
        raise ValueError(f"{entry!r} is neither `*`, a host nor host:port") from error
