"""`ah usage`: what tenants used, beside a server or without one, as a table or as CSV, with prices where they are given."""

import csv
import sys
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import apsw
import click
from msgspec import Struct

from ahplat.api.activity import moment
from ahplat.cli.folders import data_dir_option
from ahplat.cli.looking import EXIT_UNREADABLE, failed
from ahplat.clock import SystemClock
from ahplat.errors import Rejected
from ahplat.pricing import Prices, PricesBad, read_prices
from events.catalog import decode
from events.database import copy_database, open_reader
from events.log import read_all
from events.platform import LogCreated
from events.usage import STORED
from projections.metering import HOUR_S, Figures, figures_of, open_metering
from projections.usage import payers

WINDOWS = {"hourly": HOUR_S, "daily": 24 * HOUR_S, "whole": 0}
DEFAULT_SPAN_S = 30 * 24 * HOUR_S
COLUMNS = (
    "tenant_id",
    "tenant",
    "from",
    "until",
    "kind",
    "id",
    "running_seconds",
    "reserved_mb_seconds",
    "reserved_cpu_seconds",
    "cpu_seconds",
    "memory_mb_seconds",
    "network_rx_bytes",
    "network_tx_bytes",
    "build_seconds",
    *(f"{kind}_byte_seconds" for kind in STORED),
)
_file = click.Path(path_type=Path, exists=True, dir_okay=False)


class Line(Struct, frozen=True):
    """One line of what is told: whose, and what."""

    tenant_id: str
    label: str
    figures: Figures


@click.command()
@data_dir_option("events.db")
@click.option("--tenant", default="", help="Only this one: its id, or its part of host names.")
@click.option("--since", default="", help="Unix seconds, or 2026-01-31T12:00:00Z.  [default: 30 days before --until]")
@click.option("--until", default="", help="The first moment that does not count.  [default: now]")
@click.option("--period", type=click.Choice(list(WINDOWS)), default="whole", show_default=True)
@click.option("--csv", "as_csv", is_flag=True, help="Every figure, exact, for a spreadsheet.")
@click.option("--prices", type=_file, help="A JSON file: currency, and a price for each unit. Adds what it comes to.")
def usage(data_dir: Path, tenant: str, since: str, until: str, period: str, as_csv: bool, prices: Path | None) -> None:
    """What each service and database used, and what was kept for it. Reads the log; the server need not run.

    Reserved is what was kept while it ran, to the second. Used is what was measured; of the hour that is not over yet
    only what ended in it is known. Storage is bytes times seconds.

    \b
    prices.json:  {"currency": "EUR", "memory_gb_hour_reserved": "0.004", "cpu_hour_used": "0.01",
                   "build_minute": "0.002", "network_gb_out": "0.05", "storage_gb_month": "0.10"}
    """
    try:
        now = SystemClock().now_us() // 1_000_000
        end = min(moment(until, "--until") or now, now)
        begin = moment(since, "--since") or end - DEFAULT_SPAN_S
        asked = read_prices(prices) if prices else None
        lines = list(_lines(data_dir / "events.db", begin, end, WINDOWS[period], tenant))
    except (PricesBad, Rejected) as error:
        failed(error.detail if isinstance(error, Rejected) else str(error))
    except (apsw.Error, OSError) as error:
        failed(f"{data_dir} cannot be read ({error}): is it the server's --data-dir?", EXIT_UNREADABLE)
    if tenant and not lines:
        failed(f"there is no tenant {tenant}, or nothing of it in this time")
    (_write_csv if as_csv else _write_table)(lines, asked)


def _lines(log_path: Path, since: int, until: int, window_s: int, wanted: str) -> Iterator[Line]:
    """From a copy of metering.db that is brought up to the log's end: a server that runs is not disturbed."""
    log = open_reader(log_path)
    first = read_all(log, 0, 1)[0]
    created = decode(first.type, first.data)
    assert isinstance(created, LogCreated), first
    with tempfile.TemporaryDirectory(prefix="ah-usage-") as folder:
        copy = Path(folder) / "metering.db"
        if (there := log_path.with_name("metering.db")).exists():
            copy_database(there, copy)
        metering = open_metering(copy, log, created.installation, lambda done, of: None)
        for tenant_id, label in payers(metering.db).items():
            if wanted in ("", tenant_id, label):
                for figures in figures_of(metering.db, tenant_id, since, until, window_s):
                    yield Line(tenant_id, label, figures)
        metering.close()
    log.close()


def _write_csv(lines: list[Line], prices: Prices | None) -> None:
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow((*COLUMNS, *(("price", "currency") if prices else ())))
    for line in lines:
        of = line.figures
        row: list[object] = [line.tenant_id, line.label, of.at, of.until, of.kind, of.resource_id, of.running_s]
        row += [of.reserved_mb_s, of.reserved_milli_s / 1_000, of.cpu_us / 1_000_000, of.memory_mb_s]
        row += [of.rx_bytes, of.tx_bytes, of.build_s, *(of.stored_byte_s.get(kind, 0) for kind in STORED)]
        out.writerow((*row, *((f"{prices.of(of):.6f}", prices.currency) if prices else ())))


def _write_table(lines: list[Line], prices: Prices | None) -> None:
    click.echo(
        f"{'tenant':16} {'what':42} {'running':>10} {'reserved':>12} {'used':>12} {'cpu':>9} {'out':>10}"
        + (f" {prices.currency:>10}" if prices else "")
    )
    total = Decimal(0)
    for line in lines:
        of = line.figures
        what = f"{of.kind} {of.resource_id}" if of.resource_id else of.kind
        cells = f"{_hours(of.running_s):>10} {_gb_hours(of.reserved_mb_s):>12} {_gb_hours(of.memory_mb_s):>12}"
        cells += f" {of.cpu_us / 1e6:>7.1f} s {of.tx_bytes / 1e6:>7.1f} MB"
        if of.kind == "storage":
            held = sum(of.stored_byte_s.values()) / (of.until - of.at) / 1e6
            cells = f"{held:.1f} MB on average".rjust(len(cells))
        priced = f" {prices.of(of):>10.4f}" if prices else ""
        total += prices.of(of) if prices else 0
        click.echo(f"{line.label[:16]:16} {what:42} {cells}{priced}")
    if prices:
        click.echo(f"{'':109}{total:>10.4f}")


def _hours(seconds: int) -> str:
    return f"{seconds / HOUR_S:.2f} h"


def _gb_hours(mb_s: int) -> str:
    return f"{mb_s / 1_024 / HOUR_S:.3f} GB·h"
