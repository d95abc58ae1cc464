"""Rules for a webhook's URL, and for the addresses that its host may have."""

import ipaddress
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

from core.errors import UrlForbidden

LONGEST_URL = 2000
_BRACKETED = re.compile(r"\[[^][]+](:\d*)?")  # an IPv6 address; Python may let more follow
_PORTS = {"https": 443, "http": 80}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# For protocols and documentation. Releases of Python differ in which of these they call global.
_SPECIAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "2001::/23", "3fff::/20")))
_UNICAST = ipaddress.IPv6Network("2000::/3")  # all that are given out; the rest has other uses


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """The parts of a webhook's URL that a request needs."""

    scheme: str
    authority: str  # host and port as the URL has them: the header Host
    host: str
    port: int
    target: str  # path and query


def receiver_of(url: str, *, allow_private: bool) -> Receiver:
    """Return the parts of a URL; http is allowed where private addresses are.

    Raises UrlForbidden.
    """
    schemes = _PORTS if allow_private else ("https",)
    printable = url.isascii() and url.isprintable() and not {" ", "\\"} & set(url)
    if not printable or len(url) > LONGEST_URL:
        raise UrlForbidden(
            f"A URL must have at most {LONGEST_URL:,} printable ASCII characters and no spaces: "
            "write a host with other letters in its xn-- form."
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UrlForbidden("This is not a URL.") from error
    if parts.scheme not in schemes:
        raise UrlForbidden(f"The URL must begin with {' or '.join(f'{s}://' for s in schemes)}.")
    if "[" in parts.netloc and not _BRACKETED.fullmatch(parts.netloc):
        raise UrlForbidden("This is not a URL.")
    if not parts.hostname or port == 0:
        raise UrlForbidden("The URL must name a host.")
    if parts.username is not None or parts.password is not None or "#" in url:
        raise UrlForbidden("The URL must have no user, password or fragment.")
    return Receiver(
        scheme=parts.scheme,
        authority=parts.netloc,
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
    )


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the public internet.

    An IPv6 address that stands for an IPv4 address (mapped, 6to4, Teredo, NAT64) is as public as
    that.
    """
    found = ipaddress.ip_address(address)
    if isinstance(found, IPv6Address):
        inner = _ipv4_within(found)
        if inner is None and found not in _UNICAST:
            return False
        found = inner or found
    special = any(found in network for network in _SPECIAL)
    return found.is_global and not found.is_multicast and not special


def _ipv4_within(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return None
