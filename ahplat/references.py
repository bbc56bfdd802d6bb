"""Image references: what a tenant may ask for, in Docker's own form, with nothing in it that could be an option."""

import re

from ahplat.errors import Rejected

PLACEHOLDERS = frozenset({"", "pending", "placeholder:latest"})
"""Images of services that wait for their first build: nothing is pulled, nothing fails."""

LOCAL_REGISTRIES = ("127.0.0.1:5000", "localhost:5000")

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:(?P<host>localhost(?::\d{{1,5}})?|[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)+(?::\d{{1,5}})?|[a-zA-Z0-9-]+:\d{{1,5}})/)?"
    rf"(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)

_OF_A_BUILD = re.compile(r"ah/[0-9a-f]{32}-")  # on any host: Docker may have the local registry as a mirror of it


def check_reference(reference: str, tenant_id: str, allowed: frozenset[str]) -> str:
    """The reference, with `:latest` where it names neither tag nor digest. Raises Rejected `image_invalid`.

    `allowed` are registry hosts that the operator lets in besides Docker Hub and a tenant's own repositories
    (`ah/<tenant>-…`) on the local registry.

    >>> check_reference("nginx", "t", frozenset()), check_reference("localhost:5000/ah/t-a:1", "t", frozenset())
    ('nginx:latest', '127.0.0.1:5000/ah/t-a:1')
    """
    found = _REFERENCE.fullmatch(reference)
    if found is None or len(reference) > 512:
        raise Rejected("image_invalid", f"{reference[:80]!r} is not an image: expected name[:tag][@sha256:…]")
    host, path = found["host"], found["path"]
    if _OF_A_BUILD.match(path) and not path.startswith(f"ah/{tenant_id}-"):
        raise Rejected("image_forbidden", f"a tenant may use only what was built for it, ah/{tenant_id}-…")
    if host in LOCAL_REGISTRIES and host not in allowed and not path.startswith(f"ah/{tenant_id}-"):
        raise Rejected("image_forbidden", f"on {host} a tenant may use only its own repositories, ah/{tenant_id}-…")
    if host and host not in LOCAL_REGISTRIES and host not in allowed and host != "docker.io":
        raise Rejected(
            "image_forbidden",
            f"the registry {host} is not allowed: its operator starts ah with --allow-registry {host}",
        )
    if host in LOCAL_REGISTRIES:  # one name for it
        reference = f"{LOCAL_REGISTRIES[0]}/{reference.partition('/')[2]}"
    return reference if found["tag"] or found["digest"] else f"{reference}:latest"
