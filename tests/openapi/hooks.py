"""What the schemas cannot say, told to Schemathesis, so that what it takes for valid is what a client would send."""

import json
import uuid
from datetime import timedelta, timezone
from typing import Any

import schemathesis
from hypothesis import strategies as st

from backend import tables  # noqa: F401  # declares what is exported
from backend.export_import import EXPORTED

DUE = "2030-01-31T09:00:00+01:00"

schemathesis.openapi.format("rrule", st.sampled_from(["FREQ=DAILY", "FREQ=WEEKLY;BYDAY=MO", "FREQ=MONTHLY;COUNT=3"]))
# RFC 3339 also has leap seconds and offsets of up to a day, and its calendar begins in the year 0.
offsets = st.integers(-12 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(timezones=offsets).filter(lambda moment: 2 <= moment.year <= 9998)
times = moments.map(lambda moment: moment.isoformat())
days = st.dates().filter(lambda day: 2 <= day.year <= 9998).map(lambda day: day.isoformat())
schemathesis.openapi.format("date-time", times)
schemathesis.openapi.format("date-or-date-time", st.one_of(times, days))
schemathesis.openapi.format("time-zone", st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Tokyo", "UTC"]))


VALUES = {
    "boolean": True,
    "integer": 1,
    "number": 0.5,
    "string": "x",
    "date": "2030-01-31",
    "date-time": DUE,
    "uuid": "0199f2b6-6f0e-7c59-a4a5-2c1f3f0a9f5b",
}


# What an export has of other tables than these two.
OTHERS = {part.name for part in EXPORTED} - {"tasks", "tags"}


def value_of(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """Return a value for a query parameter."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if "enum" in schema:
        return schema["enum"][0]
    if schema["type"] == "array":
        return [value_of(schema["items"], schemas)]
    return VALUES[schema.get("format", schema["type"])]


def kept(value: Any, name: str = "") -> Any:
    """Return a body whose JSON objects PostgreSQL can keep, and that are of a size that any field takes."""
    if isinstance(value, float):
        return round(value, 2)  # as many decimals as any field takes
    if isinstance(value, list):
        return [kept(each) for each in value]
    if isinstance(value, dict):
        if name and (len(json.dumps(value)) > 80 or "\\u0000" in json.dumps(value)):
            return {}
        return {key: kept(each, key) for key, each in value.items()}
    return value


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Mend a case that is meant to be valid where being so depends on more than one field, or on the server's state."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if isinstance(case.body, dict):
        case.body = kept(case.body)
        if case.operation.path == "/api/import":  # rows of other tables may have parents, which are nobody's
            case.body = {name: case.body[name] for name in case.body if name not in OTHERS}
    body = case.body if isinstance(case.body, dict) else {}
    checked = ["name"] if case.operation.path == "/api/tags/{name}" else ["id", "user_id", "version"]
    for name in checked if case.method in ("PUT", "PATCH") else ():
        body.pop(name, None)  # it is checked against the row
    for task in body.get("tasks", ()) if case.operation.path == "/api/import" else [body]:
        if "/" not in (task.get("time_zone") or "/"):  # a string at the limits of its length, and no zone
            task["time_zone"] = "UTC"
        if task.get("recurrence_rule"):
            task["due_date"] = DUE  # a rule needs one beside it
            if "FREQ=" not in task["recurrence_rule"]:  # a string at the limits of its length, and no rule
                task["recurrence_rule"] = "FREQ=DAILY"
    for name in case.headers:
        if name.lower() in ("if-match", "if-none-match"):
            case.headers[name] = "*"  # any version
        elif name.lower() == "idempotency-key":
            case.headers[name] = str(uuid.uuid4())  # one that made no other task
    for name in ("cursor", "since"):
        case.query.pop(name, None)  # only the API gives them out
    if case.method in ("PATCH", "DELETE") and case.operation.query and not any(case.query.values()):
        [first, *_] = case.operation.definition.raw["parameters"]  # a change of many needs a filter
        schemas = case.operation.schema.raw_schema["components"]["schemas"]
        case.query[first["name"]] = value_of(first["schema"], schemas)
