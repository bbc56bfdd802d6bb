"""Whose name a Host header is: a service's own, another name that may be one's, or the platform's; and services' URLs."""

import re
from functools import lru_cache

from apsw import Connection

from ahplat import limits
from ahplat.api.call import Call
from ahplat.hosts import is_canonical, is_under
from ahplat.routers.choice import origin_of
from projections import tenants
from projections.services import ServiceRow

_LABEL = r"([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)"


def url_of(call: Call, views: Connection, row: ServiceRow) -> str:
    """`http://<service>.<tenant>.<domain>`, with the port that the router answers on where that is another."""
    tenant = tenants.find(views, row.tenant_id)
    assert tenant
    scheme, port = origin_of(call.app.config, call.app.port)
    return f"{scheme}://{row.label}.{tenant.label}.{call.app.config.domain}{port}"


@lru_cache(limits.HOSTS_CACHED)
def target_host(host_header: str, domain: str) -> tuple[str, str] | None:
    """(service label, tenant label) of a Host header, None when it is not `<service>.<tenant>.<domain>[:port]`.

    >>> target_host("Web.Acme.localhost:8080", "localhost"), target_host("localhost", "localhost")
    (('web', 'acme'), None)
    """
    found = _names(domain).fullmatch(host_header)
    return (found[1].lower(), found[2].lower()) if found else None


@lru_cache(limits.HOSTS_CACHED)
def other_host(host_header: str, domain: str) -> str:
    """The name of a Host header in the form in which names are kept, "" for an address and for the platform's own.

    >>> other_host("WWW.shop.example.:80", "localhost"), other_host("127.0.0.1:80", "localhost")
    ('www.shop.example', '')
    """
    host = host_header.partition(":")[0].removesuffix(".").lower()
    is_name = is_canonical(host) and not host.rpartition(".")[2].isdecimal()
    return host if is_name and not is_under(host, domain) else ""


@lru_cache(16)
def _names(domain: str) -> re.Pattern[str]:
    return re.compile(rf"{_LABEL}\.{_LABEL}\.{re.escape(domain)}\.?(?::[0-9]{{1,5}})?", re.IGNORECASE | re.ASCII)
