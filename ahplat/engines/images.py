"""References of images, and what Docker says when one cannot be had: pure functions.

The texts come from registries through Docker, in no fixed form, so they are matched by the few words that stayed the
same over the years. What matches nothing is nobody's fault and is tried again.
"""

from collections.abc import Iterable

from msgspec import Struct

from ahplat.errors import Rejected, Unavailable

FORBIDDEN_LABELS = ("ah.", "traefik.")
MISSING = ("not found", "unknown", "does not exist", "access denied", "is denied", "unauthorized", "no such image")
UNSTARTABLE = (
    "executable file not found",
    "no such file or directory",
    "permission denied",
    "exec format",
    "unable to find user",
)
GONE = ("bind source path does not exist", "network ah-")
UNUSABLE = ("no matching manifest", "unsupported", "invalid reference", "invalid tar", "not supported", "exec format")


class _Config(Struct, rename="pascal"):
    labels: dict[str, str] | None = None
    volumes: dict[str, object] | None = None


class InspectedImage(Struct, rename="pascal"):
    """The part of Docker's `GET /images/{name}/json` that is read."""

    config: _Config | None = None
    repo_digests: list[str] | None = None

    @property
    def labels(self) -> dict[str, str]:
        """What the image says of itself."""
        return (self.config.labels if self.config else None) or {}

    @property
    def volumes(self) -> tuple[str, ...]:
        """The paths that it declares as VOLUME."""
        return tuple(sorted((self.config.volumes if self.config else None) or ()))


def repository_of(reference: str) -> str:
    """The name without tag and digest.

    >>> repository_of("127.0.0.1:5000/ah/x:1"), repository_of("127.0.0.1:5000/x"), repository_of("n:1@sha256:ab")
    ('127.0.0.1:5000/ah/x', '127.0.0.1:5000/x', 'n')
    """
    name = reference.partition("@")[0]
    path, slash, last = name.rpartition("/")
    return path + slash + last.partition(":")[0]


def familiar(repository: str) -> str:
    """One name for what Docker has several for.

    >>> familiar("docker.io/library/hello"), familiar("docker.io/a/b"), familiar("ghcr.io/library/hello")
    ('hello', 'a/b', 'ghcr.io/library/hello')
    """
    return repository.removeprefix("docker.io/").removeprefix("library/")


def digest_of(reference: str) -> str | None:
    """The digest that a reference names, where it names one.

    >>> digest_of("hello@sha256:ab"), digest_of("hello:1")
    ('sha256:ab', None)
    """
    return reference.partition("@")[2] or None


def pin(reference: str, digest: str) -> str:
    """The form that always names the same content, and is the same however that was asked for.

    >>> pin("127.0.0.1:5000/ah/x:1", "sha256:ab"), pin("docker.io/library/hello:1", "sha256:ab")
    ('127.0.0.1:5000/ah/x@sha256:ab', 'hello@sha256:ab')
    """
    return f"{familiar(repository_of(reference))}@{digest}"


def version_of(reference: str) -> str:
    """What to pull of the repository: the digest, else the tag, else `latest`.

    >>> version_of("hello"), version_of("hello:1"), version_of("hello:1@sha256:ab")
    ('latest', '1', 'sha256:ab')
    """
    tag = reference.partition("@")[0].rpartition("/")[2].partition(":")[2]
    return digest_of(reference) or tag or "latest"


def digest_among(repo_digests: Iterable[str], repository: str) -> str | None:
    """The digest under which a repository knows an image, `repo_digests` being all of its `name@digest`.

    >>> digest_among(["a@sha256:1", "b/c@sha256:2"], "docker.io/b/c")
    'sha256:2'
    """
    for entry in repo_digests:
        name, _, digest = entry.partition("@")
        if familiar(name) == familiar(repository):
            return digest
    return None


def refuse_foreign_labels(reference: str, labels: Iterable[str]) -> None:
    """Raises Rejected `image_forbidden`: such labels would pass for ours, or take another tenant's route."""
    found = sorted(label for label in labels if label.lower().startswith(FORBIDDEN_LABELS))
    if found:
        names = ", ".join(found)[:500]
        raise Rejected("image_forbidden", f"image {reference} carries labels that only the platform may set: {names}")


def pull_error(reference: str, text: str) -> Rejected | Unavailable:
    """Whose fault it is that a pull failed, in the words of Docker."""
    lower = text.lower()
    if any(words in lower for words in UNUSABLE):
        return Rejected("image_unusable", f"image {reference} cannot be used: {text}")
    if "no such host" not in lower and any(words in lower for words in MISSING):
        return Rejected("image_not_found", f"image {reference} could not be pulled: {text}")
    if "no space left" in lower:
        return Unavailable("disk_full", f"image {reference} could not be stored: {text}", retry_after_s=60)
    return Unavailable("registry_unavailable", f"image {reference} could not be pulled: {text}", retry_after_s=10)


def create_error(reference: str, status: int | None, text: str) -> Rejected | Unavailable:
    """Whose fault it is that a container could not be made of an image.

    Its network, and the one file of the host that it sees, which comes with that, may have gone: they are made anew.
    """
    lower = text.lower()
    if any(words in lower for words in GONE):
        return Unavailable("network_unavailable", f"the network went: {text}")
    if status == 404:
        return Rejected("image_not_found", f"image {reference} is not there: {text}")
    if status == 400 and "runtime" not in lower:
        return Rejected("spec_unusable", f"Docker refuses these settings: {text}")
    return Unavailable("engine_error", f"Docker answered {status}: {text}")


def start_error(reference: str, text: str) -> Rejected | Unavailable:
    """Whose fault it is that a container did not start: the image's when its command cannot be run."""
    lower = text.lower()
    if any(words in lower for words in UNSTARTABLE):
        return Rejected("image_unusable", f"image {reference} cannot be started: {text}")
    return Unavailable("engine_error", f"Docker could not start a container: {text}")
