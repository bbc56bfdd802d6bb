"""What a container reaches: the table of the README, which `test_reach.py` tries cell by cell.

python -m tests.real.platform.reach        prints the table
"""

WHO = ("a service", "a service with egress", "a command in that", "a database")
YES, NO, NOT_TRIED = "yes", "no", "–"
_ALL, _NONE = (YES,) * 4, (NO,) * 4
_WITH_EGRESS = (NO, YES, YES, NO)
_BY_PYTHON = (NO, NO, NO, NOT_TRIED)  # there is none in a database's image

OWN = "its tenant's service and database, by address and by name"
OUTWARDS = "its tenant's service with egress, by that one's address towards the internet"
GATEWAYS = "names, on the gateways of its own networks"
OTHER_GATEWAYS = "names, on all other gateways"
INTERNET = "the internet (a stand-in), by address and by name"
PRIVATE = "10/8, 172.16/12, 192.168/16, 100.64/10, 198.18/15 (an address of each)"
METADATA = "the metadata address, 169.254.169.254"
OTHERS = "another tenant's services and database, by all their addresses"
OTHERS_BY_NAME = "another tenant's service and database, by name"
OTHERS_NETWORKS = "another tenant's two networks, all 62 addresses on three ports"
ON_HOST = (
    "the host, by each of its addresses: the API",
    "the host: the metrics",
    "the host: Traefik's entry point",
    "the host: the registry's port",
    "the host: Docker's port",
    "the host: what listens on all addresses",
)
IPV6 = "the host by IPv6, link-local and global: what listens on all addresses"
SOCKETS = "Docker's socket, the operator's, an abstract one of the host"

TABLE = {
    OWN: _ALL,
    OUTWARDS: (NO, NOT_TRIED, NOT_TRIED, NO),
    GATEWAYS: _ALL,
    OTHER_GATEWAYS: _NONE,
    INTERNET: _WITH_EGRESS,
    PRIVATE: _NONE,
    METADATA: _NONE,
    OTHERS: _NONE,
    OTHERS_BY_NAME: _NONE,
    OTHERS_NETWORKS: _BY_PYTHON,
    **dict.fromkeys(ON_HOST, _NONE),
    IPV6: _BY_PYTHON,
    SOCKETS: _BY_PYTHON,
}
"""What → whether each of WHO reaches it."""


def table() -> str:
    """The table in Markdown."""
    lines = [f"| | {' | '.join(WHO)} |", f"|---|{'---|' * len(WHO)}"]
    return "\n".join([*lines, *(f"| {what} | {' | '.join(answers)} |" for what, answers in TABLE.items())])


if __name__ == "__main__":
    print(table())
