"""What a request costs: CPU of the server's process at a constant rate, and how many it answers at most."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from tests.bench import load
from tests.bench.figure import Figure
from tests.bench.process import Served, platform, register, serving

RATE = 95  # a second: below what a tenant may ask
CONNECTIONS_AT_RATE = 4
CONNECTIONS = 32
ENV = b'{"GREETING":"good morning"}'

Asked = tuple[Served, bytes]  # a server, and the request that it is asked


def figures(folder: Path, quick: bool) -> Iterator[Figure]:
    """CPU at the rate with limits on, the ceiling with limits off; ours and the bare server in turn."""
    rounds, seconds = (2, 2.0) if quick else (5, 4.0)
    with ExitStack() as stack:
        limited = stack.enter_context(serving(platform(folder / "limited"), folder / "limited.log"))
        free = stack.enter_context(serving(platform(folder / "free", "--no-rate-limits"), folder / "free.log"))
        ours_get, ours_post = prepared(limited)
        free_get, free_post = prepared(free)
        bare_get = bare(stack, folder, "get", body_of(limited, ours_get))
        bare_post = bare(stack, folder, "post", body_of(limited, ours_post))
        yield at_rate("GET services", ours_get, bare_get, rounds, seconds)
        yield at_rate("POST env", ours_post, bare_post, rounds, seconds)
        yield at_most("GET services", free_get, bare_get, rounds, seconds)
        yield at_most("POST env", free_post, bare_post, rounds, seconds)


def prepared(server: Served) -> tuple[Asked, Asked]:
    """A tenant with three services: what is asked to list them, and to set a variable of one."""
    key = register(server)
    names = ("web", "shop", "mailer")
    created = [server.ask("POST", "/v1/services", key, {"name": name, "env": {"A": "1"}})["id"] for name in names]
    get = load.request("GET", "/v1/services", server.port, key)
    post = load.request("POST", f"/v1/services/{created[0]}/env", server.port, key, ENV)
    return (server, get), (server, post)


def body_of(server: Served, asked: Asked) -> bytes:
    """The body that a request is answered with."""
    import socket

    with socket.create_connection(("127.0.0.1", server.port), 10) as one:
        one.sendall(asked[1])
        data = one.recv(65_536)
        while not (whole := load.answer_bytes(data)) or len(data) < whole:
            data += one.recv(65_536)
    return data.partition(b"\r\n\r\n")[2]


def bare(stack: ExitStack, folder: Path, name: str, body: bytes) -> Asked:
    """The bare server, answering `body`, and the request that it is asked."""
    own = folder / f"bare-{name}"
    own.mkdir()
    (own / "body").write_bytes(body)
    server = stack.enter_context(serving(["tests.bench.bare", str(own), str(own / "body")], own / "log"))
    sent = ENV if name == "post" else b""
    return server, load.request(name.upper(), "/v1/services", server.port, "x" * 64, sent)


def at_rate(name: str, ours: Asked, bare: Asked, rounds: int, seconds: float) -> Figure:
    """CPU of one request at the constant rate, in microseconds."""

    def cost(asked: Asked) -> float:
        server, request = asked
        before = server.cpu_s()
        answers = load.put(server.port, request, CONNECTIONS_AT_RATE, RATE, seconds).answers
        return (server.cpu_s() - before) / answers * 1e6

    return Figure(f"{name}, CPU at {RATE}/s", "µs", *in_turn(cost, median, ours, bare, rounds))


def at_most(name: str, ours: Asked, bare: Asked, rounds: int, seconds: float) -> Figure:
    """Answers a second in a closed loop: the best round, for what else the machine does only ever lowers it."""

    def ceiling(asked: Asked) -> float:
        done = load.put(asked[0].port, asked[1], CONNECTIONS, 0, seconds)
        return done.answers / done.seconds

    return Figure(f"{name}, {CONNECTIONS} connections", "/s", *in_turn(ceiling, max, ours, bare, rounds))


def in_turn(
    measure: Callable[[Asked], float], of_all: Callable[[list[float]], float], ours: Asked, bare: Asked, rounds: int
) -> tuple[float, float]:
    """Both measured in turn, so that what else the machine does meets both; the first round warms."""
    both = [(measure(ours), measure(bare)) for _ in range(rounds + 1)][1:]
    return of_all([one for one, _ in both]), of_all([other for _, other in both])
