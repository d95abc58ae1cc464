"""The URLs that a webhook may have, and the addresses that count as public."""

import pytest

from core.errors import UrlForbidden
from core.outbox.rules import Receiver, is_public, receiver_of


@pytest.mark.parametrize(
    ("url", "authority", "port", "target"),
    [
        ("https://ci.example.com/told?by=us", "ci.example.com", 443, "/told?by=us"),
        ("https://ci.example.com:8443/a;b", "ci.example.com:8443", 8443, "/a;b"),
        ("https://ci.example.com?by=us", "ci.example.com", 443, "/?by=us"),
        ("https://CI.example.com", "CI.example.com", 443, "/"),
    ],
)
def test_a_url_leads_to_a_host_a_port_and_a_target(
    url: str, authority: str, port: int, target: str
) -> None:
    assert receiver_of(url, allow_private=False) == Receiver(
        scheme="https", authority=authority, host="ci.example.com", port=port, target=target
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://ci.example.com/",
        "ftp://ci.example.com/",
        "file:///etc/passwd",
        "//ci.example.com/",
        "https://",
        "https:///told",
        "https://user:word@ci.example.com/",
        "https://@ci.example.com/",
        "https://ci.example.com/#there",
        "https://ci.example.com:0/",
        "https://ci.example.com:99999/",
        "https://[::1",
        "https://[::1]x/",
        "https://x[::1]/",
        "https://[::1]80/",
        "https://ci.example.com/a b",
        "https://ci.example.com\\@127.0.0.1/",
        "https://ci.example.com/\n",
        "https://bücher.example/",
        "https://ci.example.com/" + "a" * 2000,
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(UrlForbidden):
        receiver_of(url, allow_private=False)


def test_http_is_allowed_where_private_addresses_are() -> None:
    found = receiver_of("http://[::1]/told", allow_private=True)
    assert (found.scheme, found.authority, found.host, found.port) == ("http", "[::1]", "::1", 80)


@pytest.mark.parametrize(
    "address",
    ["93.184.215.14", "8.8.8.8", "2606:4700:4700::1111", "2001:200::1", "64:ff9b::808:808"],
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",  # where clouds keep credentials
        "100.64.0.1",
        "192.0.0.192",  # where Oracle's cloud kept credentials
        "192.0.0.9",
        "192.0.2.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:10.1.2.3",
        "::10.1.2.3",
        "2001:1::1",
        "2001:20::1",
        "3fff::1",
        "2002:c000:c0::",
        "fec0::1",  # site-local, as some networks still have them
        "64:ff9b::a01:203",
        "64:ff9b:1::808:808",  # translated by a network's own rules
        "4000::1",  # of nobody
        "2002:a01:203::",
        "2001:0:4136:e378:8000:63bf:f5fe:fdfc",
    ],
)
def test_other_addresses_are_not(address: str) -> None:
    assert not is_public(address)
