"""What `ahc` prints, where, and for whom."""

import json

import click
import httpx
import pytest

from ahplat.ahc.failures import EXIT_CODES
from ahplat.ahc.main import COMMANDS, main
from tests.ahc.desk import WEB, Desk, Several, problem

BUILD = {"id": "b" * 32, "status": "succeeded", "deployment_id": "d" * 32, "step": "deploy"}
DEPLOYED = {"id": "d" * 32, "status": "running", "number": 1}
SERVICE = f"/v1/services/{WEB['id']}"
STREAM = {"Content-Type": "text/event-stream"}


def all_commands() -> list[tuple[str, click.Command]]:
    found = [(f"ahc {one.name}", one) for one in COMMANDS]
    for name, one in list(found):
        if isinstance(one, click.Group):
            found += [(f"{name} {inner.name}", inner) for inner in one.commands.values()]
    return found


@pytest.mark.parametrize(("name", "command"), all_commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_has_help_and_json(name: str, command: click.Command) -> None:
    assert command.help
    if not isinstance(command, click.Group) and name != "ahc completion":
        assert "--json" in {opt for param in command.params for opt in param.opts}
        assert Desk({}).run(*name.split()[1:], "--help").code == 0


def test_help_says_every_exit_code() -> None:
    assert main.help
    assert all(f"  {code:<4} {text}" in main.help for code, text in EXIT_CODES.items())


def test_with_json_stdout_is_one_document_and_a_problem_is_it_as_it_came() -> None:
    done = Desk({"GET /v1/services": problem(401, "key_expired", request_id="r-1")}).run("services", "--json")
    assert (done.code, done.json["code"], done.json["request_id"], done.err) == (3, "key_expired", "r-1", "")


def test_a_problem_is_two_lines_what_and_what_next() -> None:
    more = {"detail": "/port: expected at most 65535", "remediation": {"why": "look at the field"}}
    done = Desk({"GET /v1/services": problem(400, "port_invalid", **more)}).run("services")
    assert done.err == "ahc: /port: expected at most 65535 (port_invalid)\n     look at the field\n"


@pytest.mark.parametrize("arguments", [["nosuch"], ["services", "--nosuch"], ["stop"], ["deploy", ".", "--port", "x"]])
def test_a_wrong_command_line_is_2_for_people_and_for_programs(arguments: list[str]) -> None:
    done = Desk({}).run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "Usage:" in done.err
    again = Desk({}).run(*arguments, "--json")
    assert (again.code, again.err) == (2, "")
    assert again.json["detail"]


def test_no_traceback_is_shown_whatever_breaks() -> None:
    done = Desk({}).run("services")  # nobody is there to answer
    assert done.code == 1
    assert "something broke in ahc" in done.err


def test_what_comes_from_the_server_moves_no_cursor_and_is_no_markup() -> None:
    done = Desk({"GET /v1/services": [WEB | {"name": "\x1b[2J[bold]web"}]}).run("services")
    assert "\x1b" not in done.out
    assert "?[2J[bold]web" in done.out


def test_nothing_of_a_table_is_cut_off_where_a_terminal_is_narrow() -> None:
    image = "127.0.0.1:5000/ah/" + "0123456789abcdef" * 4
    desk = Desk({"GET /v1/services": [WEB | {"image": image}]}, COLUMNS="40", TERM="xterm")
    desk.terminal = True
    done = desk.run("services")
    assert all(part in done.out for part in ("NAME", "STATUS", "running", image, WEB["url"], WEB["id"]))


def test_there_are_colours_at_a_terminal_unless_no_color_is_set() -> None:
    answer = {"GET /v1/services": problem(404, "service_not_found")}
    desk, plain, piped = Desk(answer, TERM="xterm"), Desk(answer, TERM="xterm", NO_COLOR="1"), Desk(answer)
    desk.terminal = plain.terminal = True
    assert "\x1b[1;31m" in desk.run("services").err
    assert "\x1b[1;31m" not in plain.run("services").err.replace("\x1b[1m", "")
    assert "31m" not in plain.run("services").err
    assert "\x1b" not in piped.run("services").err


def deploying(*streams: object) -> Desk:
    return Desk(
        {
            "GET /v1/services": [WEB | {"port": 8000}],
            f"POST {SERVICE}/builds": BUILD | {"status": "pending"},
            f"GET {SERVICE}/builds/{BUILD['id']}/logs": Several(*streams),
            f"GET {SERVICE}/builds/{BUILD['id']}": Several(BUILD | {"status": "running"}, BUILD),
            f"GET {SERVICE}/deployments/{DEPLOYED['id']}": Several(DEPLOYED | {"status": "deploying"}, DEPLOYED),
            f"GET {SERVICE}": WEB,
        }
    )


def stream(text: str) -> httpx.Response:
    return httpx.Response(200, text=text, headers=STREAM)


LINES = "id: 1\nevent: line\ndata: ==> cloning\n\nid: 2\nevent: line\ndata: hello\n\n"
END = 'event: end\ndata: {"status":"succeeded"}\n\n'


def test_at_a_terminal_lines_and_states_are_shown_as_they_come_and_none_twice_over_a_cut_stream() -> None:
    desk = deploying(stream(LINES), stream("id: 3\nevent: line\ndata: more\n\n" + END))
    desk.terminal, desk.environ["TERM"] = True, "dumb"
    done = desk.run("deploy", "https://github.com/acme/web", "web")
    assert done.code == 0
    shown = done.err.splitlines()
    said = [line for line in shown if line in ("==> cloning", "hello", "more") or line.startswith("deployment of")]
    assert said == ["==> cloning", "hello", "more", "deployment of web deploying", "deployment of web running"]
    resumed = [request for request in desk.asked if request.url.path.endswith("/logs")][1]
    assert resumed.headers["Last-Event-ID"] == "2"
    assert done.out == f"web running  {WEB['url']}\n"


def test_without_a_terminal_nothing_is_said_but_the_result() -> None:
    done = deploying().run("deploy", "https://github.com/acme/web", "web")
    assert (done.code, done.err, done.out) == (0, "", f"web running  {WEB['url']}\n")


def test_a_build_that_fails_shows_its_last_lines_and_is_1() -> None:
    desk = deploying(stream(LINES + END))
    failed = BUILD | {"status": "failed", "error": "exit code: 7", "error_code": "build_failed"}
    desk.answers[f"GET {SERVICE}/builds/{BUILD['id']}"] = failed
    done = desk.run("deploy", "https://github.com/acme/web", "web")
    assert done.code == 1
    assert done.err.splitlines()[:3] == ["ahc: the build of web failed: exit code: 7", "  | ==> cloning", "  | hello"]
    told = desk.run("deploy", "https://github.com/acme/web", "web", "--json")
    assert (told.json["code"], told.json["build"]["status"]) == ("build_failed", "failed")


def test_no_wait_returns_once_it_is_accepted() -> None:
    desk = deploying()
    done = desk.run("deploy", "https://github.com/acme/web", "web", "--no-wait", "--json")
    assert (done.code, done.json["build_id"]) == (0, BUILD["id"])
    assert desk.lines == ["GET /v1/services", f"POST {SERVICE}/builds"]


def test_a_service_made_for_a_build_that_is_refused_is_deleted_again() -> None:
    desk = deploying()
    desk.answers |= {"GET /v1/services": [], "POST /v1/services": WEB, f"DELETE {SERVICE}": httpx.Response(204)}
    desk.answers[f"POST {SERVICE}/builds"] = problem(400, "source_forbidden")
    assert desk.run("deploy", "https://evil.test/web").code == 2
    assert desk.lines[-1] == f"DELETE {SERVICE}"


def test_a_dry_run_shows_the_plan_and_asks_for_nothing_else() -> None:
    plan = {
        "dry_run": True,
        "events": [{"stream": "service-1", "type": "service.deleted", "data": {}}],
        "quota": {"services": {"used": 0, "max": 5}, "memory_mb": 6144, "used_memory_mb": 0},
        "destroys": [{"resource_type": "service", "resource_id": WEB["id"], "name": "web"}],
        "version": 7,
        "position": 9,
    }
    desk = Desk({"GET /v1/services": [WEB], f"DELETE {SERVICE}": plan})
    done = desk.run("delete", "web", "--dry-run")
    assert (done.code, desk.asked[-1].url.params["dry_run"], len(desk.asked)) == (0, "true", 2)
    assert f"would destroy service web ({WEB['id']})" in done.out
    assert "used after it: services 0 of 5, memory_mb 0 of 6144" in done.out
    assert json.loads(desk.run("delete", "web", "--dry-run", "--json").out) == plan


def test_deleting_wants_a_yes_where_nobody_can_be_asked() -> None:
    desk = Desk({"GET /v1/services": [WEB]})
    done = desk.run("delete", "web")
    assert (done.code, desk.lines) == (2, ["GET /v1/services"])
    assert "--yes" in done.err


def test_ctrl_c_before_the_answer_says_how_to_ask_for_it_again() -> None:
    desk = Desk({"GET /v1/services": [WEB], f"POST {SERVICE}/stop": KeyboardInterrupt()})
    done = desk.run("stop", "web")
    key = desk.asked[-1].headers["Idempotency-Key"].strip('"')
    assert (done.code, f"--idempotency-key {key}" in done.err) == (130, True)
    assert desk.run("stop", "web", "--json").json["code"] == "interrupted"


def test_ctrl_c_while_a_build_runs_says_that_it_goes_on_and_where_its_lines_are() -> None:
    desk = deploying()
    desk.answers[f"GET {SERVICE}/builds/{BUILD['id']}"] = KeyboardInterrupt()
    done = desk.run("deploy", "https://github.com/acme/web", "web")
    assert (done.code, f"the work goes on. Look again: ahc logs web {BUILD['id']}" in done.err) == (130, True)


def test_an_agent_says_who_it_is() -> None:
    desk = Desk({"GET /v1/services": [WEB]}, AH_AGENT_NAME="builder", AH_AGENT_RUN="r-7")
    desk.run("services")
    assert (desk.asked[0].headers["X-Agent-Name"], desk.asked[0].headers["X-Agent-Run"]) == ("builder", "r-7")


def test_a_key_that_goes_over_plain_http_to_another_machine_is_warned_of() -> None:
    assert "not https" in Desk({"GET /v1/services": [WEB]}, AH_URL="http://server.test").run("services").err
    assert Desk({"GET /v1/services": [WEB]}, AH_URL="http://localhost:8080").run("services").err == ""


def test_exec_ends_with_the_commands_own_code() -> None:
    result = {"stdout": "out\n", "stderr": "err\n", "truncated": False, "timed_out": False, "outcome": "exited"}
    answers = {"GET /v1/services": [WEB], f"POST {SERVICE}/exec": result | {"exit_code": 42}}
    desk = Desk(answers)
    done = desk.run("exec", "web", "--", "ls", "--json", "-la")
    assert (done.code, done.out, done.err) == (42, "out\n", "err\n")
    assert json.loads(desk.asked[-1].content)["command"] == ["ls", "--json", "-la"]
    assert Desk(answers | {f"POST {SERVICE}/exec": result | {"timed_out": True}}).run("exec", "web", "x").code == 124
    assert Desk(answers | {f"POST {SERVICE}/exec": result | {"outcome": "lost"}}).run("exec", "web", "x").code == 7


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_learn_to_complete(shell: str) -> None:
    done = Desk({}).run("completion", shell)
    assert (done.code, "_AHC_COMPLETE" in done.out) == (0, True)
