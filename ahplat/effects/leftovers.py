"""What lies in the engine with our mark on it: what of that the log knows, what of it nobody needs, what is a stranger.

Functions of the views and of what the engine showed. A stranger is only told of: labels identify, they are no proof that
we made it. What the log knows and nothing needs (networks of tenants that are suspended or gone; the volume of a scratch
server that died between its two removals) the collector takes away.
"""

from collections.abc import Callable

from apsw import Connection

from ahplat.effects import scratch
from ahplat.effects.database_specs import server_name
from ahplat.effects.specs import networks_of
from ahplat.effects.volumes import volume_of
from ahplat.engines.engine import Belonging, Network, Volume
from projections import database_backups, databases, services, tenants, todo, volumes
from projections.todo import TodoRow


def known(views: Connection, installation: str) -> Callable[[Belonging], bool]:
    """Whether the log knows something, as of now. While work is open on what is gone, what was left of that is known."""
    open_work = {work.subject.partition("-")[2] for work in todo.open_of_all(views)}
    kept = {database for database, _ in databases.owners(views)} | open_work
    backups = {backup.backup_id for backup in database_backups.list_all(views)} | open_work
    written = {volume for volume, _ in volumes.owners(views)} | open_work
    subjects = {row.service_id for row in services.list_all(views)} | kept | backups
    networks = {one.name for row in tenants.list_ever(views) for one in networks_of(row, installation)}
    names = {server_name(database) for database in kept} | {scratch.scratch_name(backup) for backup in backups}
    names |= networks | {volume_of(volume, "", installation).name for volume in written}
    return lambda one: one.subject in subjects if one.kind == "container" else one.name in names


def idle_networks(views: Connection, installation: str, now_us: int, seen: list[Belonging]) -> dict[str, Network]:
    """Of tenants that are suspended or erased, for whom nothing is under way and of whom no container is left."""
    busy = {work.tenant_id for work in _under_way(views, now_us)}
    busy |= {one.tenant for one in seen if one.kind == "container"}
    idle = (row for row in tenants.list_ever(views) if row.status != "active" and row.tenant_id not in busy)
    there = {one.name for one in seen if one.kind == "network"}
    return {one.name: one for row in idle for one in networks_of(row, installation) if one.name in there}


def idle_scratches(views: Connection, installation: str, now_us: int, seen: list[Belonging]) -> dict[str, Volume]:
    """Volumes of scratch servers, where neither the backup nor its database is being worked on."""
    busy = {work.subject for work in _under_way(views, now_us)}
    there = {one.name for one in seen if one.kind == "volume"}
    idle = (
        scratch.volume_of(backup.backup_id, backup.tenant_id, installation)
        for backup in database_backups.list_all(views)
        if busy.isdisjoint((f"backup-{backup.backup_id}", f"database-{backup.database_id}"))
    )
    return {volume.name: volume for volume in idle if volume.name in there}


def _under_way(views: Connection, now_us: int) -> list[TodoRow]:
    """Open work that somebody waits for: the erasure after a month of suspension is not, until the month is over."""
    return [work for work in todo.open_of_all(views) if work.since_us <= now_us]
