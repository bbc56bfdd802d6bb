"""What can go wrong, as people and scripts meet it: two lines that say what and what to do next, and an exit code by kind.

The server's problems (RFC 9457) are passed on; what it could not say itself, for it was not reached, has the same form.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

OK, FAILED, USAGE, UNAUTHORISED, MISSING, CONFLICT, UNAVAILABLE, UNKNOWN, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 7, 130

EXIT_CODES = {
    OK: "done",
    FAILED: "the work failed: a build, a deployment, a database, or something broke",
    USAGE: "the command line, or a value in it, is not valid",
    UNAUTHORISED: "no key, one that is not valid, or one that may not",
    MISSING: "there is no such thing",
    CONFLICT: "it conflicts with what is there, or a quota is used up",
    UNAVAILABLE: "not now: the server is away, full or busy; the same command later can succeed",
    UNKNOWN: "it may or may not have happened: the message says how to repeat it safely",
    INTERRUPTED: "Ctrl-C; what was set in motion goes on",
}

_CODES = {  # of what the server did not say; it has the same where it can
    FAILED: "failed",
    USAGE: "usage",
    UNAUTHORISED: "unauthenticated",
    MISSING: "not_found",
    CONFLICT: "conflict",
    UNAVAILABLE: "unavailable",
    UNKNOWN: "outcome_unknown",
    INTERRUPTED: "interrupted",
}
_BY_STATUS = {400: USAGE, 401: UNAUTHORISED, 403: UNAUTHORISED, 404: MISSING, 405: USAGE, 408: UNAVAILABLE}
_BY_STATUS |= {409: CONFLICT, 410: MISSING, 412: CONFLICT, 413: USAGE, 414: USAGE, 415: USAGE, 422: CONFLICT}
_BY_STATUS |= {429: UNAVAILABLE, 431: USAGE, 500: FAILED, 502: UNAVAILABLE, 503: UNAVAILABLE, 504: UNAVAILABLE}
_BY_CODE = {
    "outcome_unknown": UNKNOWN,
    "exec_lost": UNKNOWN,
    "payload_too_large": USAGE,
    "idempotency_in_flight": UNKNOWN,
}

HINTS = {  # what helps next where that is a command of ours
    "service_not_found": "`ahc services` lists them",
    "database_not_found": "`ahc db list` lists them",
    "build_not_found": "`ahc builds SERVICE` lists them",
    "deployment_not_found": "`ahc status SERVICE` lists them",
    "env_not_found": "`ahc env SERVICE` lists them",
    "quota_exceeded": "`ahc usage` shows what is used; delete something, or ask the operator for more",
    "unauthenticated": "`ahc login` takes a key, `ahc register` makes a tenant with one",
    "key_expired": "make another with a key that is valid, and `ahc login` with it",
    "key_revoked": "`ahc login` with another key",
    "forbidden_scope": "`ahc whoami` shows what your key may do",
    "bootstrap_token_invalid": "set AH_BOOTSTRAP_TOKEN to the token that the operator gave you",
    "validation_failed": "`ahc COMMAND --help` says what it takes",
    "payload_too_large": "leave out what the build does not need: .dockerignore names it",
    "not_running": "`ahc status SERVICE` says why; `ahc start SERVICE` starts it",
    "duplicate_name": "choose another name, or use the one that is there",
}


class Failure(Exception):
    """Ends the command. `problem` is what `--json` prints, `hint` what to do next, `code` the exit code."""

    def __init__(self, code: int, what: str, hint: str = "", problem: Mapping[str, Any] | None = None) -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.hint = hint
        said = {"type": "about:blank", "title": EXIT_CODES[code], "detail": what, "error": what, "code": _CODES[code]}
        self.problem: dict[str, Any] = dict(problem or said)
        if hint:
            self.problem.setdefault("remediation", {"why": hint})

    def advise(self, hint: str) -> None:
        """What to do next is something else than was thought."""
        self.hint = hint
        self.problem["remediation"] = {"why": hint}


class Problem(Struct, frozen=True):
    """What of a server's problem is decided on."""

    status: int
    code: str
    retryable: bool
    retry_after_s: float | None = None


def of_problem(problem: Mapping[str, Any]) -> Failure:
    """The failure that a problem of the server's is.

    >>> why = of_problem({"status": 404, "detail": "there is no service x", "code": "service_not_found"})
    >>> why.code, why.what, why.hint
    (4, 'there is no service x (service_not_found)', '`ahc services` lists them')
    """
    status, code = int(problem.get("status", 500)), str(problem.get("code", ""))
    exit_code = _BY_CODE.get(code, _BY_STATUS.get(status, USAGE if status < 500 else FAILED))
    what = str(problem.get("detail") or problem.get("title") or f"the server answered {status}")
    remediation = problem.get("remediation")
    why = str(remediation.get("why", "")) if isinstance(remediation, Mapping) else ""
    hint = HINTS.get(code, why)
    if code in ("internal", "outcome_unknown") and problem.get("request_id"):
        hint = f"{hint} (request {problem['request_id']})"
    return Failure(exit_code, f"{what} ({code})" if code else what, hint, problem)
