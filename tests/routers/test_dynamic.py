"""What Traefik is told of a service, to the exact argument; and what never reaches it."""

import json
from typing import Any

import pytest
from hypothesis import given, strategies

from ahplat.hosts import is_canonical
from ahplat.routers.dynamic import Entry, Shown, shown, without_a_host_twice, written
from ahplat.routers.router import Route

ROUTE = Route("01a2", ("web.acme.localhost", "www.shop.example"), ("10.128.0.2:8000", "[fd00::2]:80"), "c0ffee")


def test_a_route_gives_exactly_this_file() -> None:
    assert json.loads(written(ROUTE, Entry())) == {
        "http": {
            "routers": {
                "ah-01a2": {
                    "entryPoints": ["web"],
                    "rule": "Host(`web.acme.localhost`) || Host(`www.shop.example`)",
                    "service": "ah-01a2",
                }
            },
            "services": {
                "ah-01a2": {
                    "loadBalancer": {
                        "passHostHeader": True,
                        "servers": [{"url": "http://10.128.0.2:8000"}, {"url": "http://[fd00::2]:80"}],
                        "serversTransport": "ah-01a2-c0ffee",
                    }
                }
            },
            "serversTransports": {"ah-01a2-c0ffee": {"forwardingTimeouts": {"idleConnTimeout": "4s"}}},
        }
    }


def test_with_certificates_it_is_reached_by_tls() -> None:
    router = json.loads(written(ROUTE, Entry("websecure", "ah")))["http"]["routers"]["ah-01a2"]
    assert (router["entryPoints"], router["tls"]) == (["websecure"], {"certResolver": "ah"})


def test_a_service_of_which_nothing_runs_has_no_server() -> None:
    found = json.loads(written(Route("01a2", ("web.acme.localhost",)), Entry()))
    assert found["http"]["services"]["ah-01a2"]["loadBalancer"]["servers"] == []


@pytest.mark.parametrize(
    "host",
    [
        *(
            "",
            "a",
            "A.example",
            "a.example.",
            "a..example",
            "-a.example",
            "a_b.example",
            "a.example`) || Host(`b.example",
        ),
        *("a.example\n", "*.example", "ä.example", "a.example:80", f"{'a' * 64}.example", ".".join(["a" * 60] * 5)),
    ],
)
def test_what_is_no_host_name_as_they_are_kept_is_not_written(host: str) -> None:
    with pytest.raises(ValueError, match="no host name"):
        written(Route("01a2", (host,), ()), Entry())


@pytest.mark.parametrize(
    "server",
    [
        "",
        "10.0.0.1",
        "10.0.0.1:0",
        "10.0.0.1:65536",
        "10.0.0.256:80",
        "web:80",
        "10.0.0.1:80/x",
        "10.0.0.1:80\n",
        ":80",
    ],
)
def test_what_is_no_address_and_port_is_not_written(server: str) -> None:
    with pytest.raises(ValueError, match=r"address|IPv4"):
        written(Route("01a2", ("a.example",), (server,)), Entry())


@given(hosts=strategies.lists(strategies.text(max_size=20), max_size=3), servers=strategies.lists(strategies.text()))
def test_whatever_comes_is_refused_or_names_exactly_these_hosts(hosts: list[str], servers: list[str]) -> None:
    route = Route("01a2", (*hosts, "a.example"), tuple(servers))
    try:
        found = json.loads(written(route, Entry()))
    except ValueError:
        return
    rule = found["http"]["routers"]["ah-01a2"]["rule"]
    assert rule.count("`") == 2 * len(route.hosts)
    assert all(is_canonical(host) and f"Host(`{host}`)" in rule for host in route.hosts)


def test_a_host_that_stands_twice_goes_to_the_first_and_is_named() -> None:
    one, two = Route("1", ("a.example", "b.example")), Route("2", ("b.example", "c.example"), ("10.0.0.1:80",))
    kept, twice = without_a_host_twice([one, two])
    assert kept == [one, Route("2", ("c.example",), ("10.0.0.1:80",))]
    assert twice == ["b.example"]


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (None, None),
        ([], None),
        ({}, None),
        ({"status": "disabled", "loadBalancer": {"servers": [{"url": "http://a:1"}]}}, None),
        ({"status": "enabled"}, Shown(frozenset())),
        ({"status": "enabled", "loadBalancer": {"servers": None}}, Shown(frozenset())),
        ({"status": "enabled", "loadBalancer": {"servers": [{"url": "http://a:1"}]}}, Shown(frozenset({"http://a:1"}))),
    ],
)
def test_what_traefik_shows_is_what_is_in_force(answer: Any, found: Shown | None) -> None:
    assert shown(answer) == found
