"""Which router brings requests to services here, and what their URLs look like with it."""

from urllib.parse import urlsplit

from ahplat.config import Config
from ahplat.errors import CannotStart
from ahplat.routers.builtin import BuiltinRouter
from ahplat.routers.dynamic import Entry
from ahplat.routers.files import FilesRouter
from ahplat.routers.labels import LabelsRouter
from ahplat.routers.router import Router
from ahplat.routers.traefik import TraefikApi

RESOLVER = "ah"  # the certificates' resolver, as deploy/traefik has it


def choose_router(config: Config) -> Router:
    """The router that was asked for. Raises CannotStart with the remedy."""
    kind = kind_of(config)
    if config.router_container and kind != "labels":
        raise CannotStart("--router-container wants --router labels: a router told by files is on the host's network")
    if kind == "builtin":
        return BuiltinRouter()
    url = urlsplit(config.traefik_api)
    if url.scheme != "http" or not url.hostname:
        raise CannotStart(f"--traefik-api is {config.traefik_api!r}: expected such as http://127.0.0.1:8099")
    api, entry = TraefikApi(config.traefik_api), entry_of(config)
    if kind == "labels":
        if config.engine == "embedded":
            raise CannotStart("--router labels wants containers: the embedded engine has none")
        return LabelsRouter(api, entry)
    if config.traefik_config_dir is None:
        raise CannotStart("--router files wants --traefik-config-dir: the folder that Traefik watches")
    router = FilesRouter(config.traefik_config_dir, api, entry)
    router.prepare()
    return router


def kind_of(config: Config) -> str:
    """builtin, files or labels."""
    if config.router == "auto":
        return "files" if config.traefik_config_dir else "builtin"
    return config.router


def entry_of(config: Config) -> Entry:
    """Plain http, or https with certificates."""
    return Entry("websecure", RESOLVER) if config.acme_email else Entry()


def origin_of(config: Config, api_port: int) -> tuple[str, str]:
    """(scheme, ":port" or "") of the services' URLs."""
    if kind_of(config) == "builtin" and not config.public_port:
        return ("http", f":{api_port}") if config.dev else ("https", "")  # as the proxy in front has it
    scheme, default = ("https", 443) if config.acme_email else ("http", 80)
    port = config.public_port or default
    return scheme, "" if port == default else f":{port}"
