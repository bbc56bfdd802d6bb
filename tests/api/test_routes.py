"""What the rows of the route table say of themselves: enough for the document and the tools, and in one form."""

import re

import pytest

from ahplat.api.codes import codes_of
from ahplat.api.problems import PROBLEMS
from ahplat.api.route import Route
from ahplat.api.routes import ROUTES
from ahplat.api.segments import SEGMENTS

EACH = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.id)


def test_an_id_names_one_route() -> None:
    ids = [route.id for route in ROUTES]
    assert sorted(set(ids)) == sorted(ids)


@EACH
def test_an_id_is_a_verb_and_a_noun(route: Route) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", route.id)


@EACH
def test_a_success_has_a_type_unless_it_has_no_body(route: Route) -> None:
    has_body = route.answer is not None or route.text or route.events is not None
    assert has_body == (route.status != 204)
    assert 200 <= route.status < 300


@EACH
def test_a_row_names_only_codes_that_there_are_and_that_it_does_not_have_by_its_kind(route: Route) -> None:
    assert codes_of(route) <= PROBLEMS.keys()
    assert sorted(set(route.codes)) == sorted(route.codes)
    assert not {code for code in route.codes if code in codes_of(_without_codes(route))}


def _without_codes(route: Route) -> Route:
    return Route(**{name: getattr(route, name) for name in route.__struct_fields__} | {"codes": ()})


@EACH
def test_what_varies_in_a_path_is_known(route: Route) -> None:
    assert set(route.segments) <= SEGMENTS.keys()


@EACH
def test_what_it_does_is_said_in_whole_sentences(route: Route) -> None:
    said = (route.handler.__doc__ or "").strip()
    assert re.match(r"[A-Z`]", said) and said.endswith((".", "?"))


@EACH
def test_only_commands_destroy_or_wait(route: Route) -> None:
    assert route.method != "GET" or not (route.destroys or route.waits or route.asks)
    assert route.method == "GET" or not route.records
    assert route.scope != "read" or route.auth != "key" or not route.is_command


@EACH
def test_what_has_a_past_is_a_read_of_the_log_that_can_end(route: Route) -> None:
    assert not route.as_of or (route.method == "GET" and not (route.early or route.records))
    assert not (route.as_of and route.stream) or route.answer is not None
    assert route.as_of or not route.of_log


WITHOUT_PAST = {
    **dict.fromkeys(
        ("get_openapi", "get_openapi_streams", "read_llms_txt", "get_api_catalog"), "describes this server"
    ),
    **dict.fromkeys(("list_problems", "read_problem"), "describes this server"),
    **dict.fromkeys(("get_health", "get_ready", "get_health_details"), "measures how it goes now"),
    **dict.fromkeys(("read_metrics", "get_platform_status", "list_garbage"), "measures how it goes now"),
    "get_whoami": "is about the key that asks, which is there now",
    "get_connection_string": "records who was told",
    **dict.fromkeys(("read_logs", "read_build_logs"), "reads what is not in the log"),
    **dict.fromkeys(("get_checkpoint", "get_event_proof"), "signs what is there now, with all of the past in it"),
}


@EACH
def test_every_read_has_a_past_or_a_reason_why_it_has_none(route: Route) -> None:
    assert route.method != "GET" or route.as_of != (route.id in WITHOUT_PAST)


def test_only_reads_need_a_reason() -> None:
    assert WITHOUT_PAST.keys() <= {route.id for route in ROUTES if route.method == "GET"}
