"""The chains that keep containers where they belong: read as iptables prints them, mended in one transaction."""

import re
from collections.abc import Iterator

import pytest

from ahplat import processes
from ahplat.engines import firewall
from ahplat.engines.firewall import CHAINS, Chain, Firewall, Found, found, mended
from ahplat.errors import Unavailable
from ahplat.processes import Completed

CHAIN = Chain("filter", "AH-INPUT", "INPUT -i ah+ -j AH-INPUT", ("-p udp -j ACCEPT", "-j DROP"))
WHOLE = Found(CHAIN.rules, 1, True)


def saved(*lines: str, table: str = "filter") -> str:
    """As iptables-save prints a table, between two others of other content."""
    other = "*nat\n:AH-INPUT - [0:0]\n-A AH-INPUT -j RETURN\nCOMMIT\n"
    return "\n".join([other + f"# comment\n*{table}", ":INPUT ACCEPT [0:0]", *lines, f"COMMIT\n{other}"])


def test_a_chain_that_stands_reads_as_it_is() -> None:
    rules = [f"-A AH-INPUT {rule}" for rule in CHAIN.rules]
    assert found(CHAIN, saved(":AH-INPUT - [0:0]", f"-A {CHAIN.jump}", *rules)) == WHOLE


@pytest.mark.parametrize(
    ("lines", "seen"),
    [
        ([], Found(None, 0, False)),
        ([":AH-INPUT - [0:0]"], Found((), 0, False)),
        ([":AH-INPUT - [0:0]", "-A AH-INPUT -j DROP"], Found(("-j DROP",), 0, False)),
        ([":AH-INPUT - [0:0]", f"-A {CHAIN.jump}", f"-A {CHAIN.jump}"], Found((), 2, True)),
        ([":AH-INPUT - [0:0]", "-A INPUT -i ah+ -j ACCEPT", f"-A {CHAIN.jump}"], Found((), 1, False)),
        ([":AH-INPUT-2 - [0:0]", "-A AH-INPUT-2 -j DROP", "-A INPUT -i ah+ -j AH-INPUT-2"], Found(None, 0, False)),
    ],
)
def test_what_is_wrong_with_a_chain_is_seen(lines: list[str], seen: Found) -> None:
    assert found(CHAIN, saved(*lines)) == seen


def test_a_chain_is_mended_in_one_transaction_that_leaves_one_jump() -> None:
    assert mended(CHAIN, Found((), 2, False)).splitlines() == [
        "*filter",
        ":AH-INPUT - [0:0]",
        "-A AH-INPUT -p udp -j ACCEPT",
        "-A AH-INPUT -j DROP",
        "-D INPUT -i ah+ -j AH-INPUT",
        "-D INPUT -i ah+ -j AH-INPUT",
        "-I INPUT -i ah+ -j AH-INPUT",
        "COMMIT",
    ]


def test_the_last_word_of_what_comes_in_is_no_and_names_come_before_it() -> None:
    for program, (incoming, _) in CHAINS.items():
        assert incoming.rules[-1] == "-m conntrack --ctstate NEW -j DROP", program
        for rule in incoming.rules[:-1]:
            if rule == "-i ahx+ -j RETURN":  # what is a builder's has rules of its own
                continue
            assert re.fullmatch(r"-p (udp|tcp) .*--dport 53 .*--dst-type LOCAL --limit-iface-in -j ACCEPT", rule)


def test_nothing_that_is_forwarded_from_a_network_to_the_internet_is_accepted_by_us() -> None:
    for _, forwarded in CHAINS.values():
        assert not [rule for rule in forwarded.rules if "ACCEPT" in rule], "what Docker drops stays dropped"


class Kernel:
    """What the programs do to two families' chains: reads transactions, prints what stands."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, list[str]]] = {program: {} for program in CHAINS}
        self.refuse = 0
        self.words = ("", "")  # this machine prints the first as the second
        self.ran: list[str] = []

    async def run(self, argv: list[str], timeout_s: float, stdin: str = "") -> Completed:
        program, _, verb = argv[0].partition("-")
        self.ran.append(verb)
        if verb == "save":
            return Completed(0, self.printed(program), "")
        if self.refuse:
            self.refuse -= 1
            return Completed(1, "", "another app holds the lock")
        lines = stdin.splitlines()
        rules = self.tables[program].setdefault(lines[0], [])
        name = lines[1].split()[0].removeprefix(":")
        rules[:] = [rule for rule in rules if not rule.startswith(f"-A {name} ")]
        for line in lines[2:-1]:
            if line.startswith("-D "):
                rules.remove(f"-A {line[3:]}")
            elif line.startswith("-I "):
                rules.insert(0, f"-A {line[3:]}")
            else:
                rules.append(line)
        return Completed(0, "", "")

    def printed(self, program: str) -> str:
        tables = []
        for table, rules in self.tables[program].items():
            names = {rule.split()[1]: None for rule in rules}
            lines = [f":{name} - [0:0]" for name in names] + [rule.replace(*self.words) for rule in rules]
            tables.append("\n".join([table, *lines, "COMMIT\n"]))
        return "".join(tables)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    made = Kernel()
    monkeypatch.setattr(processes, "run", made.run)
    monkeypatch.setattr(firewall, "programs", lambda ipv6: ("iptables", "ip6tables"))
    yield made


ALL = [f"{program}: {chain.table} {chain.jump}" for program, chains in CHAINS.items() for chain in chains]


async def test_what_is_gone_comes_back_and_is_said_and_what_stands_is_left(kernel: Kernel) -> None:
    wall = Firewall()
    assert await wall.repair() == ALL
    assert await wall.repair() == await Firewall().repair() == []
    kernel.tables["iptables"]["*mangle"].clear()
    assert await wall.repair() == [ALL[1]]
    kernel.tables["ip6tables"]["*filter"].insert(0, "-A INPUT -i ah+ -j ACCEPT")
    assert await wall.repair() == [ALL[2]], "ours comes first"
    assert await wall.repair() == []


async def test_one_rule_that_is_gone_or_too_many_is_seen(kernel: Kernel) -> None:
    wall = Firewall()
    await wall.repair()
    for change in (lambda rules: rules.pop(), lambda rules: rules.insert(1, rules[0]), lambda rules: rules.reverse()):
        change(kernel.tables["iptables"]["*filter"])
        assert await wall.repair() == [ALL[0]]
        assert await wall.repair() == []


async def test_a_machine_that_prints_rules_in_other_words_is_mended_once(kernel: Kernel) -> None:
    kernel.words = ("-m conntrack --ctstate NEW", "-m conntrack --ctstate NEW ")
    wall = Firewall()
    assert await wall.repair() == ALL
    assert await wall.repair() == []
    kernel.tables["iptables"]["*filter"].pop()
    assert await wall.repair() == [ALL[0]]


async def test_another_server_that_mends_the_same_at_the_same_moment_is_no_failure(kernel: Kernel) -> None:
    kernel.refuse = 2
    assert await Firewall().repair() == ALL


async def test_where_it_cannot_be_mended_nothing_may_start(kernel: Kernel) -> None:
    kernel.refuse = 99
    with pytest.raises(Unavailable, match=r"guard_failed.*holds the lock"):
        await Firewall().repair()
