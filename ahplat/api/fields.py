"""The types of fields that come from outside, with their limits. One place, so that every route has the same."""

from typing import Annotated, Literal

from msgspec import Meta

from ahplat import limits
from ahplat.engines.engine import Engine
from ahplat.errors import Rejected, Violation
from ahplat.labels import RESERVED, label_of
from ahplat.references import PLACEHOLDERS, check_reference

_PRINTABLE = r"\A[^\x00-\x1f\x7f]*\Z"
_EMAIL = r"\A[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+\Z"
_IMAGE = r"\A[\x21-\x7e]*\Z"
_PATH = r"\A(/[\x21-\x7e]*)?\Z"
_ENV_NAME = r"\A[A-Za-z_][A-Za-z0-9_]{0,127}\Z"
_VOLUME = r"\A[a-z0-9][a-z0-9-]{0,62}\Z"
_MOUNT = r"\A(/[A-Za-z0-9._-]+)+\Z"
_ID = r"\A[0-9a-f]{32}\Z"
WORDS = {  # what is to be, for people, where a pattern does not match
    _PRINTABLE: "text without control characters",
    _EMAIL: "an e-mail address, as in me@example.org",
    _IMAGE: "ASCII without spaces",
    _PATH: "a path, as in /healthz",
    _ENV_NAME: "a name of at most 128 letters, digits and _ that does not begin with a digit",
    _VOLUME: "at most 63 of a-z, 0-9 and -, not beginning with -",
    _MOUNT: "a path, as in /var/lib/data",
    _ID: "an id of 32 hexadecimal digits",
}

TenantName = Annotated[
    str,
    Meta(
        min_length=2,
        max_length=128,
        pattern=_PRINTABLE,
        description="its letters and digits become part of host names",
        examples=["acme"],
    ),
]
Email = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=256,
        pattern=_EMAIL,
        description="where its holder is found; one tenant for each address",
        examples=["ops@acme.example"],
    ),
]
KeyName = Annotated[str, Meta(min_length=1, max_length=128, pattern=_PRINTABLE, examples=["ci"])]
ServiceName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        pattern=_PRINTABLE,
        description="its letters and digits become the host name: once for each tenant",
        examples=["web"],
    ),
]
ImageName = Annotated[
    str,
    Meta(
        max_length=512,
        pattern=_IMAGE,
        description="[registry/]name[:tag][@digest]; none, `pending` or `placeholder:latest` waits for a build",
        examples=["ah/hello"],
    ),
]
Port = Annotated[
    int,
    Meta(
        ge=0,
        le=65_535,
        description="where the program listens for HTTP, told to it as PORT; 0: it is a worker, and listens nowhere",
        examples=[8000],
    ),
]
MemoryMb = Annotated[int, Meta(ge=32, le=1_048_576, description="of each replica; more is killed")]
CpuCount = Annotated[float, Meta(ge=0.05, le=128, description="cores of each replica; more is slowed down")]
HealthPath = Annotated[
    str,
    Meta(
        max_length=256,
        pattern=_PATH,
        description="answers 2xx or 3xx once it is well; none: an open port will do",
        examples=["/healthz"],
    ),
]
Egress = Literal["none", "internet"]
Replicas = Annotated[int, Meta(ge=1, le=10, description="how many run at once")]
DrainS = Annotated[
    int, Meta(ge=0, le=limits.DRAIN_AT_MOST_S, description="seconds for what it has begun before it is stopped")
]
DomainName = Annotated[str, Meta(min_length=1, max_length=512, examples=["www.acme.example"])]
EnvName = Annotated[str, Meta(pattern=_ENV_NAME, examples=["GREETING"])]
EnvValue = Annotated[str, Meta(max_length=32_768, examples=["hello"])]
EnvValues = Annotated[
    dict[EnvName, EnvValue],
    Meta(
        max_length=100,
        description="variables; not PATH, LD_PRELOAD, LD_LIBRARY_PATH, nor what the platform sets itself",
        examples=[{"GREETING": "hello"}],
    ),
]
VolumeName = Annotated[str, Meta(pattern=_VOLUME)]
MountPath = Annotated[str, Meta(max_length=256, pattern=_MOUNT)]
Volumes = Annotated[
    dict[VolumeName, MountPath],
    Meta(
        max_length=limits.VOLUMES_PER_SERVICE,
        description="where each volume is mounted: what is written there stays; it is made where there is none",
    ),
]
Id = Annotated[str, Meta(pattern=_ID, examples=["019b76da9c007d3a8b5e6f7081920a1b"])]
At = Annotated[int, Meta(description="unix seconds", examples=[1_767_225_600])]
Label = Annotated[str, Meta(description="the name's part in host names", examples=["web"])]
Image = Annotated[str, Meta(examples=["ah/hello"])]
Url = Annotated[str, Meta(examples=["https://web.acme.apps.example.org"])]
Named = Annotated[str, Meta(examples=["web"])]
Quota = Annotated[int, Meta(ge=0, le=1_000_000)]
ExpiresIn = Annotated[
    int, Meta(ge=1, le=10 * 365 * 86_400, description="seconds from now; without it, it does not expire")
]

_FORBIDDEN_ENV = {
    **dict.fromkeys(("PATH", "LD_PRELOAD", "LD_LIBRARY_PATH"), "this variable would change what the platform starts"),
    **dict.fromkeys(limits.OWN_ENV, "the platform sets this variable itself"),
}
_OURS = (
    *("/proc", "/sys", "/dev", "/tmp", "/run", "/var/run", "/var/tmp", "/etc"),  # noqa: S108 — inside the container
    *("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/usr/bin", "/usr/sbin", "/usr/lib"),
)
_ENV_VALUE_BYTES = 32_768


def invalid(pointer: str, message: str) -> Rejected:
    """A field of the body that cannot be used."""
    return Rejected("validation_failed", f"{pointer}: {message}", (Violation(pointer, message),))


def check_label(name: str, pointer: str) -> str:
    """The host name's part that a name gives. Raises Rejected where it gives none, or a reserved one."""
    label = label_of(name)
    if not label:
        raise invalid(pointer, "expected at least one of a-z and 0-9, for it becomes part of a host name")
    if label in RESERVED:
        raise invalid(pointer, f"{label!r} is reserved: choose another name")
    return label


def check_image(image: str, tenant_id: str, allowed: frozenset[str]) -> str:
    """The image with its tag, "" where it stands for a build to come. Raises Rejected with the pointer of the field."""
    if image in PLACEHOLDERS:
        return ""
    try:
        return check_reference(image, tenant_id, allowed)
    except Rejected as rejected:
        violation = Violation("/image", rejected.detail)
        raise Rejected(rejected.code, f"/image: {rejected.detail}", (violation,)) from rejected


def check_env_name(name: str, pointer: str) -> None:
    """What the type cannot say of a variable's name. Raises Rejected where it is the platform's."""
    if why := _FORBIDDEN_ENV.get(name.upper()):
        raise invalid(pointer, f"{why}: {name} cannot be set")


def check_env(values: dict[str, str], at: str) -> None:
    """What the types cannot say of variables. Raises Rejected with the pointer of the first that is wrong."""
    for key, value in values.items():
        check_env_name(key, f"{at}/{key}")
        if len(value) > _ENV_VALUE_BYTES // 4 and len(value.encode()) > _ENV_VALUE_BYTES:
            raise invalid(f"{at}/{key}", f"expected at most {_ENV_VALUE_BYTES} bytes")


def check_volumes(paths: dict[str, str], engine: Engine) -> None:
    """What the types cannot say of mounts. Raises Rejected with the pointer of the first that is wrong."""
    at = "/volumes"
    if paths and not engine.mounts_volumes:
        detail = f"the {engine.name} engine mounts no volumes"
        raise Rejected("volumes_unsupported", detail, (Violation(at, detail),))
    for name, path in paths.items():
        parts = path.split("/")[1:]
        if ".." in parts or "." in parts:
            raise invalid(f"{at}/{name}", "expected a path without . and ..")
        if any(is_within(path, ours) or is_within(ours, path) for ours in _OURS):
            raise invalid(
                f"{at}/{name}", f"{path} is the platform's or the system's: choose another, such as /var/lib/app"
            )
        if any(is_within(path, other) for key, other in paths.items() if key != name):
            raise invalid(f"{at}/{name}", f"{path} lies within the path of another volume")


def is_within(path: str, folder: str) -> bool:
    """Whether a path is a folder, or lies in it.

    >>> is_within("/data/x", "/data"), is_within("/database", "/data")
    (True, False)
    """
    return f"{path}/".startswith(f"{folder}/")


def cpu_milli(cpu_count: float) -> int:
    """Thousandths of a core.

    >>> cpu_milli(0.5)
    500
    """
    return round(cpu_count * 1000)


def cpu_count(milli: int) -> float | int:
    """Cores, as an integer where they are whole.

    >>> cpu_count(1000), cpu_count(250)
    (1, 0.25)
    """
    return whole(milli / 1000)


def whole(value: float) -> float | int:
    """An integer where it is one.

    >>> whole(2.0), whole(0.5)
    (2, 0.5)
    """
    return int(value) if value.is_integer() else value
