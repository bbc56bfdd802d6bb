"""What an operator can set, once, at start; `ahplat/cli/serve.py` fills it. Nothing reads the environment later."""

from pathlib import Path

from msgspec import Struct

from ahplat import limits

MIN_TOKEN_CHARACTERS = 32
DATA_DIR = Path("/var/lib/ah")
BACKUPS = Path("backups", "platform")  # in the data folder
DATABASE_BACKUPS = Path("backups", "databases")  # there, too
TRAEFIK_API = "http://127.0.0.1:8099"


class Config(Struct, frozen=True, kw_only=True):
    """All settings; the defaults are those of `ah --help`."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8080
    engine: str = "auto"  # docker, embedded, auto: docker where it answers with runsc, else embedded with --dev
    docker_host: str = ""
    dev: bool = False
    open_registration: bool = False
    domain: str = "localhost"
    bootstrap_tokens: tuple[str, ...] = ()
    allow_registries: frozenset[str] = frozenset()
    registry: str = "127.0.0.1:5000"  # where builds put their images, and what base images are mirrored from
    registry_config: Path | None = None  # of that registry, where ah is to give back what removed images took in it
    build_isolation: str = "gvisor"  # gvisor, none
    build_memory_mb: int = limits.BUILD_MEMORY_MB
    build_cpu_milli: int = limits.BUILD_CPU_MILLI
    build_timeout_s: float = limits.BUILD_DEADLINE_S
    build_nameservers: tuple[str, ...] = limits.BUILD_NAMESERVERS
    allow_git_hosts: frozenset[str] = frozenset()  # HOST or HOST:PORT
    trusted_proxies: frozenset[str] = frozenset({"127.0.0.1", "::1"})
    router: str = "auto"  # builtin, files, labels, auto: files where traefik_config_dir is set, else builtin
    traefik_config_dir: Path | None = None
    traefik_api: str = TRAEFIK_API
    router_container: str = ""  # of --router labels, where Traefik is a container of this Docker
    acme_email: str = ""
    public_port: int = 0  # of the services' URLs; 0: what follows from the router
    tenant_pool: str = "10.128.0.0/12"
    dns_upstreams: tuple[tuple[str, int], ...] = ()  # () is whom the host's resolv.conf names
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 9464  # 0: no listener of its own
    rate_limits: bool = True
    drain_s: float = limits.DRAIN_S
    deploy_timeout_s: float = limits.DEPLOY_TIMEOUT_S
    reconcile_s: float = limits.RECONCILE_S
    postgres_image: str = "postgres:16-alpine"
    redis_image: str = "redis:7-alpine"
    db_retention_s: float = limits.DB_RETENTION_S
    keep_suspended_s: float = limits.KEEP_SUSPENDED_S
    disk_warn_percent: float = limits.DISK_WARN_PERCENT
    disk_full_percent: float = limits.DISK_FULL_PERCENT
    backup_to: Path | None = None  # None: in the data folder
    backup_every_s: float = 0  # 0: never
    accept_clock: bool = False  # start however long ago the log's last event was
    crash_at: str = ""  # tests only: see ahplat/crashpoints.py

    @property
    def backup_folder(self) -> Path:
        """Where pairs of log and keys go."""
        return self.backup_to or self.data_dir / BACKUPS
