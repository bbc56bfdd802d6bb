"""Every error that HTTP answers with, as problem details (RFC 9457).

PROBLEMS is the list of stable codes: clients decide on `code`, `status` and `retryable`, people read `detail`. The
invariant: what is not in PROBLEMS is not sent, and each code says what to do next.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct

from ahplat import limits
from ahplat.errors import Violation

CONTENT_TYPE = "application/problem+json"


class Remediation(Struct, frozen=True, omit_defaults=True):
    """What to do next. `path` may hold `{service_id}` and the like; "" where no call helps by itself."""

    why: str
    method: str = ""
    path: str = ""


class Problem(Struct, frozen=True):
    """One kind of error. `retryable`: the same request, sent again later, can succeed."""

    status: int
    title: str
    retryable: bool
    remediation: Remediation


def _problem(status: int, title: str, why: str, call: str = "", *, retryable: bool = False) -> Problem:
    method, _, path = call.partition(" ")
    return Problem(status, title, retryable, Remediation(why, method, path))


_WHOAMI = "GET /v1/whoami"

PROBLEMS: dict[str, Problem] = {
    # what was sent
    "validation_failed": _problem(
        400, "A field is not valid", "each violation points at a field and says what it has to be"
    ),
    "bad_request": _problem(400, "The request is not HTTP", "send HTTP/1.1 (RFC 9112)"),
    "invalid_json": _problem(400, "The body is not JSON", "send one JSON object in UTF-8 (RFC 8259)"),
    "duplicate_key": _problem(400, "A key occurs twice in one object", "send each key once"),
    "unknown_field": _problem(
        400, "A field is not known", "take it out, or leave out `Prefer: handling=strict` to have it ignored"
    ),
    "method_not_allowed": _problem(405, "The path does not have this method", "`Allow` lists the methods"),
    "body_timeout": _problem(408, "The body did not come in time", "send the request again", retryable=True),
    "payload_too_large": _problem(
        413, "The body is too large", "send less: 1 MiB at most, 16 KiB where no key is sent, 64 MiB of an archive"
    ),
    "uri_too_long": _problem(414, "The request line is too long", "shorten the query"),
    "encoding_unsupported": _problem(415, "The body is compressed", "send it as it is, without Content-Encoding"),
    "headers_too_large": _problem(431, "A header field is too large", "shorten or leave out header fields"),
    # who sent it
    "unauthenticated": _problem(
        401,
        "No valid key was given",
        "send `Authorization: Bearer <keyID>.<secret>`; a lost key is replaced by recovery",
        "POST /v1/auth/recover",
    ),
    "key_expired": _problem(
        401, "The key has expired", "create a new key with another one of yours, or recover", "POST /v1/auth/recover"
    ),
    "key_revoked": _problem(
        401, "The key was revoked", "use another key of yours, or recover", "POST /v1/auth/recover"
    ),
    "bootstrap_token_invalid": _problem(
        401,
        "The bootstrap token is not valid",
        "send the operator's token as `X-Bootstrap-Token`",
        "POST /v1/system/bootstrap-token/validate",
    ),
    "forbidden_scope": _problem(
        403, "The key does not allow this", "use a key with the scope, or for the service, that this wants", _WHOAMI
    ),
    "tenant_suspended": _problem(
        403,
        "The tenant is suspended",
        "the operator can reactivate it until it is erased",
        "POST /v1/tenants/{tenant_id}/reactivate",
    ),
    "https_required": _problem(403, "Plain HTTP is not served", "send the request over https"),
    "origin_forbidden": _problem(
        403, "A page of another site must not ask here", "send no `Origin`, or ask from a page of this server"
    ),
    "operator_only": _problem(
        403, "Only the operator may do this", "use the bootstrap token or the operator's socket on the server"
    ),
    # what it is about
    "not_found": _problem(404, "There is no such path", "check the path; GET /v1/whoami says who you are", _WHOAMI),
    "tenant_not_found": _problem(404, "There is no such tenant", "list the tenants", "GET /v1/tenants"),
    "service_not_found": _problem(404, "There is no such service", "list your services", "GET /v1/services"),
    "key_not_found": _problem(404, "There is no such key", "list your keys", "GET /v1/auth/keys"),
    "deployment_not_found": _problem(
        404,
        "There is no such deployment",
        "list the service's deployments",
        "GET /v1/services/{service_id}/deployments",
    ),
    "build_not_found": _problem(
        404, "There is no such build", "list the service's builds", "GET /v1/services/{service_id}/builds"
    ),
    "env_not_found": _problem(
        404, "There is no such variable", "list the service's variables", "GET /v1/services/{service_id}/env"
    ),
    "database_not_found": _problem(404, "There is no such database", "list your databases", "GET /v1/databases"),
    "backup_not_found": _problem(
        404, "The database has no such backup", "list its backups", "GET /v1/databases/{database_id}/backups"
    ),
    "volume_not_found": _problem(404, "There is no such volume", "list your volumes", "GET /v1/volumes"),
    "domain_not_found": _problem(
        404, "The service has no such name", "list its names", "GET /v1/services/{service_id}/domains"
    ),
    "event_not_found": _problem(404, "There is no such event", "read the events", "GET /v1/events"),
    "effect_not_found": _problem(
        404, "There is no such open work", "see what is open and parked", "GET /v1/system/health/detailed"
    ),
    # what stands in its way
    "name_taken": _problem(409, "The name is taken", "choose another name, or delete what has it"),
    "domain_taken": _problem(
        409,
        "The name is another service's",
        "remove it there first; if it is yours and somebody else has it, ask the operator",
    ),
    "quota_exceeded": _problem(
        409, "A quota is used up", "delete what is not needed, or ask the operator for more", "GET /v1/tenant/usage"
    ),
    "database_not_deleted": _problem(
        409, "The database is not deleted", "use it as it is", "GET /v1/databases/{database_id}"
    ),
    "database_not_running": _problem(
        409,
        "The database does not run",
        "wait until its status is running, or start it",
        "POST /v1/databases/{database_id}/start",
    ),
    "database_restoring": _problem(
        409,
        "The database is being restored",
        "send it again when its status is running",
        "GET /v1/databases/{database_id}",
        retryable=True,
    ),
    "backup_under_way": _problem(
        409,
        "A backup of the database is under way",
        "wait for that one, or remove it",
        "GET /v1/databases/{database_id}/backups",
        retryable=True,
    ),
    "backup_not_verified": _problem(
        409,
        "The backup was not proved to be whole",
        "restore one whose status is verified",
        "GET /v1/databases/{database_id}/backups",
    ),
    "backup_in_use": _problem(
        409,
        "The database is being restored",
        "remove the backup when its status is running",
        "GET /v1/databases/{database_id}",
        retryable=True,
    ),
    "volume_in_use": _problem(
        409, "Another service has the volume", "name another volume, or free this one", "GET /v1/volumes"
    ),
    "volumes_need_one_replica": _problem(
        409, "A service with volumes has one replica", "set replicas to 1, or leave the volumes out"
    ),
    "nothing_to_deploy": _problem(
        409, "The service has no image", "deploy an image first", "POST /v1/services/{service_id}/deploy"
    ),
    "circuit_open": _problem(
        409,
        "The service crashed too often",
        "read its last_error and its deployments' log_tail, mend it, then reset the breaker",
        "POST /v1/services/{service_id}/reset",
    ),
    "not_cancellable": _problem(
        409,
        "The deployment has come to its end",
        "a deployment that serves is undone by a rollback",
        "POST /v1/services/{service_id}/rollback",
    ),
    "build_ended": _problem(
        409, "The build has come to its end", "ask for another one", "POST /v1/services/{service_id}/builds"
    ),
    "nothing_to_roll_back": _problem(
        409, "There is no earlier deployment", "list them", "GET /v1/services/{service_id}/deployments"
    ),
    "undo_stale": _problem(
        409,
        "Something newer changed the same",
        "`moved_by` is its position: undo that first, or do anew what is wanted",
    ),
    "undo_impossible": _problem(409, "Nothing undoes it", "`detail` says why, and what to do instead"),
    "not_running": _problem(
        409, "Nothing of the service runs", "start it, or look at its status", "POST /v1/services/{service_id}/start"
    ),
    "exec_busy": _problem(
        409, "Too many commands run in the service", "send it again when one has ended", retryable=True
    ),
    "exec_cut_off": _problem(
        409, "The command was ended before its time", "it is not run again: order it with a new Idempotency-Key"
    ),
    "exec_lost": _problem(
        503,
        "What became of the command is not known",
        "look at the service's status; it is not run again: order it with a new Idempotency-Key",
        "GET /v1/services/{service_id}",
    ),
    "tenant_not_suspended": _problem(409, "The tenant is not suspended", "its keys work: use or recover one", _WHOAMI),
    "not_parked": _problem(
        409, "The work is not parked", "it is tried again by itself", "GET /v1/system/health/detailed"
    ),
    "outcome_refused": _problem(409, "The work has moved on", "read what became of it", "GET /v1/events"),
    "idempotency_in_flight": _problem(
        409,
        "The first request with this key is still under way",
        "send the same request with the same key again after Retry-After",
        retryable=True,
    ),
    "cursor_gone": _problem(
        410, "The cursor is not of this log, or of no place in it", "begin again without a cursor", "GET /v1/events"
    ),
    "log_gone": _problem(410, "The log went with its containers", "ask without `deployment`; follow to keep one"),
    "precondition_failed": _problem(
        412, "The resource has changed", "read it again and decide on what it is now, with its new ETag"
    ),
    "duplicate_email": _problem(
        422, "The address has a tenant", "recover a key for that tenant", "POST /v1/auth/recover"
    ),
    "idempotency_mismatch": _problem(
        422, "The key was used for another request", "use a new Idempotency-Key for a new request"
    ),
    # how often it came
    "rate_limited": _problem(
        429, "Too many requests", "send it again after Retry-After; `RateLimit` says what is left", retryable=True
    ),
    "auth_rate_limited": _problem(
        429, "Too many failed authentications", "check the key and wait for Retry-After", retryable=True
    ),
    "registration_limited": _problem(429, "Too many registrations", "wait for Retry-After", retryable=True),
    # a repository or an archive that is not built here
    "archive_invalid": _problem(400, "The archive cannot be built", "send a tar.gz of files, folders and inner links"),
    "source_invalid": _problem(
        400,
        "The repository's address or ref is not valid",
        "name it as https://HOST/OWNER/NAME, and a branch, a tag or a whole commit",
        "POST /v1/services/{service_id}/builds",
    ),
    "source_forbidden": _problem(
        400,
        "The repository's host is not allowed here",
        "use a host that the operator allows",
        "POST /v1/services/{service_id}/builds",
    ),
    "builds_unavailable": _problem(
        503, "No builds can run on this server", "tell the operator what is missing", "GET /v1/system/health/detailed"
    ),
    # an image or an option that the engine cannot take
    "image_not_found": _problem(
        400,
        "The image does not exist",
        "check name and tag, then deploy again",
        "POST /v1/services/{service_id}/deploy",
    ),
    "image_forbidden": _problem(
        400,
        "The image is not allowed here",
        "use an image of a registry that the operator allows",
        "POST /v1/services/{service_id}/deploy",
    ),
    "image_invalid": _problem(
        400,
        "The image's name is not valid",
        "name it as [registry/]name[:tag][@digest]",
        "POST /v1/services/{service_id}/deploy",
    ),
    "egress_unsupported": _problem(400, "The engine cannot restrict traffic this way", "leave `egress` at its default"),
    "volumes_unsupported": _problem(400, "The engine cannot mount volumes", "leave `volumes` out"),
    # ours
    "internal": _problem(
        500, "Something broke on our side", "nothing was changed; tell the operator the request_id", "GET /v1/activity"
    ),
    "outcome_unknown": _problem(
        500,
        "It may or may not have happened",
        "send the same request with the same Idempotency-Key again: it tells",
        retryable=True,
    ),
    "disk_full": _problem(
        503,
        "The server's disk is full",
        "delete what is not needed, or ask the operator to make room: what stops, deletes and reads goes on",
        "GET /v1/system/health/detailed",
        retryable=True,
    ),
    "engine_unavailable": _problem(
        503, "The container engine does not answer", "try again later", "GET /v1/system/ready", retryable=True
    ),
    "not_ready": _problem(
        503, "The platform cannot do everything", "wait, and ask again", "GET /v1/system/ready", retryable=True
    ),
    "starting": _problem(
        503, "The server is starting", "wait until it is ready", "GET /v1/system/ready", retryable=True
    ),
    "overloaded": _problem(503, "Too much is waiting", "send it again after Retry-After", retryable=True),
    "stopping": _problem(503, "The server is stopping", "send it again to the next one", retryable=True),
    "log_busy": _problem(503, "The log is locked by somebody else", "send it again after Retry-After", retryable=True),
    "projection_lag": _problem(
        504, "The views have not come to that position", "ask again with the same min_position", retryable=True
    ),
    # the built-in router
    "no_route": _problem(
        404, "No service answers under this name", "look at the service's url and status", "GET /v1/services"
    ),
    "no_instance": _problem(
        503,
        "Nothing of the service runs at the moment",
        "it is being repaired: ask again, or look at its status and last_error",
        "GET /v1/services",
        retryable=True,
    ),
    "bad_gateway": _problem(
        502,
        "The service did not answer as HTTP has it",
        "look at its status and last_error",
        "GET /v1/services",
        retryable=True,
    ),
    "gateway_timeout": _problem(
        504,
        "The service did not answer in time",
        "look at its status and last_error",
        "GET /v1/services",
        retryable=True,
    ),
}

_encode = msgspec.json.Encoder().encode


def problem(
    code: str,
    detail: str,
    *,
    request_id: str,
    violations: Sequence[Violation] = (),
    retry_after_s: int | None = None,
    params: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> tuple[int, bytes]:
    """(status, body) of one error.

    `params` fill the remediation's path (`{"service_id": …}`); `extra` are further members, such as what a
    precondition expected and found. Raises KeyError for a code that is not in PROBLEMS.
    """
    kind = PROBLEMS[code]
    detail = detail[: limits.DETAIL_CHARS]
    body: dict[str, Any] = {
        "type": f"/problems/{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "error": detail,
        "code": code,
        "request_id": request_id,
        "retryable": kind.retryable,
        "remediation": _filled(kind.remediation, params) if params else kind.remediation,
    }
    if violations:
        body["violations"] = violations[: limits.VIOLATIONS]
    if retry_after_s is not None:
        body["retry_after_s"] = retry_after_s
    if extra:
        body = {**extra, **body}
    try:
        return kind.status, _encode(body)
    except UnicodeEncodeError:  # a path or header that was not UTF-8, quoted in the detail
        body["detail"] = body["error"] = detail.encode("utf-8", "replace").decode()
        return kind.status, _encode(body)


def _filled(remediation: Remediation, params: Mapping[str, str]) -> Remediation:
    path = remediation.path
    for name, value in params.items():
        path = path.replace("{" + name + "}", quote(value, safe="", errors="replace"))
    return Remediation(remediation.why, remediation.method, path)
