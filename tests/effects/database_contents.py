"""What is in the simulated databases, and what the programs do with it that are run in their containers.

A server of Postgres holds databases by name, each with a comment; one of Redis holds one value, and takes another's when it
has become its replica. What is held is the volume's, so it outlives the server.
"""

import re
from collections import defaultdict

from ahplat.effects import database_tools
from tests.engines.simulated import Ran, SimulatedHost

ARCHIVE = b"archive of "
OK = Ran()


class Contents:
    """By volume. `broken` programs fail; `hung` ones run until they are ended."""

    def __init__(self, host: SimulatedHost, name: str = "u_orders") -> None:
        self.host = host
        self.name = name
        self.databases: defaultdict[str, dict[str, bytes]] = defaultdict(lambda: {name: b"", "postgres": b""})
        self.comments: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self.redis: defaultdict[str, bytes] = defaultdict(bytes)
        self.master: dict[str, str] = {}  # volume → the volume of its master
        self.broken: set[str] = set()
        self.hung: set[str] = set()
        self.roles: set[str] = set()  # volumes in which those of a backup were made
        self.loading = 0  # so often Redis loads when it is told something
        self.stays = ""  # why Postgres would not drop what is to be replaced
        self.kept: set[str] = set()  # databases that are not dropped
        self.clients = 0  # who comes back before the exchange, so often
        host.does_else = self.does
        host.on_volume_gone = self.forget

    def forget(self, volume: str) -> None:
        for held in (self.databases, self.comments, self.redis):
            held.pop(volume, None)  # type: ignore[attr-defined]

    def does(self, instance_id: str, argv: tuple[str, ...], given: bytes) -> Ran | None:
        spec = self.host.specs[instance_id]
        if not spec.identity.database:
            return None
        volume = spec.mounts[0].volume
        if argv == database_tools.TAKE_RDB:
            return self._take_rdb(volume, given)
        program, words = database_tools.program_of(argv), argv[4:]
        if program in self.hung:
            return Ran(None)
        if program in self.broken:
            return Ran(1, stderr=b"no, I will not")
        match program:
            case "pg_dump":
                return Ran(stdout=ARCHIVE + self.databases[volume][self.name])
            case "pg_restore":
                return self._pg_restore(volume, words[-1], given)
            case "psql":
                told = words[words.index("-c") + 1 :: 2] if "-c" in words else (given.decode(),)
                return self._psql(volume, told)
            case "redis-cli":
                return self._redis(volume, words, given.decode())
        return None

    def _take_rdb(self, volume: str, given: bytes) -> Ran:
        if not given.startswith(ARCHIVE):
            return Ran(1, stderr=b"that is no archive")
        self.redis[volume] = given.removeprefix(ARCHIVE)
        return OK

    def _pg_restore(self, volume: str, name: str, given: bytes) -> Ran:
        if not given.startswith(ARCHIVE):
            return Ran(1, stderr=b"that is no archive")
        assert self.databases[volume][name] == b"", "it is to be empty"
        self.databases[volume][name] = given.removeprefix(ARCHIVE)
        return OK

    def _psql(self, volume: str, statements: tuple[str, ...]) -> Ran:
        said = [self._statement(volume, statement) for statement in statements]
        failed = next((one for one in said if one.exit_code), None)
        return failed or Ran(stdout=b"".join(one.stdout for one in said))

    def _statement(self, volume: str, statement: str) -> Ran:
        held, comments = self.databases[volume], self.comments[volume]
        if found := re.search("COMMENT ON DATABASE (.*) IS '(.*)'", statement):
            comments[found[1]] = found[2]
        elif "datistemplate" in statement:
            return Ran(stdout=self.stays.encode())
        elif (
            (found := re.search("DROP DATABASE IF EXISTS (\\w+)", statement))
            and found[1] in held
            and found[1] in self.kept
        ):
            return Ran(1, stderr=b"cannot drop it")
        elif found:
            held.pop(found[1], None)
            comments.pop(found[1], None)
        elif found := re.search("CREATE DATABASE (\\w+)", statement):
            assert found[1] not in held
            held[found[1]] = b""
        elif "RENAME" in statement:
            return self._exchange(volume, re.findall("ALTER DATABASE (\\w+) RENAME TO (\\w+)", statement))
        elif found := re.search("shobj_description.*datname = '(.*)'", statement):
            return Ran(stdout=f"{comments.get(found[1], '')}\n".encode() if found[1] in held else b"")
        elif "pg_roles" in statement:
            return Ran(stdout=b"DO make roles CREATE ROLE\n")
        elif statement.startswith("DO make roles"):
            self.roles.add(volume)
        elif "count(*)" in statement:
            return Ran(stdout=f"2|{len(held[self.name])}\n".encode())
        return OK

    def _exchange(self, volume: str, renamed: list[tuple[str, str]]) -> Ran:
        if self.clients:
            self.clients -= 1
            return Ran(1, stderr=b"database is being accessed by other users")
        held, comments = self.databases[volume], self.comments[volume]
        for name, becomes in renamed:
            assert becomes not in held
            held[becomes] = held.pop(name)
            if name in comments:
                comments[becomes] = comments.pop(name)
        return OK

    def _redis(self, volume: str, words: tuple[str, ...], given: str) -> Ran:
        if words == ("--rdb", "-"):
            return Ran(stdout=ARCHIVE + self.redis[volume])
        if words == ("REPLICAOF", "NO", "ONE") and self.loading:
            self.loading -= 1
            return Ran(stdout=b"LOADING Redis is loading the dataset in memory\n")
        if words == ("REPLICAOF", "NO", "ONE"):
            self.master.pop(volume, None)
        elif found := re.search(r"REPLICAOF (\S+) \d+", given):
            (self.master[volume],) = [
                self.host.specs[one.id].mounts[0].volume for one in self.host.instances.values() if one.host == found[1]
            ]
            self.redis[volume] = self.redis[self.master[volume]]
            return Ran(stdout=b"OK\nOK\n")
        elif words == ("INFO", "replication"):
            up = (
                b"master_link_status:up\r\nmaster_sync_in_progress:0\r\n"
                if volume in self.master
                else b"role:master\r\n"
            )
            return Ran(stdout=up)
        elif words == ("INFO", "persistence"):
            return Ran(stdout=b"aof_rewrite_in_progress:0\r\naof_rewrite_scheduled:0\r\n")
        elif words == ("INFO", "keyspace"):
            return Ran(stdout=b"# Keyspace\r\ndb0:keys=%d,expires=0\r\n" % len(self.redis[volume]))
        return Ran(stdout=b"OK\n")
