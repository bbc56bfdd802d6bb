"""What a service's container is made of, to the exact argument, and how Docker's answers read."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ahplat.engines import bridges, container, images, watch
from ahplat.engines.engine import Identity, Image, Mount, Network, Spec, identity_of
from ahplat.errors import Rejected, Unavailable

IDENTITY = Identity("inst", 3, "ten", "svc", "dep", 7, 1, 42, "hash", 2)
LABELS = {
    "ah.instance": "inst",
    "ah.epoch": "3",
    "ah.tenant": "ten",
    "ah.service": "svc",
    "ah.deployment": "dep",
    "ah.number": "7",
    "ah.replica": "1",
    "ah.position": "42",
    "ah.spec": "hash",
    "ah.attempt": "2",
}
NETWORK = Network("ah-tenant-ten", "ah0123456789abc", "10.128.0.64/26", "inst", "ten")
IMAGE = Image("hello:1", "sha256:ab", "hello@sha256:ab")
SPEC = Spec("ah-ten-svc-7-1", IDENTITY, {"B": "two=2", "PORT": "8080"}, 8080, 512, 1500, NETWORK)
RESOLVER = Path("/data/resolv/ah0.conf")
HARDENED = "rw,noexec,nosuid,nodev"


def answer(**changes: Any) -> dict[str, Any]:
    """What Docker answers about a container that runs, with some of it changed."""
    whole: dict[str, Any] = {
        "Id": "c0ffee",
        "Name": "/ah-ten-svc-7-1",
        "State": {"Status": "running", "ExitCode": 0, "OOMKilled": False},
        "Config": {"Env": ["PATH=/bin", "PORT=8080"], "Labels": {**LABELS, "of.the.image": "x"}},
        "HostConfig": {"NetworkMode": "ah-tenant-ten"},
        "NetworkSettings": {"Networks": {"ah-tenant-ten": {"IPAddress": "10.128.0.66"}}},
    }
    return whole | changes


def test_what_the_router_wants_to_see_never_overrides_who_an_instance_is() -> None:
    spec = msgspec.structs.replace(SPEC, labels={"traefik.enable": "true", "ah.tenant": "other"})
    labels = container.create_config(spec, IMAGE, Path("/run/resolv.conf"))["Labels"]
    assert labels == {"traefik.enable": "true"} | IDENTITY.labels()


def test_a_container_is_made_with_exactly_these_arguments() -> None:
    assert container.create_config(SPEC, IMAGE, Path("/data/resolv/ah0.conf")) == {
        "Image": "hello@sha256:ab",
        "Env": ["B=two=2", "PORT=8080"],
        "Labels": LABELS,
        "StopSignal": "SIGTERM",
        "StopTimeout": 10,
        "HostConfig": {
            "Runtime": "runsc",
            "Memory": 512 * 1024 * 1024,
            "MemorySwap": 512 * 1024 * 1024,
            "NanoCpus": 1_500_000_000,
            "PidsLimit": 256,
            "Ulimits": [{"Name": "nofile", "Soft": 65_536, "Hard": 65_536}],
            "ReadonlyRootfs": True,
            "Tmpfs": {
                "/tmp": f"{HARDENED},size=64m",
                "/run": f"{HARDENED},size=16m",
                "/var/run": f"{HARDENED},size=16m",
                "/var/tmp": f"{HARDENED},size=16m",
            },
            "Privileged": False,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges=true"],
            "RestartPolicy": {"Name": "no"},
            "PublishAllPorts": False,
            "NetworkMode": "ah-tenant-ten",
            "LogConfig": {"Type": "local", "Config": {"max-size": "10m", "max-file": "3"}},
            "Mounts": [
                {"Type": "bind", "Source": "/data/resolv/ah0.conf", "Target": "/etc/resolv.conf", "ReadOnly": True}
            ],
        },
    }


def test_what_a_database_needs_besides_is_exactly_this() -> None:
    usual: dict[str, Any] = container.create_config(SPEC, IMAGE, RESOLVER)
    spec = msgspec.structs.replace(
        SPEC,
        address="10.128.0.126",
        hosts={"orders.db.internal": "10.128.0.125"},
        mounts=(Mount("ah-db-1", "/data"),),
        command=("sh", "-c", "echo $X"),
        capabilities=("CHOWN", "SETUID"),
        stop_signal="SIGINT",
    )
    config: dict[str, Any] = container.create_config(spec, IMAGE, RESOLVER, volumes=["/data"])
    more = {
        "CapAdd": ["CHOWN", "SETUID"],
        "ExtraHosts": ["orders.db.internal:10.128.0.125"],
        "Mounts": [*usual["HostConfig"]["Mounts"], {"Type": "volume", "Source": "ah-db-1", "Target": "/data"}],
    }
    assert config["HostConfig"] == {**usual["HostConfig"], **more}
    assert config == {
        **usual,
        "HostConfig": config["HostConfig"],
        "StopSignal": "SIGINT",
        "Cmd": ["sh", "-c", "echo $X"],
        "NetworkingConfig": {
            "EndpointsConfig": {"ah-tenant-ten": {"IPAMConfig": {"IPv4Address": "10.128.0.126"}}},
        },
    }


def test_labels_of_a_database_name_no_service_and_read_back_as_its_own() -> None:
    identity = msgspec.structs.replace(IDENTITY, service="", deployment="", database="db")
    labels = identity.labels()
    assert labels == {
        **{key: value for key, value in LABELS.items() if key not in ("ah.service", "ah.deployment")},
        "ah.database": "db",
    }
    assert identity_of(labels) == identity
    assert not identity.same_as(IDENTITY)


def test_a_volume_of_the_image_gets_no_disk_of_the_host() -> None:
    assert container.tmpfs(["/data"]) == container.tmpfs([]) | {"/data": f"{HARDENED},size=64m"}


def test_a_volume_over_a_folder_of_ours_does_not_loosen_it() -> None:
    assert container.tmpfs(["/run"]) == container.tmpfs([])


def test_a_volume_where_our_resolver_is_does_not_hide_it() -> None:
    assert container.tmpfs(["/etc/resolv.conf", "/etc/x/../resolv.conf/"]) == container.tmpfs([])


def test_a_network_is_made_with_exactly_these_arguments() -> None:
    assert bridges.create_arguments(NETWORK) == {
        "name": "ah-tenant-ten",
        "driver": "bridge",
        "internal": True,
        "enable_ipv6": False,
        "check_duplicate": True,
        "options": {"com.docker.network.bridge.name": "ah0123456789abc"},
        "ipam": {"Driver": "default", "Config": [{"Subnet": "10.128.0.64/26", "IPRange": "10.128.0.64/27"}]},
        "labels": {"ah.instance": "inst", "ah.tenant": "ten"},
    }


def test_a_network_to_the_internet_is_made_with_exactly_these_arguments() -> None:
    outside = msgspec.structs.replace(NETWORK, name="ah-egress-ten", bridge="aho0123456789ab", internal=False)
    assert bridges.create_arguments(outside) == {
        **bridges.create_arguments(NETWORK),
        "name": "ah-egress-ten",
        "internal": False,
        "ipam": {"Driver": "default", "Config": [{"Subnet": "10.128.0.64/26"}]},
        "options": {
            "com.docker.network.bridge.name": "aho0123456789ab",
            "com.docker.network.bridge.enable_icc": "false",
        },
    }


def test_a_running_container_reads_as_an_instance_with_its_address_and_port() -> None:
    instance = container.instance_of(container.inspected(answer()))
    assert instance is not None
    assert (instance.id, instance.name, instance.identity) == ("c0ffee", "ah-ten-svc-7-1", IDENTITY)
    assert (instance.state, instance.host, instance.port) == ("running", "10.128.0.66", 8080)
    assert (instance.exit_code, instance.oom_killed, instance.health) == (None, False, None)


def test_a_container_that_ended_reads_with_its_exit_code_and_without_an_address() -> None:
    ended = answer(
        State={"Status": "exited", "ExitCode": 137, "OOMKilled": True, "Health": {"Status": "unhealthy"}},
        NetworkSettings={"Networks": {"ah-tenant-ten": {"IPAddress": ""}}},
    )
    instance = container.instance_of(container.inspected(ended))
    assert instance is not None
    assert (instance.state, instance.exit_code, instance.oom_killed) == ("exited", 137, True)
    assert (instance.host, instance.port, instance.health) == ("", 0, "unhealthy")


@pytest.mark.parametrize("missing", sorted(LABELS))
def test_a_container_whose_labels_are_not_whole_is_no_instance(missing: str) -> None:
    labels = {key: value for key, value in LABELS.items() if key != missing}
    assert container.instance_of(container.inspected(answer(Config={"Env": [], "Labels": labels}))) is None


@pytest.mark.parametrize("env", [["PORT="], ["PORT=0"], ["PORT=http"], [], None])
def test_a_container_without_a_port_is_reached_nowhere(env: list[str] | None) -> None:
    found = container.inspected(answer(Config={"Env": env, "Labels": LABELS}))
    assert container.address_of(found) == ("", 0)


@pytest.mark.parametrize(
    ("status", "networks", "is_off"),
    [
        ("running", {"ah-tenant-ten": {"IPAddress": "10.128.0.66"}}, False),
        ("running", {"ah-tenant-ten": {"IPAddress": ""}}, True),
        ("paused", {"another": {"IPAddress": "10.128.0.66"}}, True),
        ("exited", {"ah-tenant-ten": {"IPAddress": ""}}, False),
    ],
)
def test_what_runs_without_an_address_is_off_its_network(
    status: str, networks: dict[str, dict[str, str]], is_off: bool
) -> None:
    found = container.inspected(answer(State={"Status": status}, NetworkSettings={"Networks": networks}))
    assert container.off_its_network(found) == is_off


def test_a_container_fits_whichever_attempt_made_it() -> None:
    found = container.inspected(answer(Config={"Labels": {**LABELS, "ah.attempt": "9"}}))
    assert container.fit(found, IDENTITY) == "same"


@pytest.mark.parametrize("label", sorted(LABELS.keys() - {"ah.attempt", "ah.instance"}))
def test_a_container_of_ours_with_one_other_label_is_another_one(label: str) -> None:
    found = container.inspected(answer(Config={"Labels": {**LABELS, label: "99"}}))
    assert container.fit(found, IDENTITY) == "other"


@pytest.mark.parametrize("labels", [None, {}, {**LABELS, "ah.instance": "another"}])
def test_a_container_of_another_installation_or_of_none_is_a_strangers(labels: dict[str, str] | None) -> None:
    assert container.fit(container.inspected(answer(Config={"Labels": labels})), IDENTITY) == "stranger"


@pytest.mark.parametrize("label", ["ah.instance", "AH.Tenant", "traefik.enable", "Traefik.http.routers.x.rule"])
def test_an_image_with_labels_of_the_platform_or_the_router_is_refused(label: str) -> None:
    with pytest.raises(Rejected) as refused:
        images.refuse_foreign_labels("x", ["maintainer", label])
    assert refused.value.code == "image_forbidden"
    assert label in refused.value.detail


def test_an_image_with_labels_of_its_own_is_taken() -> None:
    images.refuse_foreign_labels("x", ["maintainer", "ahead", "org.traefik"])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("manifest for hello:9 not found: manifest unknown: manifest unknown", "image_not_found"),
        ("pull access denied for x, repository does not exist or may require 'docker login'", "image_not_found"),
        ("unauthorized: authentication required", "image_not_found"),
        ("no matching manifest for linux/amd64 in the manifest list entries", "image_unusable"),
        ("invalid reference format", "image_unusable"),
        ("write /var/lib/docker/tmp/x: no space left on device", "disk_full"),
        ("dial tcp: lookup registry-1.docker.io: no such host", "registry_unavailable"),
        ("dial tcp 127.0.0.1:5000: connect: connection refused", "registry_unavailable"),
        ("toomanyrequests: You have reached your pull rate limit", "registry_unavailable"),
        ("open /var/lib/docker/x: permission denied", "registry_unavailable"),
    ],
)
def test_a_failed_pull_says_whose_fault_it_was(text: str, code: str) -> None:
    error = images.pull_error("hello:9", text)
    assert (error.code, text in error.detail) == (code, True)


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        (404, "No such image: x", Rejected("image_not_found", "")),
        (400, "range of CPUs is from 0.01 to 2.00", Rejected("spec_unusable", "")),
        (400, "Unknown runtime specified runsc", Unavailable("engine_error", "")),
        (400, "bind source path does not exist: /data/resolv/ah1.conf", Unavailable("network_unavailable", "")),
        (404, "network ah-tenant-1 not found", Unavailable("network_unavailable", "")),
        (500, "whatever", Unavailable("engine_error", "")),
    ],
)
def test_a_container_that_cannot_be_made_says_whose_fault_it_was(status: int, text: str, error: Rejected) -> None:
    found = images.create_error("x", status, text)
    assert (type(found), found.code) == (type(error), error.code)


def test_an_event_of_a_strangers_container_is_no_hint() -> None:
    assert watch.service_in({"ah.instance": "another", "ah.service": "svc"}, "inst") is None
    assert watch.service_in({"ah.instance": "inst", "ah.environment": "env"}, "inst") is None


def test_the_end_of_a_log_is_bounded_in_lines_and_bytes() -> None:
    pieces = [b"x" * 1000 + b"\n"] * 50 + [b"last\n"]
    assert container.end_of(pieces, 1, 100) == "last\n"
    assert container.end_of(pieces, 50, 100) == ("x" * 94 + "\nlast\n")
    assert container.end_of(pieces, 0, 100) == ""


def test_the_end_of_a_log_that_is_no_text_is_still_within_its_bytes() -> None:
    assert len(container.end_of([b"\xff" * 5000], 10, 1000).encode()) <= 1000
