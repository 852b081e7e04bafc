"""The API description: what FastAPI derives, and the schemas that it cannot see."""

from functools import cache
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from backend.auth import needed
from backend.export_import import document
from backend.problems import ProblemDetails
from backend.resources import RESOURCES
from backend.routing import UserRoute


def _schemas(model: type[BaseModel], suffix: str) -> dict[str, Any]:
    """Return the schemas of a model and of what it is made of, by name."""
    schema = model.model_json_schema(ref_template=f"#/components/schemas/{{model}}{suffix}")
    parts = {**schema.pop("$defs", {}), model.__name__: schema}
    return {f"{name}{suffix}": part for name, part in parts.items()}


def _say_defaults_in_words(body: dict[str, Any]) -> None:
    # openapi-typescript takes a field of a body that has a default for one that a client must send.
    for field in body["properties"].values():
        default = field.pop("default", None)
        if default is not None:
            field["description"] = f"{field.get('description', '')} Default: `{default}`.".lstrip()


# The headers that more than one module sets: by the statuses of a user's route that have them.
HEADERS = {
    "X-Request-ID": (None, "Finds the request in the log.", "0199f2b6-6f0e-7c59-a4a5-2c1f3f0a9f5b"),
    "API-Version": (None, "The version of this description.", "1"),
    "Change": (
        ("200", "201", "204"),
        "The `seq` of what was changed, for `GET /api/changes` and to undo it; absent if nothing was.",
        "812",
    ),
    "RateLimit-Policy": (
        None,
        "The limit that counted the request: its quota in a window of seconds.",
        '"user";q=600;w=60',
    ),
    "RateLimit": (None, "How many remain, and for how many seconds.", '"user";r=599;t=42'),
    "Retry-After": (("429", "503"), "In how many seconds to try again.", "2"),
    "WWW-Authenticate": (("401", "403"), "Which kind of token is wanted (RFC 6750).", 'Bearer error="invalid_token"'),
}


def _describe_scopes(app: FastAPI, schema: dict[str, Any]) -> None:
    for route in app.routes:
        if isinstance(route, UserRoute) and route.include_in_schema:
            for method in route.methods or ():
                operation = schema["paths"][route.path_format][method.lower()]
                operation["security"] = [{"UserScheme": needed(route.scopes, method)}]


def _describe_headers(schema: dict[str, Any]) -> None:
    schema["components"]["headers"] = {
        name: {"description": description, "schema": {"type": "string"}, "example": example}
        for name, (_, description, example) in HEADERS.items()
    }
    for methods in schema["paths"].values():
        for method, operation in methods.items():
            for status, response in operation["responses"].items() if "security" in operation else ():
                for name, (statuses, *_) in HEADERS.items():
                    if (statuses is None or status in statuses) and not (name == "Change" and method == "get"):
                        ref = {"$ref": f"#/components/headers/{name}"}
                        response.setdefault("headers", {})[name] = ref


def install(app: FastAPI) -> None:
    """Complete what `/openapi.json` says."""
    describe = app.openapi

    @cache  # no token is needed to ask for it, so it must cost nothing
    def openapi() -> dict[str, Any]:
        schema = describe()
        # Import accepts more than export emits, so it has schemas of its own.
        schemas = schema["components"]["schemas"]
        schemas |= _schemas(ProblemDetails, "") | _schemas(document(), "-Input")
        models = [resource.model.__name__ for resource in RESOURCES]
        for name in (f"{model}{body}" for model in models for body in ("Create", "Replace")):
            _say_defaults_in_words(schemas[name])
        for name in (f"Transferred{model}-Input" for model in models):
            _say_defaults_in_words(schemas[name])
        _say_defaults_in_words(schemas["Document-Input"])
        _describe_headers(schema)
        _describe_scopes(app, schema)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
