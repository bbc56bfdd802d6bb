"""Who one is: login, register, whoami, usage."""

import sys
from typing import Any

import click

from ahplat.ahc import settings
from ahplat.ahc.failures import CONFLICT, UNKNOWN, USAGE, Failure
from ahplat.ahc.screen import time_of
from ahplat.ahc.session import Session, changes, looks_back, pass_session, reads
from ahplat.ahc.settings import Settings


@click.command()
@click.argument("url", default="")
@click.option("--key", "key_from", metavar="FILE", help="Read the key from a file; - is stdin. Else it is asked for.")
@reads
@pass_session
def login(session: Session, url: str, key_from: str | None) -> None:
    """Remember a server and a key, after asking the server whose it is.

    \b
      ahc login https://api.example.org
      echo "$KEY" | ahc login https://api.example.org --key -

    They are kept in ~/.ah/config.json, which only you can read. Without URL the server stays the one that is known.
    """
    environ = session.environ
    kept = settings.stored(settings.path_of(environ))
    known = url or environ.get("AH_URL", "") or kept.url
    where = settings.wanted_url(Settings(known))
    key = environ.get("AH_KEY", "") if key_from is None else _key_in(key_from)
    if not key:
        if not sys.stdin.isatty():
            raise Failure(USAGE, "no key was given", "pipe it in with --key -, or set AH_KEY")
        key = click.prompt("Key", hide_input=True, err=True)
    found = session.client_of(where, key.strip()).read("/v1/whoami")
    path = settings.path_of(environ)
    settings.store(path, Settings(where, key.strip()))
    session.screen.result(
        found, lambda: session.screen.line(f"{where}: {found['tenant']['name']}, remembered in {path}")
    )


def _key_in(name: str) -> str:
    try:
        with click.open_file(name) as file:
            return str(file.read(1_000)).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(USAGE, f"{name} cannot be read: {error}", "--key - reads stdin") from error


@click.command()
@click.argument("name")
@click.argument("email")
@click.option("--url", default="", help="The server; else AH_URL, or the one that is known.")
@click.option("--bootstrap-token", envvar="AH_BOOTSTRAP_TOKEN", help="The operator's; better as AH_BOOTSTRAP_TOKEN.")
@click.option(
    "--save/--no-save", default=True, help="Remember the server and the new key (the default), or only print it."
)
@click.option("--replace", is_flag=True, help="Also where another key is remembered, which is forgotten then.")
@changes
@pass_session
def register(
    session: Session, name: str, email: str, url: str, bootstrap_token: str | None, save: bool, replace: bool
) -> None:
    """Make a tenant, and remember its first key.

    \b
      AH_BOOTSTRAP_TOKEN=… ahc register acme me@example.org --url https://api.example.org
    """
    path = settings.path_of(session.environ)
    kept = settings.stored(path)
    where = settings.wanted_url(Settings(url or session.environ.get("AH_URL", "") or kept.url))
    if save and kept.key and not replace and not session.dry_run:
        raise Failure(CONFLICT, f"{path} holds a key already", "--replace forgets it, --no-save leaves it alone")
    session.client = session.client_of(where, "")
    fields = {"X-Bootstrap-Token": bootstrap_token} if bootstrap_token else {}
    reply = session.order("POST", "/v1/tenants/register", {"name": name, "email": email}, fields=fields)
    _remember(session, where, reply.json, save)


def _remember(session: Session, where: str, found: Any, save: bool) -> None:
    """The key is told once: whatever happens now, it is shown or kept."""
    screen, path = session.screen, settings.path_of(session.environ)
    if "api_key" not in found:
        raise Failure(
            UNKNOWN,
            f"tenant {found['tenant_id']} is there, but the answer with its key was lost",
            "POST /v1/auth/recover makes another key for its address",
            found | {"detail": "the answer with the key was lost", "code": "secret_expired"},
        )
    is_kept = False
    if save:
        try:
            settings.store(path, Settings(where, found["api_key"]))
            is_kept = True
        except Failure as failure:
            screen.warn(failure.what)
    told = f"key       remembered in {path}" if is_kept else f"key       {found['api_key']}"

    def show() -> None:
        screen.line(f"tenant    {found['tenant_id']}")
        screen.line(told)

    screen.result(found, show)


@click.command()
@reads
@pass_session
def whoami(session: Session) -> None:
    """Show whose key this is, what it may do, and what is left."""
    found = session.client.read("/v1/whoami")
    tenant, key = found["tenant"], found["key"]
    left = found.get("quotas_left", {})
    pairs = [
        ("server", session.client.url),
        ("tenant", f"{tenant.get('name')} ({tenant['id']})"),
        ("status", tenant["status"]),
        ("key", f"{key['name']} ({key['prefix']}…)"),
        ("scopes", ", ".join(found["scopes"])),
        ("expires", time_of(key.get("expires_at")) or "never"),
        ("left", ", ".join(f"{name} {value}" for name, value in left.items())),
    ]
    session.screen.result(found, lambda: session.screen.facts(pairs))


@click.command()
@click.option("--metrics", is_flag=True, help="What was used hour by hour, in place of what is held.")
@click.option("--period", type=click.Choice(["hourly", "daily"]), default="hourly", show_default=True)
@click.option("--since", default="", help="Unix seconds, or as in 2026-01-31T12:00:00Z.")
@looks_back
@reads
@pass_session
def usage(session: Session, metrics: bool, period: str, since: str) -> None:
    """Show what is used of each quota, or over time.

    \b
      ahc usage
      ahc usage --metrics --period daily
      ahc usage --as-of 2026-01-31T12:00:00Z
    """
    screen = session.screen
    if since and not metrics:
        raise click.UsageError("--since wants --metrics, too: what is held is held now")
    if metrics:
        rows = session.client.read("/v1/tenant/usage/metrics", period=period, since=since)
        heads = ("FROM", "OF", "RUNNING S", "CPU S", "MB·S", "RX BYTES", "TX BYTES")
        names = ("running_seconds", "cpu_seconds", "memory_mb_seconds", "network_rx_bytes", "network_tx_bytes")
        cells = [
            (
                time_of(row["timestamp"]),
                row.get("service_id") or row.get("database_id") or "storage",
                *(row.get(name, "") for name in names),
            )
            for row in rows
        ]
        screen.result(rows, lambda: screen.table(heads, cells, "nothing was used then"))
        return
    found = session.client.read("/v1/tenant/usage")
    held = [(name, found[name]["used"], found[name]["max"]) for name in ("services", "databases", "api_keys")]
    held += [(name, found[f"used_{name}"], found[name]) for name in ("memory_mb", "cpu_cores", "disk_gb")]
    screen.result(found, lambda: screen.table(("QUOTA", "USED", "OF"), held, ""))
