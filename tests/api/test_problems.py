"""Every code that is raised has its problem, and every problem its form."""

import ast
import re
from pathlib import Path

import msgspec
import pytest

from ahplat import limits
from ahplat.api.problems import PROBLEMS, problem
from ahplat.api.routes import ROUTES
from ahplat.errors import Violation

ROOT = Path(__file__).parents[2] / "ahplat"
RAISED = {"AhError", "Rejected", "Throttled", "Unavailable", "Unknown", "problem"}


def codes_in(source: str) -> set[str]:
    """First arguments, where they are literals, of what raises or makes an error."""
    return {
        str(call.args[0].value)
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in RAISED
        and call.args
        and isinstance(call.args[0], ast.Constant)
    }


def members(code: str = "service_not_found", detail: str = "no", **more: object) -> dict[str, object]:
    _, body = problem(code, detail, request_id="r-1", **more)  # type: ignore[arg-type]
    return msgspec.json.decode(body, type=dict[str, object])


@pytest.mark.parametrize("room", ["api", "commands"])
def test_every_code_that_is_raised_is_in_the_table(room: str) -> None:
    used = {code: path.name for path in (ROOT / room).rglob("*.py") for code in codes_in(path.read_text())}
    assert {code: path for code, path in used.items() if code not in PROBLEMS} == {}


def test_the_walk_finds_codes() -> None:
    assert codes_in("raise Rejected('a', 'b')\nUnavailable('c', d)\nRejected(code, 'x')") == {"a", "c"}


@pytest.mark.parametrize("code", PROBLEMS)
def test_a_code_has_a_status_a_title_and_says_what_to_do(code: str) -> None:
    kind = PROBLEMS[code]
    assert re.fullmatch(r"[a-z][a-z_]+", code)
    assert 400 <= kind.status <= 599
    assert kind.title and not kind.title.endswith(".")
    assert kind.remediation.why
    assert bool(kind.remediation.method) == kind.remediation.path.startswith("/")
    assert members(code)["status"] == kind.status


def test_a_problem_has_the_members_of_rfc_9457_and_ours() -> None:
    status, body = problem(
        "validation_failed", "/port: too large", request_id="r-1", violations=[Violation("/port", "too large")]
    )
    assert status == 400
    assert b": " not in body.replace(b"/port: ", b"")
    assert msgspec.json.decode(body) == {
        "type": "/problems/validation_failed",
        "title": "A field is not valid",
        "status": 400,
        "detail": "/port: too large",
        "error": "/port: too large",
        "code": "validation_failed",
        "request_id": "r-1",
        "retryable": False,
        "remediation": {"why": "each violation points at a field and says what it has to be"},
        "violations": [{"pointer": "/port", "message": "too large"}],
    }


def test_members_that_do_not_apply_are_absent() -> None:
    assert not members().keys() & {"violations", "retry_after_s"}
    assert members("rate_limited", retry_after_s=3)["retry_after_s"] == 3


def test_every_remediation_is_a_route_that_there_is() -> None:
    routes = {(route.method, route.path) for route in ROUTES}
    wanted = {(kind.remediation.method, kind.remediation.path) for kind in PROBLEMS.values()}
    assert wanted - routes == {("", "")}


def test_the_remediation_names_the_resource_where_it_is_known() -> None:
    body = members("circuit_open", params={"service_id": "0af"})
    assert body["remediation"]["path"] == "/v1/services/0af/reset"  # type: ignore[index]


def test_what_is_put_into_a_remediation_stays_one_segment() -> None:
    body = members("circuit_open", params={"service_id": "../x?y\0\udcff"})
    assert body["remediation"]["path"] == "/v1/services/..%2Fx%3Fy%00%3F/reset"  # type: ignore[index]


def test_further_members_do_not_replace_the_standard_ones() -> None:
    body = members("precondition_failed", extra={"expected": 3, "actual": 4, "status": 200})
    assert (body["expected"], body["actual"], body["status"]) == (3, 4, 412)


def test_a_detail_is_bounded_and_may_quote_what_is_not_utf8() -> None:
    assert len(str(members(detail="x" * 10_000)["detail"])) == limits.DETAIL_CHARS
    assert members(detail="/\udcff")["detail"] == "/?"


def test_no_more_violations_than_the_bound() -> None:
    many = [Violation(f"/{number}", "") for number in range(1_000)]
    assert len(members("validation_failed", violations=many)["violations"]) == limits.VIOLATIONS  # type: ignore[arg-type]
