"""What the variable segments of paths are: their types, what they mean, and the code where there is no such thing."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from ahplat.api.fields import DomainName, EnvName, Id


class Segment(Struct, frozen=True):
    """One variable segment. A value that does not fit the type is answered as one that is not there."""

    type: Any
    meaning: str
    code: str


SEGMENTS = {
    "backup_id": Segment(Id, "the backup's id", "backup_not_found"),
    "build_id": Segment(Id, "the build's id", "build_not_found"),
    "code": Segment(
        Annotated[str, Meta(pattern=r"\A[a-z_]+\Z", examples=["not_found"])], "the problem's code", "not_found"
    ),
    "database_id": Segment(Id, "the database's id", "database_not_found"),
    "deployment_id": Segment(Id, "the deployment's id", "deployment_not_found"),
    "domain": Segment(DomainName, "the host name", "domain_not_found"),
    "event_position": Segment(
        Annotated[int, Meta(ge=1, le=2**53)], "where the event stands in the log", "event_not_found"
    ),
    "key": Segment(EnvName, "the variable's name", "env_not_found"),
    "key_id": Segment(Id, "the key's id: what stands before the dot", "key_not_found"),
    "position": Segment(
        Annotated[int, Meta(ge=1, le=2**53)], "where the work's intent stands in the log", "effect_not_found"
    ),
    "service_id": Segment(Id, "the service's id", "service_not_found"),
    "tenant_id": Segment(Id, "the tenant's id", "tenant_not_found"),
    "volume_id": Segment(Id, "the volume's id", "volume_not_found"),
}
