"""What happened to API keys. They live in their tenant's stream: the tenant's end is theirs."""

from events.event import Event


class KeyCreated(Event, frozen=True, tag="key.created"):
    """A key was handed out. `digest` is bcrypt's; the secret itself is nowhere."""

    key_id: str
    name: bytes  # sealed
    digest: bytes
    scopes: list[str]
    expires_at: int = 0  # unix seconds, 0 for never
    service_id: str = ""  # the only service that it is for


class KeyRevoked(Event, frozen=True, tag="key.revoked"):
    """From here on the key opens nothing, and what it holds open is closed."""

    key_id: str


EVENTS = (KeyCreated, KeyRevoked)
