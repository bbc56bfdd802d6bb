"""What happened to builds: a repository was to become an image, and how far it came.

Each step's outcome asks for the next one, so that a step is an attempt of its own: requested → cloned → planned → built
→ pushed → succeeded. Whatever is open of them is what a cancellation closes.
"""

from events.event import Event, Intent, Outcome


class BuildRequested(Intent, frozen=True, tag="build.requested"):
    """A repository is to be cloned, built and deployed as `deployment_id`. Nothing begins before it is its turn."""

    service_id: str
    deployment_id: str
    url: bytes  # sealed
    ref: str  # "" is the repository's default branch
    source: bytes  # keyed hash of all that makes two requests the same
    builder: str
    image: str  # the name that it will have


class BuildCloned(Outcome, Intent, frozen=True, tag="build.cloned"):
    """The source is here, at exactly this commit, and was looked through: how it is built is to be worked out."""

    commit: str


class BuildPlanned(Outcome, Intent, frozen=True, tag="build.planned"):
    """How it is built is known: it is to be built. `plan` is the SHA-256 of what will be followed."""

    plan: str


class BuildBuilt(Outcome, Intent, frozen=True, tag="build.built"):
    """The image is made, and is to be put where the engine takes images from."""

    digest: str


class BuildPushed(Outcome, Intent, frozen=True, tag="build.pushed"):
    """The image is where the engine takes it from: it is to be deployed."""

    digest: str


class BuildSucceeded(Outcome, frozen=True, tag="build.succeeded"):
    """The image is there, and was asked to be deployed; `undeployed` is the code of why it was not."""

    undeployed: str = ""


class BuildFailed(Outcome, Intent, frozen=True, tag="build.failed"):
    """It did not come to an image. What serves is untouched; the service is to be told."""

    step: str
    code: str
    detail: bytes = b""  # sealed


class BuildCancelled(Outcome, frozen=True, tag="build.cancelled"):
    """It was called off before it was deployed: it never will be."""


EVENTS: tuple[type[Event], ...] = (
    BuildRequested,
    BuildCloned,
    BuildPlanned,
    BuildBuilt,
    BuildPushed,
    BuildSucceeded,
    BuildFailed,
    BuildCancelled,
)
