"""How the API describes itself: what FastAPI derives, and the schemas that it cannot see."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from backend.problems import ProblemDetails
from backend.transfer import Document


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


def install(app: FastAPI) -> None:
    """Let `/openapi.json` say all of it."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        schema = describe()
        # What a document must be on its way in is more lenient than what an export is, so it has schemas of its own.
        schemas = schema["components"]["schemas"]
        schemas |= _schemas(ProblemDetails, "") | _schemas(Document, "-Input")
        for name in ("TaskCreate", "TransferredTask-Input", "Document-Input"):
            _say_defaults_in_words(schemas[name])
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
