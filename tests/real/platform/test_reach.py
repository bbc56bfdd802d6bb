"""What a container reaches of other tenants, the host and the world: `reach.TABLE`, and all of it is there to be reached."""

import ipaddress
import itertools
import json
import secrets
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial

import docker
import pytest
from docker.models.containers import Container

from tests.parts import docker as engine
from tests.real.internet import FORBIDDEN, HOST, OUTSIDE, internet
from tests.real.internet import PORT as OUTER
from tests.real.platform import databases, inside, reach
from tests.real.platform.conftest import MakeServer
from tests.real.platform.router import Traefik, free_port
from tests.real.platform.server import Server, Service, Tenant, eventually

pytestmark = pytest.mark.real

Targets = list[tuple[str, int]]
Rows = dict[str, Targets]
Probe = Callable[[Targets], Targets]

METADATA = "169.254.169.254"
BRIDGE = engine.BRIDGE_ADDRESS.partition("/")[0]
APP, REDIS, NAMES, REGISTRY, DOCKER = 8000, 6379, 53, 5000, 2375
ABSTRACT = f"\0ah-test-{secrets.token_hex(4)}"
PERL = """
use Fcntl;
use Socket;
my %opening;
for my $target (@ARGV) {
    my ($host, $port) = split "/", $target;
    my $address = inet_aton($host) or next;
    socket(my $socket, PF_INET, SOCK_STREAM, 0);
    fcntl($socket, F_SETFL, O_NONBLOCK);
    connect($socket, pack_sockaddr_in($port, $address));
    $opening{$target} = $socket;
}
for (1 .. 20) {
    my $some = "";
    vec($some, fileno($_), 1) = 1 for values %opening;
    select(undef, $some, undef, 0.1);
    for my $target (keys %opening) {
        next unless vec($some, fileno($opening{$target}), 1);
        my $error = unpack("i", getsockopt($opening{$target}, SOL_SOCKET, SO_ERROR));
        print "$target\\n" unless $error;
        delete $opening{$target};
    }
}
"""


@dataclass(frozen=True)
class Inhabitants:
    """What one tenant has: a service that is shut in, one that is let out, a database."""

    name: str
    out: Service
    shut_in: Container
    let_out: Container
    database: Container

    @property
    def gateways(self) -> list[str]:
        """The host's addresses in its networks: in the tenant's own, and in the one to the internet."""
        return gateways_of(self.let_out)

    @property
    def networks(self) -> list[str]:
        """All addresses of the two."""
        return [str(host) for one in addresses_of(self.let_out) for host in network_of(one).hosts()]

    @property
    def outwards(self) -> Targets:
        """Where the one that is let out answers in the network to the internet."""
        return [(addresses_of(self.let_out)[1], APP)]

    @property
    def answering(self) -> Targets:
        """Where they answer in their tenant's network."""
        apps = [(addresses_of(app)[0], APP) for app in (self.shut_in, self.let_out)]
        return [*apps, (addresses_of(self.database)[0], REDIS)]

    @property
    def names(self) -> Targets:
        apps = [(f"{self.name}-{which}.internal", APP) for which in ("shut", "out")]
        return [*apps, (f"{self.name}-store.db.internal", REDIS)]


def addresses_of(container: Container) -> list[str]:
    """In its tenant's network, and in the one to the internet where it is in that."""
    networks = container.attrs["NetworkSettings"]["Networks"]
    return [networks[name]["IPAddress"] for name in sorted(networks, reverse=True)]


def network_of(address: str) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network((address, 26), strict=False)


def gateways_of(container: Container) -> list[str]:
    return [str(network_of(address)[1]) for address in addresses_of(container)]


@pytest.fixture(scope="module")
def outside() -> Iterator[None]:
    """The internet is there."""
    with internet():
        yield


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traefik]:
    """With its entry point on all addresses, as it is delivered."""
    made = Traefik(tmp_path_factory.mktemp("traefik"))
    made.static.write_text(made.static.read_text().replace(f"127.0.0.1:{made.web}", f":{made.web}"))
    yield made.start()
    made.end()


@pytest.fixture(scope="module")
def metrics() -> int:
    """Their port."""
    return free_port()


@pytest.fixture(scope="module")
def server(make_server: MakeServer, outside: None, router: Traefik, metrics: int) -> Server:
    """It listens on all of the host's addresses, and asks the internet for names."""
    listens = ("--host", "0.0.0.0", "--metrics-listen", f"0.0.0.0:{metrics}", "--dns-upstream", f"{OUTSIDE}:{NAMES}")
    return make_server(*listens, *router.options, AH_BOOTSTRAP_TOKEN=secrets.token_hex(32)).start()


@pytest.fixture(scope="module")
def tenants(server: Server) -> Iterator[tuple[Inhabitants, Inhabitants]]:
    """Two, who know nothing of each other."""
    sdk = docker.DockerClient(base_url=engine.HOST)
    with ThreadPoolExecutor(2) as pool:
        mine, theirs = pool.map(lambda name: inhabitants(server, name, sdk), ("mine", "theirs"))
    yield mine, theirs
    sdk.close()


def inhabitants(server: Server, name: str, sdk: docker.DockerClient) -> Inhabitants:
    """A new tenant's."""
    headers = {"X-Forwarded-Proto": "https"}
    made = server.register(name, **headers, **{"X-Bootstrap-Token": server.env["AH_BOOTSTRAP_TOKEN"]})
    tenant = Tenant(server, made.id, made.key, headers)
    shut, out = tenant.create(f"{name}-shut"), tenant.create(f"{name}-out", egress="internet")
    database = databases.create(tenant, "redis", f"{name}-store")
    for one in (shut, out, database):
        one.until("running")
    return Inhabitants(name, out, shut.container(sdk), out.container(sdk), database.container(sdk))


@dataclass(frozen=True)
class Host:
    """Its addresses, and the ports that each of them has."""

    addresses: list[str]
    ports: dict[str, int]  # of the rows of the table
    ipv6: list[str]  # link-local ones with their interface


@pytest.fixture
def host(server: Server, router: Traefik, metrics: int, tenants: tuple[Inhabitants, Inhabitants]) -> Iterator[Host]:
    """Where nobody listens on a port of the table, somebody does."""
    gateways = [gateway for one in tenants for gateway in one.gateways]
    links = json.loads(subprocess.run(["ip", "-j", "address"], check=True, capture_output=True).stdout)
    ours = [link for link in links if any(info.get("local") in gateways for info in link["addr_info"])]
    addresses = list(dict.fromkeys(["127.0.0.1", BRIDGE, HOST, *gateways, *public_addresses()]))
    with ExitStack() as stack:
        everybody = stack.enter_context(socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True))
        for address, port in itertools.product(addresses, (REGISTRY, DOCKER)):
            with suppress(OSError):  # somebody has it
                stack.enter_context(socket.create_server((address, port)))
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(ABSTRACT)
        abstract.listen()
        ports = (server.port, metrics, router.web, REGISTRY, DOCKER, everybody.getsockname()[1])
        ipv6 = [
            info["local"] + (f"%{link['ifname']}" if info["scope"] == "link" else "")
            for link in links
            for info in link["addr_info"]
            if info["family"] == "inet6" and (link in ours or info["scope"] == "global")
        ]
        yield Host(addresses, dict(zip(reach.ON_HOST, ports, strict=True)), ipv6)


def public_addresses() -> list[str]:
    """Under which the host is known outside."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return []
        return [probe.getsockname()[0]]


def test_what_a_container_reaches_is_what_the_table_says(
    server: Server, tenants: tuple[Inhabitants, Inhabitants], host: Host
) -> None:
    mine, theirs = tenants
    rows = seen_by_the_host(server, mine, theirs, host)
    for what, targets in rows.items():
        assert targets, f"{what}: nothing to try"
        eventually(partial(there, targets))  # a link-local address is there some time after its link
    assert sorted(inside.reached(theirs.shut_in, theirs.names)) == sorted(theirs.names)
    rows |= {
        reach.OWN: mine.answering + mine.names,
        reach.INTERNET: [(OUTSIDE, OUTER), ("www.example.org", OUTER)],
        reach.OTHERS_BY_NAME: theirs.names,
        reach.OTHERS_NETWORKS: [(one, port) for one in theirs.networks for port in (APP, REDIS, NAMES)],
        reach.IPV6: [(on_link(address, link), port) for address, port in rows[reach.IPV6] for link in ("eth0", "eth1")],
    }
    known = [*rows[reach.OTHERS], *((gateway, NAMES) for gateway in theirs.gateways)]
    assert set(known) <= set(rows[reach.OTHERS_NETWORKS])
    probes: list[tuple[Container, Probe]] = [
        (mine.shut_in, partial(inside.reached, mine.shut_in)),
        (mine.let_out, partial(inside.reached, mine.let_out)),
        (mine.let_out, partial(by_command, mine.out)),
        (mine.database, partial(by_perl, mine.database)),
    ]
    with ThreadPoolExecutor(len(probes)) as pool:
        found = list(pool.map(lambda n: column(n, *probes[n], rows), range(len(reach.WHO))))
    seen = {what: tuple(one[what] for one in found) for what in reach.TABLE}
    print("\n".join(f"{what:<90} {' '.join(answers)}" for what, answers in seen.items()))
    assert seen == reach.TABLE


def seen_by_the_host(server: Server, mine: Inhabitants, theirs: Inhabitants, host: Host) -> Rows:
    """What there is to be reached, by addresses that the host reaches."""
    return {
        reach.OWN: mine.answering,
        reach.OUTWARDS: mine.outwards,
        reach.GATEWAYS: [(gateway, NAMES) for gateway in (*mine.gateways, *theirs.gateways)],
        reach.PRIVATE: [(address, OUTER) for address in FORBIDDEN if address != METADATA],
        reach.METADATA: [(METADATA, OUTER)],
        reach.OTHERS: theirs.answering + theirs.outwards,
        **{what: [(address, port) for address in host.addresses] for what, port in host.ports.items()},
        reach.IPV6: [(address, host.ports[reach.ON_HOST[-1]]) for address in host.ipv6],
        reach.SOCKETS: [(str(path), 0) for path in (engine.SOCKET, server.folder / "operator.sock", ABSTRACT)],
    }


def there(targets: Targets) -> bool:
    """Whether the host gets a connection to all of them."""
    return all(map(opens, targets))


def opens(target: tuple[str, int]) -> bool:
    """Whether somebody on the host gets a connection."""
    address, port = target
    try:
        if port:
            socket.create_connection((address, port), timeout=2).close()
        else:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(address)
    except OSError:
        return False
    return True


def on_link(address: str, link: str) -> str:
    """A link-local address as it is said where the link has another name; any other as it is."""
    return f"{address.partition('%')[0]}%{link}" if "%" in address else address


def column(number: int, container: Container, probe: Probe, rows: Rows) -> dict[str, str]:
    """What one of WHO reaches of each row; all is tried at once."""
    own = gateways_of(container)
    names = rows[reach.GATEWAYS]
    rows = rows | {
        reach.GATEWAYS: [target for target in names if target[0] in own],
        reach.OTHER_GATEWAYS: [target for target in names if target[0] not in own],
    }
    tried = {what: rows[what] for what, answers in reach.TABLE.items() if answers[number] != reach.NOT_TRIED}
    reached = set(probe(list(itertools.chain.from_iterable(tried.values()))))
    return {what: answer(tried.get(what, []), reached) for what in reach.TABLE}


def answer(targets: Targets, reached: set[tuple[str, int]]) -> str:
    """A cell of the table; which ones, where it is some."""
    some = [target for target in targets if target in reached]
    if not targets:
        return reach.NOT_TRIED
    return reach.NO if not some else reach.YES if some == targets else f"only {some} of {targets}"


def by_command(service: Service, targets: Targets) -> Targets:
    """What a command reaches that its tenant has run."""
    body = {"command": inside.argv("reached", targets), "timeout_s": 60}
    done = service.tenant.call("POST", f"{service.path}/exec", body)
    assert done["exit_code"] == 0, done
    return [(host, port) for host, port in json.loads(done["stdout"])]


def by_perl(container: Container, targets: Targets) -> Targets:
    """What is reached where there is no Python: Debian has this everywhere. One process, for there is room for few."""
    done = container.exec_run(["perl", "-e", PERL, *(f"{host}/{port}" for host, port in targets)])
    assert done.exit_code == 0, done.output.decode()
    found = {tuple(line.split("/")) for line in done.output.decode().split()}
    return [(host, port) for host, port in targets if (host, str(port)) in found]


def test_a_container_has_no_socket_file_and_one_file_of_the_host(tenants: tuple[Inhabitants, Inhabitants]) -> None:
    for container in (tenants[0].shut_in, tenants[0].let_out, tenants[0].database):
        found = container.exec_run(["sh", "-c", "find / -path /proc -prune -o -type s -print 2> /dev/null"])
        assert found.output == b""  # these programs make none themselves
        binds = [(one["Destination"], one["RW"]) for one in container.attrs["Mounts"] if one["Type"] == "bind"]
        assert binds == [("/etc/resolv.conf", False)]
