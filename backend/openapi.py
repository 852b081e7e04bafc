"""The API description: what FastAPI derives, and the schemas that it cannot see."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from backend.auth import needed
from backend.export_import import document
from backend.problems import ProblemDetails
from backend.resources import RESOURCES
from backend.routing import UserRoute

REF = "#/components/schemas/"


def _schemas(model: type[BaseModel]) -> dict[str, Any]:
    """Return the schemas of a model and of what it is made of, by name."""
    schema = model.model_json_schema(ref_template=f"{REF}{{model}}")
    return {**schema.pop("$defs", {}), model.__name__: schema}


def _within(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a part of the description, itself first."""
    if isinstance(node, dict):
        yield node
    for one in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _within(one)


def _rename(names: dict[str, str], node: Any) -> None:
    """Let what refers to a schema call it by its new name."""
    for one in _within(node):
        if isinstance(ref := one.get("$ref"), str) and (new := names.get(ref.removeprefix(REF))):
            one["$ref"] = REF + new


def _import_schemas() -> dict[str, Any]:
    """Return the schemas of an import, which accepts more than an export has: each with a name of its own."""
    schemas = _schemas(document())
    names = {name: f"{name}Input" for name, schema in schemas.items() if "enum" not in schema}
    _rename(names, schemas)
    return {new: schemas[name] for name, new in names.items()}


def _pascal(name: str) -> str:
    return "".join(word[0].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", name) if word)


def _take_enum(schemas: dict[str, Any], owner: str, field: str, node: Any) -> None:
    """Give the enum of a field or a parameter a name, as generators name only what is in the components."""
    for one in list(_within(node)):
        if isinstance(one.get("enum"), list):
            name = f"{owner}{_pascal(field)}"
            enum = {key: one.pop(key) for key in ("type", "enum") if key in one}
            while schemas.setdefault(name, enum) != enum:
                name += "Value"
            one["$ref"] = REF + name


def _varnames(values: list[Any]) -> list[str]:
    """Return what generators call the values of an enum: CREATED_AT and CREATED_AT_DESC."""
    names: list[str] = []
    for value in map(str, values):
        is_descending = value.startswith("-") and value[1:] in values
        name = re.sub(r"\W+", "_", f"{value[1:]}_desc" if is_descending else value, flags=re.ASCII).strip("_").upper()
        name = name if name[:1].isalpha() else f"VALUE_{name}".rstrip("_")
        names.append(name if name not in names else f"{name}_{len(names)}")
    return names


def _name_schemas(schema: dict[str, Any]) -> None:
    """Let every schema, and every value of an enum, have one name that no other has: generators take them for names."""
    schemas: dict[str, Any] = schema["components"]["schemas"]
    names = {name: new for name in schemas if (new := name.replace("-", "")) != name}
    _rename(names, schema)
    for name, new in names.items():
        schemas[new] = schemas.pop(name)
    for name in list(schemas):
        for field, said in schemas[name].get("properties", {}).items():
            _take_enum(schemas, name, field, said)
    for operations in schema["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                _take_enum(schemas, _pascal(operation["operationId"]), parameter["name"], parameter.get("schema", {}))
            for response in operation["responses"].values():
                for content in response.get("content", {}).values():
                    content.get("schema", {}).pop("title", None)
    for name, named in schemas.items():
        named["title"] = name
    for one in _within(schema):
        if isinstance(one.get("enum"), list):
            one["x-enum-varnames"] = _varnames(one["enum"])


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
        schemas = schema["components"]["schemas"]
        schemas |= _schemas(ProblemDetails) | _import_schemas()
        models = [resource.model.__name__ for resource in RESOURCES]
        for name in (f"{model}{body}" for model in models for body in ("Create", "Replace")):
            _say_defaults_in_words(schemas[name])
        for name in (f"Transferred{model}Input" for model in models):
            _say_defaults_in_words(schemas[name])
        _say_defaults_in_words(schemas["DocumentInput"])
        _describe_headers(schema)
        _describe_scopes(app, schema)
        _name_schemas(schema)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
