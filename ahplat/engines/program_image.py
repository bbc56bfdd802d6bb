"""Databases of the embedded engine: the machine's own `redis-server`, `initdb` and `postgres` stand for their images.

What an image's tag asks for is not looked at: the version is the machine's. Postgres makes its cluster aside and renames
it, so that one that was cut off in the middle is never taken for whole. Passwords come by environment, never in an argv.
`AH_SCRATCH` makes a Redis wait for the file that it is to load.
"""

import hashlib
import os
import shutil
from pathlib import Path

from ahplat.engines.engine import Image
from ahplat.engines.images import repository_of
from ahplat.errors import Rejected

DEBIAN = Path("/usr/lib/postgresql")
PROGRAMS = {"postgres": ("postgres", "initdb"), "redis": ("redis-server",)}

REDIS = """\
appendonly=yes
if [ -n "${AH_SCRATCH-}" ]; then
    appendonly=no
    until [ -f dump.rdb ]; do sleep 0.1; done
fi
exec redis-server - <<END
requirepass $REDIS_PASSWORD
bind 127.0.0.1
port $PORT
dir .
appendonly $appendonly
repl-diskless-sync-delay 0
END
"""

POSTGRES = """\
set -eu
if [ ! -d cluster ]; then
    rm -rf cluster.new password
    (umask 077; printf '%s\\n' "$POSTGRES_PASSWORD" > password)
    initdb --pgdata=cluster.new --username="$POSTGRES_USER" --pwfile=password --auth=scram-sha-256 > /dev/null
    rm password
    echo "CREATE DATABASE $POSTGRES_DB" | postgres --single -D cluster.new postgres > /dev/null
    mv cluster.new cluster
fi
postgres -D cluster -p "$PORT" -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c dynamic_shared_memory_type=mmap &
trap "kill -INT $!" TERM
while kill -0 $! 2> /dev/null; do
    wait $! || true
done
"""

SCRIPTS = {"postgres": POSTGRES, "redis": REDIS}


def name_of(reference: str) -> str:
    """The database that an image is for, "" for none.

    >>> name_of("postgres:16-alpine"), name_of("docker.io/library/redis@sha256:ab"), name_of("ah/hello")
    ('postgres', 'redis', '')
    """
    name = repository_of(reference).removeprefix("docker.io/").removeprefix("library/")
    return name if name in PROGRAMS else ""


def searched(path: str) -> str:
    """`path`, and where Debian keeps the servers of each version of Postgres, the newest first: it puts them on no PATH."""
    return ":".join([path, *(str(found) for found in sorted(DEBIAN.glob("*/bin"), reverse=True))])


def fetch(reference: str, path: str) -> Image:
    """Finds the programs on `path`. Blocks. Raises Rejected `database_unsupported` that names what is missing."""
    name = name_of(reference)
    found = {program: shutil.which(program, path=searched(path)) for program in PROGRAMS[name]}
    missing = [program for program, where in found.items() if where is None]
    if missing:
        raise Rejected(
            "database_unsupported",
            f"the embedded engine runs {name} with this machine's own programs: {', '.join(missing)} is not on the PATH"
            " of the server; install it, or start the server with --engine docker",
        )
    if name == "postgres" and os.geteuid() == 0:
        raise Rejected(
            "database_unsupported",
            "PostgreSQL does not run as root: start the server as another user, or with --engine docker",
        )
    server = Path(next(iter(found.values())) or "")
    with server.open("rb") as file:
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    return Image(reference=reference, digest=digest, pinned=f"{name}@{digest}")


def command(reference: str) -> list[str]:
    """The argv that runs the database in the folder that holds its data."""
    return ["/bin/sh", "-c", SCRIPTS[name_of(reference)]]
