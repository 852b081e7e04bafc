"""A valid body and a row of any declared resource, so that tests need not know which there are."""

from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, get_args
from uuid import UUID

import httpx
from pydantic import ValidationError

from backend.resources import RESOURCES, Resource, belongs_to

SAMPLES: dict[type, Any] = {
    str: "x",
    bool: True,
    int: 1,
    float: 0.5,
    Decimal: "1",
    date: "2030-01-31",
    datetime: "2030-01-31T09:00:00+01:00",
    UUID: "0199f2b6-6f0e-7c59-a4a5-2c1f3f0a9f5b",
    list: ["x"],
    dict: {"x": 1},
}


def body_of(user: httpx.Client, resource: Resource[Any]) -> dict[str, Any]:
    """Return a body with every field that must be there; parents are made for it."""
    body: dict[str, Any] = {}
    for name in resource.fields:
        field = resource.model.model_fields[name]
        python = resource.model.__types__[name].python
        if belongs := belongs_to(field):
            [parent] = [one for one in RESOURCES if one.model is belongs.parent]
            body[name] = made(user, parent)["id"]
        elif field.is_required():
            body[name] = next(iter(python)) if issubclass(python, StrEnum) else SAMPLES[python]
    return body


def made(user: httpx.Client, resource: Resource[Any]) -> dict[str, Any]:
    """Make a row of a resource through the API."""
    answer = user.post(resource.path, json=body_of(user, resource))
    assert answer.status_code == 201, answer.text
    row: dict[str, Any] = answer.json()
    return row


def filters_of(resource: Resource[Any]) -> dict[str, Any]:
    """Return a value for each filter of a resource; of one that may have several, a list of two where there are two."""
    found: dict[str, Any] = {}
    for name, field in resource.listing.filters.model_fields.items():
        [item, *_] = get_args(field.annotation) or [field.annotation]
        values: Any = [list(item)[:2]] if isinstance(item, type) and issubclass(item, StrEnum) else SAMPLES.values()
        values = [item] if isinstance(item, str) else values
        for value in values:
            value = value if isinstance(value, list) else [str(value)]
            with suppress(ValidationError):
                found[name] = value if field.default == [] else value[0]
                resource.listing.filters.model_validate({name: found[name]})
                break
        else:
            raise AssertionError(f"{resource.path}: no value for the filter {name}")
    return found
