"""Names as parts of host names: `http://<service>.<tenant>.<domain>`."""

import re

LABEL_CHARACTERS = 63  # RFC 1035, section 2.3.4

RESERVED = frozenset(
    [
        "api",
        "admin",
        "dashboard",
        "traefik",
        "www",
        "mail",
        "smtp",
        "health",
        "status",
        "metrics",
        "grafana",
        "prometheus",
        "registry",
        "auth",
        "login",
        "oauth",
    ]
)


def label_of(name: str) -> str:
    """A DNS label made of a name: lower case, other characters become "-"; "" when nothing is left.

    >>> label_of("My App_2"), label_of("-ä-")
    ('my-app-2', '')
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:LABEL_CHARACTERS].strip("-")


def numbered(label: str, n: int) -> str:
    """The n-th form of a label that is taken.

    >>> numbered("acme", 1), numbered("acme", 2)
    ('acme', 'acme-2')
    """
    if n == 1:
        return label
    suffix = f"-{n}"
    return label[: LABEL_CHARACTERS - len(suffix)].rstrip("-") + suffix
