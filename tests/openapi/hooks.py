"""What the schemas cannot say, told to Schemathesis, so that what it takes for valid is what a client would send."""

import uuid
from datetime import timedelta, timezone
from typing import Any

import schemathesis
from hypothesis import strategies as st

DUE = "2030-01-31T09:00:00+01:00"

schemathesis.openapi.format("rrule", st.sampled_from(["FREQ=DAILY", "FREQ=WEEKLY;BYDAY=MO", "FREQ=MONTHLY;COUNT=3"]))
# RFC 3339 also has leap seconds and offsets of up to a day, and its calendar begins in the year 0.
offsets = st.integers(-12 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(timezones=offsets).filter(lambda moment: 2 <= moment.year <= 9998)
schemathesis.openapi.format("date-time", moments.map(lambda moment: moment.isoformat()))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Mend a case that is meant to be valid where being so depends on more than one field, or on the server's state."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    body = case.body if isinstance(case.body, dict) else {}
    for task in body.get("tasks", [body]):
        if task.get("recurrence_rule"):
            task["due_date"] = DUE  # a rule needs one beside it
            if "FREQ=" not in task["recurrence_rule"]:  # a string at the limits of its length, and no rule
                task["recurrence_rule"] = "FREQ=DAILY"
    for name in case.headers:
        if name.lower() in ("if-match", "if-none-match"):
            case.headers[name] = "*"  # any version
        elif name.lower() == "idempotency-key":
            case.headers[name] = str(uuid.uuid4())  # one that made no other task
    if case.operation.path == "/api/tasks":
        case.query.pop("cursor", None)  # only the API makes them
        if case.method in ("PATCH", "DELETE") and not any(case.query.values()):
            case.query["status"] = ["completed"]  # bulk changes need a filter
