"""The real `ahc` against a real server: each command, Ctrl-C, and a server that dies in the middle."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from events.builds import BuildRequested
from events.services import ServiceCreated, ServiceDeployRequested
from tests.ahc.process import Ahc
from tests.builds.conftest import APP
from tests.faults.harness import LAPTOP, Server, eventually
from tests.folders import memory_folder

pytestmark = pytest.mark.embedded


def visit(server: Server, url: str) -> str:
    return server.ask("GET", "/", Host=url.removeprefix("http://")).body.decode()


def test_a_tenant_registers_deploys_looks_changes_goes_back_and_deletes(server: Server, ahc: Ahc) -> None:
    ahc.environ.pop("AH_KEY")
    assert ahc.ok("register", "new", "new@example.org").out.startswith("tenant")
    assert ahc.ok("whoami", "--json").json["tenant"]["name"] == "new"
    first = ahc.ok("deploy", "ah/hello", "web", "-e", "GREETING=hello", "--json").json
    assert (first["status"], first["name"]) == ("running", "web")
    assert "Hello" in visit(server, first["url"])
    assert "deploy_requested" in ahc.ok("deploy", "ah/hello", "web", "--dry-run").out
    assert ahc.ok("env", "web", "A=1", "B=2", "--unset", "A", "--restart", "--json").json.keys() == {"B", "GREETING"}
    assert ahc.ok("env", first["id"], "--reveal").out.splitlines() == ["B=2", "GREETING=hello"]
    assert "Listening on port" in ahc.ok("logs", "web").out
    ran = ahc.run("exec", "web", "--", "sh", "-c", "echo $B; echo oh >&2; exit 3")
    assert (ran.code, ran.out, ran.err) == (3, "2\n", "oh\n")
    assert ahc.ok("rollback", "web", "--to", "1").out.startswith("web running")
    assert "rollback" in ahc.ok("status", "web").out
    ahc.ok("stop", "web")
    assert ahc.run("open", "web").code == 5
    ahc.ok("start", "web")
    assert ahc.ok("services", "--json").json[0]["status"] == "running"
    assert ahc.ok("usage", "--json").json["services"] == {"used": 1, "max": 5}
    then = ahc.ok("events", "-n", "1", "--json").json[0]["position"]
    once = ("delete", "web", "--yes", "--idempotency-key", "once")
    assert [ahc.ok(*once).out for _ in range(2)] == ["web deleted\n"] * 2
    assert ahc.run(*once[:3]).code == ahc.run("status", "web").code == 4
    assert ahc.ok("status", "web", "--as-of", str(then), "--json").json["status"] == "running"
    assert ahc.ok("env", "web", "--as-of", str(then), "--json").json.keys() == {"GREETING"}
    assert ahc.ok("events", "-n", "1", "--as-of", str(then), "--json").json[0]["position"] == then


def test_a_database_is_made_and_linked(server: Server, ahc: Ahc) -> None:
    ahc.ok("deploy", "ah/hello", "web")
    ahc.ok("db", "create", "postgres", "data", "--no-wait")
    assert ahc.ok("db", "url", "data").out.startswith("postgres://")
    assert ahc.ok("link", "data", "web", "--json").json["key"] == "DATABASE_URL"
    assert "DATABASE_URL" in ahc.ok("env", "web").out
    once = ("db", "delete", "data", "--yes", "--idempotency-key", "once")
    assert all("data deleted: `ahc db undelete" in ahc.ok(*once).out for _ in range(2))
    assert ahc.ok("db", "list", "--deleted", "--json").json[0]["name"] == "data"


def test_the_folder_that_one_stands_in_is_deployed_and_deployed_again(server: Server, ahc: Ahc, tmp_path: Path) -> None:
    app = tmp_path / "my_app"
    app.mkdir()
    (app / "main.py").write_text(APP)
    (app / "said.txt").write_text("one")
    (app / ".dockerignore").write_text("*.log\n")
    (app / "junk.log").write_text("not sent")
    done = ahc.ok("deploy", ".", "--json", cwd=app)
    assert (done.json["name"], done.json["status"]) == ("my-app", "running")
    assert visit(server, done.json["url"]) == "built from git: one"
    (app / "said.txt").write_text("two")
    assert ahc.ok("deploy", str(app)).out.startswith("my-app running")
    assert visit(server, done.json["url"]) == "built from git: two"
    assert "unpacking what was sent" in ahc.ok("logs", "my-app", "last").out
    assert len(ahc.ok("builds", "my-app", "--json").json) == 2
    (app / "main.py").unlink()
    failed = ahc.run("deploy", ".", cwd=app)
    assert (failed.code, "Procfile" in failed.err) == (1, True)
    assert visit(server, done.json["url"]) == "built from git: two"
    assert "would record build.requested" in ahc.ok("deploy", ".", "--dry-run", cwd=app).out
    assert list((server.folder / "builds").iterdir()) == []


def test_a_folder_with_a_page_is_served(server: Server, ahc: Ahc, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("a page")
    assert visit(server, ahc.ok("deploy", ".", "page", "--json", cwd=tmp_path).json["url"]) == "a page"


def test_ctrl_c_while_it_waits_says_that_the_work_goes_on_and_how_to_look_again(server: Server, ahc: Ahc) -> None:
    process = ahc.start("deploy", "ah/hello", "web", "--health-path", "/nowhere")
    eventually(lambda: _waiting(server))
    done = ahc.interrupt(process)
    assert done.code == 130
    assert "the work goes on" in done.err
    assert "ahc status web" in done.err
    assert ahc.ok("services", "--json").json[0]["name"] == "web"


def _waiting(server: Server) -> bool:
    """Whether the order has its answer (a tenant was made before, too), and the next request waits."""
    said = server.ask("GET", "/metrics").body.decode()
    return 'ahplat_http_responses_total{status="201"} 2.0' in said and "ahplat_http_in_flight 2.0" in said


def test_ctrl_c_ends_what_is_followed(server: Server, ahc: Ahc) -> None:
    process = ahc.start("events", "-f", "--json")
    ahc.ok("deploy", "ah/hello", "web", "--no-wait")
    assert process.stdout
    while "service.created" not in process.stdout.readline():
        assert process.poll() is None
    assert ahc.interrupt(process).code == 130


@pytest.mark.parametrize("crash_at", ["after-intent:2", "after-intent:3", "between-commits:2", "after-attempt:1"])
def test_a_server_that_dies_in_the_middle_is_asked_again_and_there_is_one_service(crash_at: str) -> None:
    with memory_folder() as folder:
        server = Server(folder / "data")
        try:
            key = server.start().register()
            server.end()
            server.options = (*LAPTOP, "--port", str(server.port))
            server.start(crash_at)
            ahc = Ahc(folder, f"http://127.0.0.1:{server.port}", key)
            process = ahc.start("deploy", "ah/hello", "web", "--json")
            assert server.wait() == -signal.SIGKILL
            server.start()
            done = ahc.end(process)
            assert (done.code, done.json["status"]) == (0, "running")
            server.settled(key)
            created = [event for _, event in server.events if isinstance(event, ServiceCreated)]
            requested = [event for _, event in server.events if isinstance(event, ServiceDeployRequested)]
            assert (len(created), len(requested)) == (1, 1)
        finally:
            print(server.said.read_text())
            server.wipe()


def test_a_server_that_dies_while_a_folder_is_sent_builds_it_once(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(APP)
    (tmp_path / "said.txt").write_text("sent")
    with memory_folder() as folder:
        server = Server(folder / "data")
        try:
            key = server.start().register()
            server.end()
            server.options = (*LAPTOP, "--port", str(server.port))
            server.start("after-intent:3")
            ahc = Ahc(folder, f"http://127.0.0.1:{server.port}", key)
            process = ahc.start("deploy", str(tmp_path), "web", "--json")
            assert server.wait() == -signal.SIGKILL
            server.start()
            done = ahc.end(process)
            assert (done.code, visit(server, done.json["url"])) == (0, "built from git: sent")
            assert len([event for _, event in server.events if isinstance(event, BuildRequested)]) == 1
        finally:
            print(server.said.read_text())
            server.wipe()


def test_completion_works_in_bash(server: Server, ahc: Ahc) -> None:
    done = ahc.run(COMP_WORDS="ahc de", COMP_CWORD="1", _AHC_COMPLETE="bash_complete")
    assert done.out.split() == ["plain,delete", "plain,deploy"]


def test_a_reader_that_goes_ends_it_without_a_word(server: Server, ahc: Ahc) -> None:
    process = ahc.start("events", "-f", "--json", "-n", "1")
    assert isinstance(process, subprocess.Popen)
    assert process.stdout
    process.stdout.readline()
    process.stdout.close()
    deadline = time.monotonic() + 20
    while process.poll() is None:
        assert time.monotonic() < deadline
        ahc.run("env", "nosuch")
        server.ask("POST", "/v1/services", {"name": f"n{time.monotonic_ns()}"}, key=ahc.environ["AH_KEY"])
    assert process.stderr
    assert "Traceback" not in process.stderr.read()
