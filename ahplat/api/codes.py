"""Which problems a route can answer with: its own, and those that every route of its kind has.

The edge and the writer give the latter, so that no row has to name them. The invariant: a route answers with no code that
`codes_of` does not name; the tests hold every answer against it.
"""

from ahplat.api.route import Route
from ahplat.api.segments import SEGMENTS

ANY = frozenset(
    {
        *("bad_request", "uri_too_long", "headers_too_large", "https_required", "internal"),
        *("body_timeout", "payload_too_large", "encoding_unsupported"),  # a GET can have a body, too
        *("validation_failed", "unknown_field"),  # in the query
    }
)
LATE = frozenset({"stopping", "starting", "rate_limited"})  # of what is not answered before all is in step
READ = frozenset({"projection_lag"})  # min_position
COMMAND = frozenset(
    {
        *("precondition_failed", "idempotency_mismatch"),
        *("outcome_unknown", "overloaded", "log_busy", "disk_full"),
    }
)
BODY = frozenset({"invalid_json", "duplicate_key"})
_KEY = frozenset(
    {
        *("unauthenticated", "key_expired", "key_revoked", "auth_rate_limited", "overloaded"),
        *("tenant_suspended", "tenant_not_found"),  # since it was let in
        "forbidden_scope",  # a key may be for one service alone
    }
)
_TOKEN = frozenset({"bootstrap_token_invalid", "auth_rate_limited"})
_OPERATOR = _TOKEN | {"operator_only"}
BY_AUTH = {
    "none": frozenset[str](),
    "bootstrap": _TOKEN,
    "registration": _TOKEN,
    "key": _KEY,
    "operator": _OPERATOR,
    "key_or_operator": _KEY | _OPERATOR,
    "metrics": _OPERATOR,
}


def codes_of(route: Route) -> frozenset[str]:
    """All problems that it can answer with. Those of paths and methods that there are not belong to no route."""
    found = {*route.codes, *ANY, *BY_AUTH[route.auth]}
    found |= {SEGMENTS[name].code for name in route.segments}
    if not route.early:
        found |= LATE
    if route.method == "GET":
        found |= READ if not route.early else set()
    else:
        found |= BODY
    if route.is_command or route.records:
        found |= COMMAND
    if route.as_of:
        found |= {"overloaded", "tenant_not_found"}
    if route.is_paged:
        found.add("cursor_gone")
    return frozenset(found)
