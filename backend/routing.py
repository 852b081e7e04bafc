"""From a request to the call of a route's function: FastAPI declares, types and describes the routes; here they run."""

import json
import re
from collections.abc import Callable
from typing import Any, get_origin
from urllib.parse import parse_qsl, unquote_to_bytes

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from backend.auth import Claims, UserScheme, current_user
from backend.database import get_database
from backend.problems import Problem, invalid

JSON_MEDIA_TYPE = re.compile(r"application/(json|[\w.-]+\+json)\s*(;|$)", re.IGNORECASE)


def require_json(request: Request) -> None:
    """Raise Problem UNSUPPORTED_MEDIA_TYPE unless the body is said to be JSON, as it is."""
    if not JSON_MEDIA_TYPE.match(request.headers.get("content-type", "")):
        raise Problem("UNSUPPORTED_MEDIA_TYPE", "Send JSON, with the header Content-Type: application/json.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("UNSUPPORTED_MEDIA_TYPE", "Send the body as it is, without a Content-Encoding.")


def _require_utf8(scope: Scope) -> None:
    """Raise Problem VALIDATION_ERROR for a path or query that is no UTF-8, in which the server would replace bytes."""
    for part, said in (("path", scope["raw_path"]), ("query", scope["query_string"])):
        if b"%" in said:
            try:
                unquote_to_bytes(said).decode()
            except UnicodeDecodeError:
                raise invalid((part, "must be percent-encoded UTF-8")) from None


async def _body(request: Request) -> Any:
    """Return the JSON of a body, which is UTF-8: json.loads would take bytes in UTF-16 and UTF-32 as well."""
    require_json(request)
    data = await request.body()
    if not data:
        raise invalid(("body", "is required"))
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError):
        raise Problem("INVALID_JSON", "The body is not valid JSON in UTF-8.") from None


class UserRoute(APIRoute):
    """A route for a user: the token is checked before anything else of the request is read.

    It calls the function with what its signature declares to FastAPI: the user, the database, the request, what is in
    the path, a model of the query, a model of the body. FastAPI's own way there can do much more, and takes
    twice as long (docs/decisions/0008); errors go up to where those of the application are answered.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self.app = self._serve
        declared = self.dependant
        names = {type(d.call) if isinstance(d.call, UserScheme) else d.call: d.name for d in declared.dependencies}
        self._user_name = str(names[UserScheme])
        self._database_name = names.get(get_database)
        self._in_path = declared.path_params
        self._query = next(iter(declared.query_params), None)
        self._body = next(iter(declared.body_params), None)
        model = self._query.field_info.annotation if self._query else None
        fields = getattr(model, "model_fields", {})
        self._repeatable = {name for name, field in fields.items() if get_origin(field.annotation) is list}

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        user = await current_user(request)
        _require_utf8(request.scope)
        values, errors = await self._values(request)
        if errors:
            raise RequestValidationError(errors)
        result = await self.endpoint(**values, **self._context(request, user))
        if isinstance(result, Response):
            return result
        if result is None:
            return Response(status_code=self.status_code or 200)
        return Response(result.model_dump_json(), self.status_code or 200, media_type="application/json")

    def _context(self, request: Request, user: Claims) -> dict[str, Any]:
        """Return what a function is given that is not the caller's to say."""
        context: dict[str, Any] = {self._user_name: user}
        if self._database_name:
            context[self._database_name] = request.app.state.database
        if self.dependant.request_param_name:
            context[self.dependant.request_param_name] = request
        return context

    async def _values(self, request: Request) -> tuple[dict[str, Any], list[Any]]:
        """Return what the caller says, by the function's parameters, and every error in it."""
        said: list[tuple[Any, tuple[str, ...], Any]] = [
            (field, ("path", field.alias), request.path_params[field.alias]) for field in self._in_path
        ]
        if self._query:
            said.append((self._query, ("query",), self._parameters(request.scope["query_string"])))
        if self._body:
            said.append((self._body, ("body",), await _body(request)))
        values: dict[str, Any] = {}
        errors: list[Any] = []
        for field, place, value in said:
            values[field.name], wrong = field.validate(value, {}, loc=place)
            errors += wrong
        return values, errors

    def _parameters(self, query: bytes) -> dict[str, Any]:
        """Return the parameters of a query: of one that may be repeated all values, else the last."""
        found: dict[str, Any] = {}
        for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
            if name in self._repeatable:
                found.setdefault(name, []).append(value)
            else:
                found[name] = value
        return found
