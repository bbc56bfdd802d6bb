"""Which effect is tried with which fault at which point: the table of the README, and where each cell is tried.

    python -m tests.faults.matrix        prints the table

Rows are the code's own catalog of effects, columns its own crash points. A cell is tried, or `why_not` says why not; a test
refuses one that is neither, so an effect that is new has to have a story (`stories.py`) before the build is green.

SIGKILL kills a real server on the embedded engine; where that engine cannot have the effect, one on Docker. The other
faults are a simulated engine's, under a real server in the test's process, which is restarted after the fault. `no space`
is the log's disk; `error` and `lost reply` are of the next call of the engine, or of the builder; `dockerd dead` is every
call from that point on, until somebody has noticed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ahplat.crashpoints import POINTS
from ahplat.effects.catalog import EFFECTS
from events.builds import BuildFailed, BuildPushed
from events.domains import ServiceDomainCheckRequested
from events.event import Intent, wire_name
from events.services import ServiceInstanceHealthy
from events.tenants import TenantKept, TenantReactivated, TenantSuspended
from events.volumes import VolumePurgeRequested

FAULTS = {"SIGKILL": "K", "lost reply": "L", "error": "E", "no space": "S", "dockerd dead": "D"}
OF_A_CALL = ("lost reply", "error")

ON_DOCKER: dict[type[Intent], str] = {  # SIGKILL is tried there alone
    VolumePurgeRequested: "the embedded engine mounts no volumes",
    ServiceDomainCheckRequested: "with --dev, without which the embedded engine does not start, no record is looked for",
}
CALLS_NOTHING: dict[type[Intent], str] = {
    ServiceInstanceHealthy: "the built-in router is a view of the log: no call that could fail",
    BuildPushed: "it asks for a deployment, and forgets a folder",
    BuildFailed: "it only tells the service",
    TenantSuspended: "it only gives orders, which are effects of their own",
    TenantReactivated: "it only gives orders, which are effects of their own",
    TenantKept: "it only gives an order, which is an effect of its own",
    ServiceDomainCheckRequested: "it asks name servers, not the engine: `tests/names`",
}
NEVER_THERE: dict[type[Intent], tuple[tuple[str, ...], str]] = {
    TenantKept: (
        ("after-effect", "after-outcome"),
        "its order is accepted as its outcome, which calls the attempt off",
    ),
}
NO_CALL_LEFT = {
    "after-intent": "the attempt is recorded first: what is called next is called after the next point",
    "after-effect": "nothing is called any more, the outcome is recorded",
    "after-outcome": "the work is over: what is called next is another effect's",
    "between-commits": "nothing is called before the attempt",
}


@dataclass(frozen=True)
class Cell:
    """One effect, one point, one fault."""

    intent: type[Intent]
    point: str
    fault: str

    @property
    def id(self) -> str:
        return f"{wire_name(self.intent)}-{self.point}-{self.fault.replace(' ', '_')}"


def cells() -> Iterator[Cell]:
    """All of them, in the table's order."""
    for intent in EFFECTS:
        for point in POINTS:
            for fault in FAULTS:
                yield Cell(intent, point, fault)


def why_not(cell: Cell) -> str:
    """Why a cell is not tried; "" where it is."""
    points, why = NEVER_THERE.get(cell.intent, ((), ""))
    if cell.point in points:
        return why
    if cell.fault not in OF_A_CALL:
        return ""
    return CALLS_NOTHING.get(cell.intent, "") or NO_CALL_LEFT.get(cell.point, "")


def tried(*faults: str) -> list[Cell]:
    """The cells with these faults that are tried."""
    return [cell for cell in cells() if cell.fault in faults and not why_not(cell)]


def table() -> str:
    """The table in Markdown: of each effect and point the letters of the faults that are tried, and why others are not."""
    lines = [
        f"| effect | {' | '.join(POINTS)} |",
        f"|---|{'---|' * len(POINTS)}",
        *(f"| `{wire_name(intent)}`{_mark(intent)} | {' | '.join(_letters(intent))} |" for intent in EFFECTS),
        "",
        f"{', '.join(f'**{letter}** {fault}' for fault, letter in FAULTS.items())}. "
        "**L** and **E** are of a call, so they stand where one is made: "
        + "; ".join(f"{point}: {why}" for point, why in NO_CALL_LEFT.items())
        + ".",
        "",
        " ".join(f"\\*{number} {why}." for why, number in _notes().items()),
    ]
    return "\n".join(lines)


def _letters(intent: type[Intent]) -> list[str]:
    return [
        " ".join(letter for fault, letter in FAULTS.items() if not why_not(Cell(intent, point, fault)))
        for point in POINTS
    ]


def _notes() -> dict[str, int]:
    """The footnotes' texts, numbered as the table comes to them."""
    found = [note for intent in EFFECTS for note in _notes_of(intent)]
    return {note: number for number, note in enumerate(dict.fromkeys(found), 1)}


def _notes_of(intent: type[Intent]) -> list[str]:
    killed = [f"**K** on Docker: {ON_DOCKER[intent]}"] if intent in ON_DOCKER else []
    never = [f"Not after the effect: {NEVER_THERE[intent][1]}"] if intent in NEVER_THERE else []
    silent = [f"No **L**, no **E**: {CALLS_NOTHING[intent]}"] if intent in CALLS_NOTHING else []
    return killed + never + silent


def _mark(intent: type[Intent]) -> str:
    return "".join(f" \\*{_notes()[note]}" for note in _notes_of(intent))


if __name__ == "__main__":
    print(table())
