"""What is put on the machine, in which version: the one place to change when a part moves on."""

GVISOR = "gvisor.dev/gvisor/runsc@v0.0.0-20260905035102-160fafc42237"  # that commit, and its dependencies by its go.sum
TRAEFIK = "github.com/traefik/traefik/v3@v3.6.12"  # newer ones do not build with the Go proxy alone
BUILDKIT = "github.com/moby/buildkit@v0.34.2"
LITESTREAM = "github.com/benbjohnson/litestream/cmd/litestream@v0.5.18"
NIXPACKS = "1.41.0"
NIXPACKS_IMAGE = "railwayapp/nixpacks:ubuntu-1745885067"  # that this version builds on, of ghcr.io
GO = (1, 26)  # what the go.mod of that version asks for
DOCKERD = (20, 10)  # at least; Debian 12 brings 20.10.24
SUITE = "bookworm"  # of Debian, for the images

# program that has to be there -> package of Debian or Ubuntu that brings it
PROGRAMS = {
    "dockerd": "docker.io",
    "docker": "docker.io",
    "containerd": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "ip": "iproute2",
    "debootstrap": "debootstrap",
    "git": "git",
    "sysctl": "procps",
    "systemd-analyze": "systemd",
    "shellcheck": "shellcheck",
}
PLUGINS = ("containernetworking-plugins", "/usr/lib/cni/bridge")  # package, and a file that it brings
KEYRING = "debian-archive-keyring"  # what debootstrap checks the suite's signature with
REGISTRY = "docker-registry"
UNPACKED = {  # package -> its program; only unpacked, for installing it would start one of its own
    REGISTRY: "docker-registry",
    "prometheus": "promtool",  # with prometheus beside it; 2.42 in Debian 12
}

# tag of an image -> (stage of image/Dockerfile, build arguments)
IMAGES: dict[str, tuple[str, dict[str, str]]] = {
    "hello:1": ("hello", {"VERSION": "1"}),
    "hello:2": ("hello", {"VERSION": "2"}),
    "hang:1": ("hang", {}),
    "deaf:1": ("deaf", {}),
    "crash:1": ("crash", {}),
    "labelled:1": ("labelled", {}),
    "traefik-labelled:1": ("traefik-labelled", {}),
    "healthcheck-good:1": ("healthcheck-good", {}),
    "healthcheck-bad:1": ("healthcheck-bad", {}),
}

# tag of an image -> stage of database_image/Dockerfile; the suite's own versions stand in for them
DATABASE_IMAGES = {"postgres:16-alpine": "postgres", "redis:7-alpine": "redis", "database-client:1": "client"}
