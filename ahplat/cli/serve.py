"""The server from the command line: its options, its checks before start, its signals."""

import asyncio
import ipaddress
import logging
import os
import re
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import click
import uvloop

from ahplat import limits, log_lines
from ahplat.builders.network import is_open
from ahplat.cli import notify
from ahplat.cli.folders import personal_dir
from ahplat.config import DATA_DIR, MIN_TOKEN_CHARACTERS, TRAEFIK_API, Config
from ahplat.errors import CannotStart
from ahplat.main import start
from ahplat.names.upstream import address_of

logger = logging.getLogger("ahplat")

EXIT_CANNOT_START = 2
EXIT_BROKEN = 3
TOKENS = "AH_BOOTSTRAP_TOKEN"
_REMEDY = "make one with `openssl rand -hex 32`"


def _option(name: str, text: str, **how: Any) -> click.Option:
    return click.Option([name], help=text, show_default="default" in how, **how)


SETTINGS: list[click.Parameter] = [
    _option("--dev", "For trying out: plain http, the embedded engine allowed.", is_flag=True),
    _option("--open-registration", "With --dev: anybody may register a tenant.", is_flag=True),
    _option("--host", "Address to listen on.", default="127.0.0.1"),
    _option("--port", "0 is any free one.", type=click.IntRange(0, 65_535), default=8080),
    _option(
        "--data-dir",
        f"Where log, keys and views are kept.  [default: {DATA_DIR}; with --dev ~/.local/share/ah]",
        type=click.Path(path_type=Path),
    ),
    _option(
        "--engine",
        "Where services run. auto: Docker with runsc, else (with --dev) as processes of this machine.",
        type=click.Choice(["auto", "docker", "embedded"]),
        default="auto",
    ),
    _option("--docker-host", "Docker's address.", default="", envvar=["AH_DOCKER_HOST", "DOCKER_HOST"]),
    _option("--domain", "Services are at <service>.<tenant>.<domain>.", default="localhost"),
    _option("--allow-registry", "Also take images from HOST. Repeatable.", multiple=True, metavar="HOST"),
    _option(
        "--registry-config",
        "The configuration of the registry that builds push to: its `garbage-collect` is run after images were removed.",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
    ),
    _option(
        "--allow-git-host",
        "Also build repositories of HOST[:PORT]; with --dev over http where that is this machine. Isolated builds reach"
        " a name's public addresses only; an address that is given here is reached as this machine reaches it. Repeatable.",
        multiple=True,
        metavar="HOST",
    ),
    _option(
        "--build-isolation",
        "What runs the steps of builds. none: as root on this machine's kernel, for who trusts all tenants.",
        type=click.Choice(["gvisor", "none"]),
        default="gvisor",
    ),
    _option(
        "--build-memory-mb",
        "Of one tenant's builds, with all that runs in them.",
        type=click.IntRange(256, 1_048_576),
        default=limits.BUILD_MEMORY_MB,
    ),
    _option(
        "--build-cpus",
        "Cores that they may use; fractions are allowed.",
        type=click.FloatRange(0.1, 1_024),
        default=limits.BUILD_CPU_MILLI / 1_000,
    ),
    _option(
        "--build-timeout-s",
        "How long one build may take in all.",
        type=click.FloatRange(1, limits.BUILD_DEADLINE_AT_MOST_S),
        default=float(limits.BUILD_DEADLINE_S),
    ),
    _option(
        "--build-dns",
        "Asked for names by builds; builds reach no private addresses. Repeatable."
        f"  [default: {', '.join(limits.BUILD_NAMESERVERS)}]",
        multiple=True,
        metavar="ADDRESS",
    ),
    _option(
        "--trusted-proxy",
        "Believe its X-Forwarded-*; loopback always is. Repeatable.",
        multiple=True,
        metavar="ADDRESS",
    ),
    _option(
        "--router",
        "What brings requests to services. auto: Traefik by files where --traefik-config-dir is set, else builtin.",
        type=click.Choice(["auto", "builtin", "files", "labels"]),
        default="auto",
    ),
    _option(
        "--traefik-config-dir",
        "The folder that Traefik watches; it belongs to ah alone.",
        type=click.Path(path_type=Path),
    ),
    _option("--traefik-api", "Where Traefik's API answers.", default=TRAEFIK_API, metavar="URL"),
    _option(
        "--router-container",
        "With --router labels: Traefik is the container of that name, and joins tenants' networks.",
        default="",
        metavar="NAME",
    ),
    _option("--acme-email", "Services get certificates: Traefik's ACME account. Needs --domain.", default=""),
    _option(
        "--public-port",
        "Of services' URLs. 0: the API's own with the built-in router, else 80, or 443 with --acme-email.",
        type=click.IntRange(0, 65_535),
        default=0,
    ),
    _option("--tenant-pool", "Tenants' networks are cut from it, a /25 each.", default="10.128.0.0/12", metavar="CIDR"),
    _option(
        "--dns-upstream",
        "Asked for names of the internet, by services with egress and for the records that prove domains;"
        " else whom /etc/resolv.conf names. Repeatable.",
        multiple=True,
        metavar="ADDRESS[:PORT]",
    ),
    _option(
        "--metrics-listen",
        "Prometheus scrapes here, without a key; `off` is nowhere. With --dev it is on the API's port instead.",
        default="127.0.0.1:9464",
        metavar="HOST:PORT",
    ),
    _option(
        "--drain-s",
        "How long an old instance goes on after the route has moved.",
        type=click.FloatRange(0, limits.DRAIN_AT_MOST_S),
        default=limits.DRAIN_S,
    ),
    _option(
        "--deploy-timeout-s",
        "How long a started deployment may take to be healthy.",
        type=click.FloatRange(0.1, 3_600),
        default=float(limits.DEPLOY_TIMEOUT_S),
    ),
    _option(
        "--reconcile-s",
        "How often what runs is compared with what should, besides at once on the engine's events.",
        type=click.FloatRange(1, 3_600),
        default=limits.RECONCILE_S,
    ),
    _option("--postgres-image", "What databases of type postgres run.", default="postgres:16-alpine"),
    _option("--redis-image", "What databases of type redis run.", default="redis:7-alpine"),
    _option(
        "--db-retention",
        "For how many seconds the data of a deleted database is kept.",
        type=click.FloatRange(0, 366 * 86_400),
        default=limits.DB_RETENTION_S,
    ),
    _option(
        "--keep-suspended",
        "For how many seconds a suspended tenant is kept; then it is erased.",
        type=click.FloatRange(0, 10 * 366 * 86_400),
        default=limits.KEEP_SUSPENDED_S,
    ),
    _option(
        "--backup-every",
        f"Seconds between two backups of log and keys; 0 is never.  [default: {limits.BACKUP_EVERY_S:.0f}; with --dev 0]",
        type=click.FloatRange(0, 366 * 86_400),
    ),
    _option(
        "--backup-to",
        "Where those go; better on another disk.  [default: DATA_DIR/backups/platform]",
        type=click.Path(path_type=Path),
    ),
    _option(
        "--disk-warn",
        "How full a disk may be, in percent, until it is warned of.",
        type=click.FloatRange(1, 100),
        default=limits.DISK_WARN_PERCENT,
    ),
    _option(
        "--disk-full",
        "… until no deployments, builds and databases are begun.",
        type=click.FloatRange(1, 100),
        default=limits.DISK_FULL_PERCENT,
    ),
    _option(
        "--accept-clock",
        "Start though the log's last event is more than 30 days ago: the server was off, and the clock is right.",
        is_flag=True,
    ),
    _option(
        "--log-level", "How much is said.", type=click.Choice(["debug", "info", "warning", "error"]), default="info"
    ),
    _option(
        "--log-format",
        "How: lines for people, or one JSON object each.",
        type=click.Choice(["human", "json"]),
        default="human",
    ),
    click.Option(["--rate-limits/--no-rate-limits"], default=True, hidden=True),
]


def serve(settings: dict[str, Any]) -> None:
    """Serves until SIGTERM or Ctrl-C. Exits 2 with one line when something is missing."""
    log_lines.set_up(settings["log_level"], settings["log_format"])
    _raise_open_files()
    try:
        config = configured(settings)
        os.environ.pop(TOKENS, None)  # what the server starts would inherit it
        uvloop.run(_serve(config, settings["log_format"], notify.manager()))
    except CannotStart as error:
        _say(f"{error}", settings["log_format"], logging.CRITICAL)
        sys.exit(EXIT_CANNOT_START)
    except KeyboardInterrupt:
        sys.exit(130)


def _raise_open_files() -> None:
    """As many open files as we may have: each connection is one, and the usual limit is 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def configured(settings: dict[str, Any]) -> Config:
    """The settings as a Config. Raises CannotStart for those that do not go together."""
    check(settings)
    return config_of(settings)


def bootstrap_tokens() -> tuple[str, ...]:
    """The operator's, from the environment."""
    return tuple(token for token in os.environ.get(TOKENS, "").split(",") if token)


def check(settings: dict[str, Any]) -> None:
    """Raises CannotStart for settings that do not go together, or lack a token."""
    tokens = bootstrap_tokens()
    if any(len(token) < MIN_TOKEN_CHARACTERS for token in tokens):
        raise CannotStart(f"AH_BOOTSTRAP_TOKEN is shorter than {MIN_TOKEN_CHARACTERS} characters: {_REMEDY}")
    if not tokens and not settings["dev"]:
        raise CannotStart(f"AH_BOOTSTRAP_TOKEN is not set: {_REMEDY}, or try ah with --dev")
    if settings["open_registration"] and not settings["dev"]:
        raise CannotStart("--open-registration goes with --dev only: anybody could register")
    if settings["acme_email"] and settings["domain"].lower().strip(".").rpartition(".")[2] == "localhost":
        raise CannotStart("--acme-email wants --domain: nobody issues certificates for localhost")


def config_of(settings: dict[str, Any]) -> Config:
    """The settings as a Config, each looked at by itself. Raises CannotStart."""
    metrics_host, metrics_port = _address(settings["metrics_listen"])
    return Config(
        data_dir=(settings["data_dir"] or (personal_dir() if settings["dev"] else DATA_DIR)).absolute(),
        host=settings["host"],
        port=settings["port"],
        engine=settings["engine"],
        docker_host=settings["docker_host"],
        dev=settings["dev"],
        open_registration=settings["open_registration"],
        domain=_domain(settings["domain"]),
        bootstrap_tokens=bootstrap_tokens(),
        allow_registries=frozenset(settings["allow_registry"]),
        registry_config=settings["registry_config"] and settings["registry_config"].absolute(),
        allow_git_hosts=frozenset(host.lower() for host in settings["allow_git_host"]),
        build_isolation=settings["build_isolation"],
        build_memory_mb=settings["build_memory_mb"],
        build_cpu_milli=round(settings["build_cpus"] * 1_000),
        build_timeout_s=settings["build_timeout_s"],
        build_nameservers=tuple(_nameserver(text) for text in settings["build_dns"]) or limits.BUILD_NAMESERVERS,
        trusted_proxies=frozenset({"127.0.0.1", "::1", *settings["trusted_proxy"]}),
        router=settings["router"],
        traefik_config_dir=settings["traefik_config_dir"] and settings["traefik_config_dir"].absolute(),
        traefik_api=settings["traefik_api"],
        router_container=settings["router_container"],
        acme_email=settings["acme_email"],
        public_port=settings["public_port"],
        tenant_pool=_pool(settings["tenant_pool"]),
        dns_upstreams=tuple(_upstream(text) for text in settings["dns_upstream"]),
        metrics_host=metrics_host,
        metrics_port=metrics_port,
        rate_limits=settings["rate_limits"],
        drain_s=settings["drain_s"],
        deploy_timeout_s=settings["deploy_timeout_s"],
        reconcile_s=settings["reconcile_s"],
        postgres_image=settings["postgres_image"],
        redis_image=settings["redis_image"],
        db_retention_s=settings["db_retention"],
        keep_suspended_s=settings["keep_suspended"],
        backup_to=settings["backup_to"] and settings["backup_to"].absolute(),
        backup_every_s=_backup_every(settings),
        disk_warn_percent=settings["disk_warn"],
        disk_full_percent=settings["disk_full"],
        accept_clock=settings["accept_clock"],
        crash_at=os.environ.get("AH_CRASH_AT", ""),
    )


def _backup_every(settings: dict[str, Any]) -> float:
    if settings["backup_every"] is not None:
        return float(settings["backup_every"])
    return 0.0 if settings["dev"] else limits.BACKUP_EVERY_S


def _domain(text: str) -> str:
    domain = text.lower().strip(".")
    if not re.fullmatch(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})*", domain):
        raise CannotStart(f"--domain is {text!r}: expected a name such as apps.example.org")
    return domain


def _address(text: str) -> tuple[str, int]:
    if text in ("", "off"):
        return "", 0
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise CannotStart(f"--metrics-listen is {text!r}: expected HOST:PORT, such as 127.0.0.1:9464")
    return host.strip("[]"), int(port)


def _pool(text: str) -> str:
    try:
        pool = ipaddress.ip_network(text)
    except ValueError as error:
        raise CannotStart(f"--tenant-pool is {text!r}: expected a network such as 10.128.0.0/12 ({error})") from error
    if pool.version != 4 or pool.prefixlen > 25 or not pool.is_private:
        raise CannotStart(f"--tenant-pool is {text}: expected a private IPv4 network of at least a /25")
    return str(pool)


def _nameserver(text: str) -> str:
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError as error:
        raise CannotStart(f"--build-dns is {text!r}: expected an IPv4 address ({error})") from error
    if not is_open(address):
        raise CannotStart(f"--build-dns is {text}: expected a public address, builds reach no others")
    return str(address)


def _upstream(text: str) -> tuple[str, int]:
    try:
        return address_of(text)
    except ValueError as error:
        raise CannotStart(f"--dns-upstream is {text!r}: expected ADDRESS or ADDRESS:PORT ({error})") from error


def _say(text: str, log_format: str, level: int = logging.INFO) -> None:
    """A word to whoever started the server; who collects JSON gets nothing else."""
    if log_format == "json":
        logger.log(level, "%s", text)
    else:
        click.echo(f"ah: {text}", err=True)


async def _serve(config: Config, log_format: str, manager: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    starting = asyncio.ensure_future(start(config))
    waiting = asyncio.ensure_future(stop.wait())
    await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():  # Ctrl-C while the views are being built
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return
    running = await starting
    engine = running.app.engine.name
    _say(f"serving on http://{config.host}:{running.app.port}, engine {engine}, data in {config.data_dir}", log_format)
    notify.tell(manager, "READY=1")
    ended = asyncio.ensure_future(running.ended.wait())
    await asyncio.wait({waiting, ended}, return_when=asyncio.FIRST_COMPLETED)
    notify.tell(manager, "STOPPING=1")
    await running.close()
    if running.failure:
        _say(f"stopped: {running.failure}", log_format, logging.CRITICAL)
        sys.exit(EXIT_BROKEN)
