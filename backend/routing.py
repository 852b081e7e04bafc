"""The routes of a user: the token is checked first, and what most routes need is called without FastAPI's detours."""

import inspect
import json
import re
from collections.abc import Callable, Coroutine
from typing import Any, get_args, get_origin
from urllib.parse import parse_qsl, unquote_to_bytes

from fastapi import Request, Response, params
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from backend.auth import Claims, UserScheme, current_user
from backend.database import get_database
from backend.problems import Problem, invalid
from backend.settings import DeclarationError

JSON_MEDIA_TYPE = re.compile(r"application/(json|[\w.-]+\+json)\s*(;|$)", re.IGNORECASE)


def require_json(request: Request) -> None:
    """Raise Problem UNSUPPORTED_MEDIA_TYPE unless the body is sent as plain JSON."""
    if not JSON_MEDIA_TYPE.match(request.headers.get("content-type", "")):
        raise Problem("UNSUPPORTED_MEDIA_TYPE", "Send JSON, with the header Content-Type: application/json.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("UNSUPPORTED_MEDIA_TYPE", "Send the body as it is, without a Content-Encoding.")


def _require_utf8(scope: Scope) -> None:
    """Raise Problem VALIDATION_ERROR unless path and query are UTF-8: the server would replace other bytes."""
    for part, said in (("path", scope["raw_path"]), ("query", scope["query_string"])):
        if b"%" in said:
            try:
                unquote_to_bytes(said).decode()
            except UnicodeDecodeError:
                raise invalid((part, "must be percent-encoded UTF-8")) from None


async def _body(request: Request) -> Any:
    """Return the JSON of a body in UTF-8. json.loads(bytes) would also take UTF-16 and UTF-32."""
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

    A coroutine that takes only the user, the database, the request, path parameters, one query model and one JSON
    body is called directly, in half of FastAPI's time (docs/decisions/0008). A route that needs more takes FastAPI's
    own way, after the same check of the token.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        try:
            super().__init__(path, endpoint, **options)
        except RuntimeError as error:  # a form or a file, and python-multipart is not there
            needs = str(error).splitlines()[0].strip()
            raise DeclarationError(f"{path}: {endpoint.__name__}(): {needs} Run: uv add python-multipart") from None
        declared = self.dependant
        names = {type(d.call) if isinstance(d.call, UserScheme) else d.call: d.name for d in declared.dependencies}
        if UserScheme not in names:
            method = "/".join(self.methods or ())
            raise DeclarationError(
                f"{method} {path}: {endpoint.__name__}() takes no user. Give it a parameter `user: CurrentUser`, "
                "or put it on an APIRouter without route_class=UserRoute to answer everybody."
            )
        self._user_name = names[UserScheme]
        self.scopes = next(d.call.scopes for d in declared.dependencies if isinstance(d.call, UserScheme))
        self._database_name = names.get(get_database)
        self._in_path = declared.path_params
        self._query = next(iter(declared.query_params), None)
        self._body = next(iter(declared.body_params), None)
        model = self._query.field_info.annotation if self._query else None
        fields = getattr(model, "model_fields", {})
        self._known = _names_of(declared)
        self._repeatable = {f.alias or name for name, f in fields.items() if _takes_several(f.annotation)}
        if len(names) == len(declared.dependencies) and self._is_plain():
            self.app = self._serve

    def _is_plain(self) -> bool:
        """Return whether the route uses nothing but what `_answer` knows."""
        declared = self.dependant
        known = {UserScheme, get_database}
        models = [param.field_info for param in (self._query, self._body) if param]
        shaped_by_fastapi = (
            self.response_model_include,
            self.response_model_exclude,
            self.response_model_exclude_unset,
            self.response_model_exclude_defaults,
            self.response_model_exclude_none,
        )
        return (
            inspect.iscoroutinefunction(self.endpoint)
            and not self.dependencies
            and all(d.name and (type(d.call) in known or d.call in known) for d in declared.dependencies)
            and len(declared.query_params) <= 1
            and len(declared.body_params) <= 1
            and all(inspect.isclass(m.annotation) and issubclass(m.annotation, BaseModel) for m in models)
            and all(m.is_required() and not isinstance(m, params.Form) for m in models)
            and not (self._body and self._embed_body_fields)
            and not declared.header_params
            and not declared.cookie_params
            and not declared.http_connection_param_name
            and not declared.response_param_name
            and not declared.background_tasks_param_name
            and not declared.security_scopes_param_name
            and not any(shaped_by_fastapi)
            and self.max_body_size is None
            and isinstance(self.response_class, DefaultPlaceholder)
            and self._answers_as_it_is()
        )

    def _answers_as_it_is(self) -> bool:
        """Return whether what the function returns is the answer: a Response, nothing, or the response model."""
        returned = inspect.signature(self.endpoint, eval_str=True).return_annotation
        is_response = inspect.isclass(returned) and issubclass(returned, Response)
        is_model = inspect.isclass(returned) and issubclass(returned, BaseModel) and returned is self.response_model
        return returned is None or is_response or is_model

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's own way to call the function, behind the same check of the token and of a JSON body."""
        handler = super().get_route_handler()
        body = self.body_field and self.body_field.field_info

        async def answer(request: Request) -> Response:
            await current_user(request, self.scopes)
            _require_utf8(request.scope)
            if errors := self._unknown(request.scope["query_string"]):
                raise RequestValidationError(errors)
            if body and not isinstance(body, params.Form) and (body.is_required() or await request.body()):
                await _body(request)
            return await handler(request)

        return answer

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        user = await current_user(request, self.scopes)
        _require_utf8(request.scope)
        values, errors = await self._values(request)
        if errors:
            raise RequestValidationError(errors)
        result = await self.endpoint(**values, **self._context(request, user))
        if isinstance(result, Response):
            return result
        if result is None:
            return Response(status_code=self.status_code or 200)
        if not isinstance(result, self.response_model):
            result = self.response_model.model_validate(result)
        # By the serializer of the declared model: a subclass may have fields that must not be shown.
        content = self.response_model.__pydantic_serializer__.to_json(result)
        return Response(content, self.status_code or 200, media_type="application/json")

    def _context(self, request: Request, user: Claims) -> dict[str, Any]:
        """Return the arguments that do not come from the caller."""
        context: dict[str, Any] = {self._user_name or "": user}
        if self._database_name:
            context[self._database_name] = request.app.state.database
        if self.dependant.request_param_name:
            context[self.dependant.request_param_name] = request
        return context

    async def _values(self, request: Request) -> tuple[dict[str, Any], list[Any]]:
        """Return the arguments that come from the caller, validated, and every error in them."""
        said: list[tuple[Any, tuple[str, ...], Any]] = [
            (field, ("path", field.alias), request.path_params[field.alias]) for field in self._in_path
        ]
        if self._query:
            said.append((self._query, ("query",), self._parameters(request.scope["query_string"])))
        if self._body:
            said.append((self._body, ("body",), await _body(request)))
        values: dict[str, Any] = {}
        errors = self._unknown(request.scope["query_string"])
        for field, place, value in said:
            values[field.name], wrong = field.validate(value, {}, loc=place)
            errors += wrong
        return values, errors

    def _unknown(self, query: bytes) -> list[Any]:
        """Return an error for each parameter of a query that the route does not declare: most often a typo."""
        if not query or self._known is None:
            return []
        names = dict.fromkeys(name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True))
        return [{"type": "extra_forbidden", "loc": ("query", name)} for name in names if name not in self._known]

    def _parameters(self, query: bytes) -> dict[str, Any]:
        """Return the parameters of a query: all values of one that may be repeated, else the last."""
        found: dict[str, Any] = {}
        for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
            if name in self._repeatable:
                found.setdefault(name, []).append(value)
            else:
                found[name] = value
        return found


def _names_of(declared: Dependant) -> set[str] | None:
    """Return what a route and its dependencies take in a query; None if a model of theirs looks after that itself."""
    names: set[str] = set()
    for param in declared.query_params:
        model = param.field_info.annotation
        if not (inspect.isclass(model) and issubclass(model, BaseModel)):
            names.add(param.alias)
        elif model.model_config.get("extra") in ("allow", "forbid"):
            return None
        else:
            names |= {field.alias or name for name, field in model.model_fields.items()}
    for dependency in declared.dependencies:
        more = _names_of(dependency)
        if more is None:
            return None
        names |= more
    return names


def _takes_several(annotation: Any) -> bool:
    """Return whether a query parameter may be repeated: list[str], set[str] | None."""
    return any(get_origin(one) in (list, set, frozenset, tuple) for one in (annotation, *get_args(annotation)))


def typed(function: Callable[..., Any], **types: Any) -> Callable[..., Any]:
    """Return a function that declares these types of its parameters to FastAPI."""
    function.__annotations__ |= types
    return function
