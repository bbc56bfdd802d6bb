"""`ah incident`: what happened to a tenant, as one archive in which nothing is that was sealed."""

import hashlib
import json
import tarfile
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ahplat.builders.build_logs import BuildLogs
from ahplat.cli.main import main
from ahplat.redaction import SEALED
from ahplat.sealing import Keyring, read_master_key
from events.services import ServiceConfigured, ServiceCrashed, ServiceEnvSet
from tests.commands.facts import a_build, a_database, a_deploy, a_key, a_service, a_tenant
from tests.commands.given import (
    BUILD,
    DATABASE,
    OTHER_SERVICE,
    OTHER_TENANT,
    SERVICE,
    TENANT,
    World,
    a_world,
    given,
    of,
)

ENV, OLD_ENV, PASSWORD, TOKEN = "planted-env-value", "planted+old/value", "planted-password", "planted-token"
API_KEY = f"{'5' * 32}.planted-secret-of-a-key_0123456789"
STREAM = f"service-{SERVICE}"
SAID = f"it says {ENV}, {OLD_ENV}, {PASSWORD}, {TOKEN}, {API_KEY}, {b64encode(ENV.encode()).decode()} and goodbye"


class Made:
    """A folder with a log, and keys that open what is sealed in it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.folder = world.folder
        self.keyring = Keyring(self.folder / "keys.db", read_master_key(self.folder / "master.key", may_make=True))
        self.keyring.create(TENANT)
        given(a_tenant(), of(a_tenant("other", b"other@", "10.128.0.64/26"), tenant=OTHER_TENANT))
        given(a_service("web"), of(a_service("theirs"), OTHER_SERVICE, OTHER_TENANT), self.env(OLD_ENV))
        self.first = world.log.position + 1
        given(of(ServiceConfigured(memory_mb=1), OTHER_SERVICE, OTHER_TENANT))
        given(a_key("k1"), self.env(ENV), ServiceConfigured(memory_mb=768), a_deploy("d1"))
        given(a_database(password=self.sealed(f"database-{DATABASE}", "password", PASSWORD)))
        given(a_build(url=self.sealed(f"build-{BUILD}", "url", f"https://{TOKEN}@git.example/acme/web")))
        given(ServiceCrashed("d1", 0, "d1-0", 1, 1, False, self.sealed(STREAM, "tail", SAID), 128))
        with BuildLogs(self.folder / "buildlogs", self.keyring).open(TENANT, BUILD, ()) as log:
            log.say(SAID)
        self.last = world.log.position
        given(ServiceConfigured(memory_mb=999))

    def sealed(self, stream: str, field: str, text: str) -> bytes:
        return self.keyring.seal(TENANT, stream, field, text.encode())

    def env(self, value: str) -> ServiceEnvSet:
        return ServiceEnvSet({"A": self.sealed(STREAM, "env.A", value)})

    def ask(self, *arguments: object) -> Result:
        return CliRunner().invoke(main, ["incident", *map(str, arguments), "--data-dir", str(self.folder)])

    def unpacked(self, *options: object) -> dict[str, bytes]:
        """The files of an archive of the middle of the log, by name."""
        out = self.folder / "it.tar.gz"
        done = self.ask("acme", "--from", self.first, "--to", self.last, "--out", out, *options)
        assert done.exit_code == 0, done.output
        return files_of(out)


def files_of(out: Path) -> dict[str, bytes]:
    found = {}
    with tarfile.open(out) as archive:
        for member in archive:
            content = archive.extractfile(member)
            assert content and member.name.startswith(f"{out.name.removesuffix('.tar.gz')}/"), member.name
            found[member.name.partition("/")[2]] = content.read()
    return found


@pytest.fixture
def made() -> Iterator[Made]:
    with a_world() as world:
        yield Made(world)


def lines(content: bytes) -> list[Any]:
    return [json.loads(line) for line in content.splitlines()]


def test_it_holds_what_happened_the_state_before_and_after_and_what_differs(made: Made) -> None:
    files = made.unpacked()
    events = lines(files["events.ndjson"])
    assert [event["position"] for event in events] == list(range(made.first + 1, made.last + 1))
    before, after = json.loads(files["before.json"]), json.loads(files["after.json"])
    assert [row["memory_mb"] for row in before["service"]] == [256]
    assert [row["memory_mb"] for row in after["service"]] == [768]
    assert after["env"][-1]["sealed"] == "sealed" and "activity" not in after
    [web] = [one for one in json.loads(files["diff.json"]) if one["id"] == SERVICE]
    assert {"service", "env", "deployment"} <= {change["table"] for change in web["changes"]}
    assert len(files["activity.txt"].splitlines()) == len(events)


def test_of_other_tenants_nothing_is_in_it(made: Made) -> None:
    for name, content in made.unpacked().items():
        assert OTHER_TENANT.encode() not in content and b"theirs" not in content, name


def test_what_was_said_is_in_it_without_what_is_secret(made: Made) -> None:
    files = made.unpacked()
    crashed, built = files[f"logs/{made.last}-service.crashed.txt"], files[f"logs/build-{BUILD}.txt"]
    for said in (crashed.decode(), built.decode()):
        assert "it says " in said and "and goodbye" in said and said.count(SEALED) == 6
    for name, content in files.items():
        assert b"planted" not in content and b64encode(ENV.encode()).rstrip(b"=") not in content, name


def test_the_manifest_has_the_hash_of_each_file(made: Made) -> None:
    files = made.unpacked()
    manifest = json.loads(files.pop("manifest.json"))
    assert {one["name"]: (one["bytes"], one["sha256"]) for one in manifest["files"]} == {
        name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in files.items()
    }
    assert (manifest["first_position"], manifest["last_position"]) == (made.first, made.last)
    assert manifest["tenant_id"] == TENANT and manifest["left_out"] == ["metrics: no server runs"]


def test_the_proof_has_the_links_of_its_ends_and_the_checkpoints(made: Made) -> None:
    checkpoints = made.folder / "checkpoints"
    checkpoints.mkdir()
    (checkpoints / "signed").write_text("a note\n")
    (checkpoints / "erased").write_text(f"{OTHER_TENANT}\n")
    files = made.unpacked()
    proof = json.loads(files["proof.json"])
    rows = made.world.log.db.execute(
        "SELECT position, link FROM event WHERE position IN (?, ?)", (made.first - 1, made.last)
    )
    assert [[proof[end]["position"], proof[end]["link"]] for end in ("link_before", "last_link")] == [
        [position, link.hex()] for position, link in rows
    ]
    assert proof["holds"] and files["checkpoints/signed"] == b"a note\n" and "checkpoints/erased" not in files


def test_without_the_keys_or_on_demand_nothing_that_was_said_is_in_it(made: Made) -> None:
    for options, prepare in ((("--no-logs",), None), ((), (made.folder / "master.key").unlink)):
        if prepare:
            prepare()
            (made.folder / "it.tar.gz").unlink()
        files = made.unpacked(*options)
        assert not [name for name in files if name.startswith("logs/")]
        assert "what programs and builds said" in json.loads(files["manifest.json"])["left_out"][0]
    assert not (made.folder / "master.key").exists()


def test_what_is_there_is_not_written_over_and_only_its_owner_reads_it(made: Made) -> None:
    made.unpacked()
    out = made.folder / "it.tar.gz"
    assert out.stat().st_mode & 0o777 == 0o600
    again = made.ask("acme", "--from", 1, "--out", out)
    assert again.exit_code == 1 and "is there already" in again.output


def test_what_is_no_time_or_nobodys_is_said(made: Made) -> None:
    for arguments, told in (
        (("acme", "--from", 9, "--to", 8), "there are no events"),
        (("acme", "--from", "2030-01-01T00:00:00Z"), "there are no events"),
        (("nobody", "--from", 1), "there is no tenant nobody"),
        (("", "--from", 1), "TENANT is empty"),
        (("acme", "--from", 999), "there is no position 999"),
    ):
        done = made.ask(*arguments)
        assert done.exit_code == 1 and told in done.output, done.output
