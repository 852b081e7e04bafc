"""Every error the API answers with: one shape (RFC 9457), one table of codes, and no echo of the input."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

MEDIA_TYPE = "application/problem+json"

# Every code, its status and its title; the order is the one in which a request meets them.
CODES = {
    "MISSING_TOKEN": (401, "Missing token"),
    "TOKEN_TOO_LARGE": (431, "Token too large"),
    "TOKEN_EXPIRED": (401, "Token expired"),
    "INVALID_TOKEN": (401, "Invalid token"),
    "TOKEN_REVOKED": (401, "Token revoked"),
    "RATE_LIMIT_EXCEEDED": (429, "Rate limit exceeded"),
    "INSUFFICIENT_SCOPE": (403, "Insufficient scope"),
    "READ_ONLY": (403, "Read only"),
    "TOO_MANY_STREAMS": (429, "Too many streams"),
    "NOT_FOUND": (404, "Not found"),
    "METHOD_NOT_ALLOWED": (405, "Method not allowed"),
    "BODY_TOO_LARGE": (413, "Body too large"),
    "UNSUPPORTED_MEDIA_TYPE": (415, "Unsupported media type"),
    "INVALID_HEADER": (400, "Invalid header"),
    "INVALID_CURSOR": (400, "Invalid cursor"),
    "INVALID_JSON": (400, "Invalid JSON"),
    "CONFIRMATION_REQUIRED": (428, "Confirmation required"),
    "VALIDATION_ERROR": (422, "Validation error"),
    "TASK_NOT_FOUND": (404, "Task not found"),
    "TAG_NOT_FOUND": (404, "Tag not found"),
    "PRECONDITION_FAILED": (412, "Precondition failed"),
    "IDEMPOTENCY_KEY_REUSED": (422, "Idempotency key reused"),
    "CHANGE_NOT_FOUND": (404, "Change not found"),
    "CHANGES_NOT_KEPT": (410, "Changes not kept"),
    "CHANGED_SINCE": (409, "Changed since"),
    "STILL_IN_USE": (409, "Still in use"),
    "LIMIT_REACHED": (409, "Limit reached"),
    "INTERNAL_ERROR": (500, "Internal error"),
    "DATABASE_UNAVAILABLE": (503, "Database unavailable"),
    "AUTH_KEYS_UNAVAILABLE": (503, "Authentication keys unavailable"),
    "OVERLOADED": (503, "Overloaded"),
}

BODY_PROBLEMS = ("VALIDATION_ERROR", "INVALID_JSON", "BODY_TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE")
COMMON_CODES = (
    "MISSING_TOKEN",
    "TOKEN_TOO_LARGE",
    "TOKEN_EXPIRED",
    "INVALID_TOKEN",
    "TOKEN_REVOKED",
    "RATE_LIMIT_EXCEEDED",
    "INSUFFICIENT_SCOPE",
    "READ_ONLY",
    "INTERNAL_ERROR",
    "DATABASE_UNAVAILABLE",
    "AUTH_KEYS_UNAVAILABLE",
    "OVERLOADED",
)
SCHEMA_REF = {"$ref": "#/components/schemas/ProblemDetails"}


class FieldError(BaseModel):
    """One field that was refused, and why."""

    field: str = Field(examples=["title"])
    message: str = Field(examples=["must have at least 1 character"])


class NamedRow(BaseModel):
    """A row that is in the way."""

    resource: str = Field(examples=["tasks"])
    id: str = Field(examples=["0199f2b6-6f0e-7c59-a4a5-2c1f3f0a9f5b"])


class ProblemDetails(BaseModel):
    """The body of every error (RFC 9457). Decide by `code`; `detail` is for people."""

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Validation error"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["title must have at least 1 character."])
    code: str = Field(examples=["VALIDATION_ERROR"], json_schema_extra=lambda schema: schema.update(enum=list(CODES)))
    request_id: str = Field(examples=["0199f2b6-6f0e-7c59-a4a5-2c1f3f0a9f5b"])
    field: str | None = Field(default=None, description="The first field that was refused (422).", examples=["title"])
    errors: list[FieldError] | None = Field(default=None, description="Every field that was refused (422).")
    rows: list[NamedRow] | None = Field(default=None, description="Every row that has changed since (409).")
    version: int | None = Field(default=None, description="The version that the row has now (412).", examples=[3])


class Problem(HTTPException):
    """An error that the caller is told of. Raise it anywhere below the middleware."""

    constraint: str | None = None  # of the database, where one refused a statement
    is_about_values = False  # whether the database refused a statement for what is in its rows
    rows: Sequence[Mapping[str, str]] = ()  # that are in the way
    version: int | None = None  # that a row has now

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.code = code
        status, self.title = CODES[code]
        super().__init__(status, detail, headers)
        self.errors = errors

    @classmethod
    def of_status(cls, status: int, detail: str, headers: Mapping[str, str] | None = None) -> "Problem":
        """Return the problem for an HTTPException of a route's own: its status, and the code of that name."""
        problem = cls("INTERNAL_ERROR", detail, headers=headers)
        problem.status_code = status
        try:
            problem.title, problem.code = HTTPStatus(status).phrase, HTTPStatus(status).name
        except ValueError:  # a status that has no name
            problem.title, problem.code = "Error", "ERROR"
        return problem

    def response(self, request_id: str) -> Response:
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status_code,
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
        }
        if self.errors:
            body["field"] = self.errors[0][0]
            body["errors"] = [{"field": field, "message": message} for field, message in self.errors]
        if self.rows:
            body["rows"] = self.rows
        if self.version is not None:
            body["version"] = self.version
        return Response(json.dumps(body, separators=(",", ":")), self.status_code, self.headers, MEDIA_TYPE)


def internal_error() -> Problem:
    """Return the 500. The caller cannot mend it, so the details are only in the log."""
    return Problem("INTERNAL_ERROR", "Something went wrong here; the request id finds it in the log.")


def invalid(*errors: tuple[str, str]) -> Problem:
    """Return the 422 for fields and what is wrong with each: `("title", "must not be empty")`."""
    field, message = errors[0]
    return Problem("VALIDATION_ERROR", f"{field} {message}.".lstrip(), errors=errors)


# pydantic's words, by error type, where they would puzzle the sender of a JSON body.
MESSAGES = {
    "missing": "is required",
    "uuid_parsing": "must be a UUID like 0199f2b6-6f0e-7c59-a4a5-2c1f3f0a9f5b",
    "extra_forbidden": "is not known here",
    "string_pattern_mismatch": "must not contain control characters such as NUL",
    "string_unicode": "must be valid Unicode, without lone surrogates",
    "timezone_aware": "must have an offset from UTC, like 2030-01-31T09:00:00Z",
    "model_attributes_type": "must be a JSON object",
    "model_type": "must be a JSON object",
}
PATTERN_MESSAGES: dict[str, str] = {}  # by the pattern, where a field has a better word for it


def _field_error(error: Mapping[str, Any]) -> tuple[str, str]:
    """Return the field's name and one message for a pydantic error; never its input."""
    # The first element only says body, query or path. An unknown field's name is the sender's own text, so it is cut.
    path = ".".join(str(part) for part in error["loc"][1:]) or str(error["loc"][0])
    message = MESSAGES.get(error["type"])
    if error["type"] == "extra_forbidden" and error["loc"][0] == "query":
        message = "is no query parameter of this route"
    if error["type"] == "string_pattern_mismatch":
        message = PATTERN_MESSAGES.get(error["ctx"]["pattern"], message)
    if message is None:
        message = error["msg"].removeprefix("Value error, ").removeprefix("Input ").removeprefix("String ")
        message = message.removeprefix("List ").replace("should", "must", 1)
    return path.encode("utf-8", "replace").decode()[:100], message


def _request_id(request: Request) -> str:
    return str(request.scope["state"]["request_id"])


async def _on_problem(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)
    return problem.response(_request_id(request))


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    if any(e["type"] == "json_invalid" for e in errors):
        problem = Problem("INVALID_JSON", "The body is not valid JSON.")
    else:
        problem = invalid(*(_field_error(e) for e in errors))
    return problem.response(_request_id(request))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code < 200 or error.status_code in (204, 304):  # these have no body
        return Response(status_code=error.status_code, headers=error.headers)
    root: str = request.scope["root_path"]
    inner = request.scope["path"].removeprefix(root)
    if error.status_code == 405:
        # Starlette names the methods of the first route on this path only; each method here is a route.
        paths = request.app.openapi()["paths"]
        here = (paths[path] for path in paths if compile_path(path)[0].match(inner))
        methods = [method.upper() for operations in here for method in operations]
        methods = methods or (error.headers or {}).get("Allow", "GET").split(", ")
        allowed = ", ".join(f"{method}, HEAD" if method == "GET" else method for method in methods if method != "HEAD")
        problem = Problem("METHOD_NOT_ALLOWED", f"This path takes {allowed}.", headers={"Allow": allowed})
    elif "endpoint" not in request.scope:  # a 404 of the router: no route was found
        problem = Problem("NOT_FOUND", f"There is nothing at this path. The API's routes are listed at {root}/docs.")
    else:
        problem = Problem.of_status(error.status_code, str(error.detail), error.headers)
    return problem.response(_request_id(request))


def responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the error responses of a user's route for OpenAPI: these codes and the common ones, by status."""
    documented: dict[int | str, dict[str, Any]] = {}
    for code in (*codes, *COMMON_CODES):
        status, title = CODES[code]
        known = documented.setdefault(status, {"description": "", "content": {MEDIA_TYPE: {"schema": SCHEMA_REF}}})
        known["description"] = " or ".join(filter(None, [known["description"], f"{title} (`{code}`)"]))
    return documented


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
