"""Which router there is, what its services' URLs look like, and what is said where it cannot be."""

from pathlib import Path
from typing import Any

import pytest

from ahplat.config import Config
from ahplat.errors import CannotStart
from ahplat.routers.choice import RESOLVER, choose_router, entry_of, kind_of, origin_of
from ahplat.routers.dynamic import Entry

FOLDER = Path("/dynamic")


def a_config(**settings: Any) -> Config:
    return Config(data_dir=Path("/data"), **settings)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, "builtin"),
        ({"traefik_config_dir": FOLDER}, "files"),
        ({"traefik_config_dir": FOLDER, "router": "builtin"}, "builtin"),
        ({"router": "labels"}, "labels"),
    ],
)
def test_files_are_chosen_where_the_folder_is_named(settings: dict[str, Any], kind: str) -> None:
    assert kind_of(a_config(**settings)) == kind


@pytest.mark.parametrize(
    ("settings", "origin"),
    [
        ({"dev": True}, ("http", ":1234")),
        ({}, ("https", "")),
        ({"traefik_config_dir": FOLDER}, ("http", "")),
        ({"traefik_config_dir": FOLDER, "public_port": 8000}, ("http", ":8000")),
        ({"traefik_config_dir": FOLDER, "acme_email": "a@b"}, ("https", "")),
        ({"router": "labels", "acme_email": "a@b", "public_port": 8443}, ("https", ":8443")),
    ],
)
def test_urls_name_the_port_that_the_router_answers_on(settings: dict[str, Any], origin: tuple[str, str]) -> None:
    assert origin_of(a_config(**settings), 1234) == origin


def test_certificates_come_from_the_resolver_of_the_static_configuration() -> None:
    assert entry_of(a_config(acme_email="a@b")) == Entry("websecure", RESOLVER)
    assert entry_of(a_config()) == Entry("web", "")
    static = Path(__file__).parents[2] / "deploy" / "traefik" / "traefik.yml"
    assert f"certificatesResolvers:\n  {RESOLVER}:\n    acme:" in static.read_text()


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"router": "files"}, "--traefik-config-dir"),
        ({"router": "labels", "engine": "embedded"}, "containers"),
        ({"router": "labels", "traefik_api": "https://x"}, "--traefik-api"),
        ({"router": "labels", "traefik_api": "nonsense"}, "--traefik-api"),
        ({"router_container": "traefik"}, "--router labels"),
        ({"router_container": "traefik", "traefik_config_dir": FOLDER}, "--router labels"),
    ],
)
def test_what_does_not_go_together_is_one_line(settings: dict[str, Any], remedy: str) -> None:
    with pytest.raises(CannotStart, match=remedy):
        choose_router(a_config(**settings))
