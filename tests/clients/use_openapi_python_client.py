"""A day of a client that openapi-python-client made."""

import os
from datetime import datetime

from openapi_python_client_made import AuthenticatedClient
from openapi_python_client_made.api.tasks import create_task, delete_task, list_tasks, update_task
from openapi_python_client_made.api.transfer import export_all, import_all
from openapi_python_client_made.models import (
    Document,
    DocumentInput,
    Imported,
    ListTasksSort,
    Priority,
    ProblemDetails,
    Task,
    TaskCreate,
    TaskUpdate,
)
from openapi_python_client_made.types import UNSET, Unset

client = AuthenticatedClient(os.environ["API_URL"], os.environ["TOKEN"])


def every() -> list[Task]:
    tasks: list[Task] = []
    cursor: str | Unset = UNSET
    while True:
        page = list_tasks.sync_detailed(client=client, sort=ListTasksSort.CREATED_AT_DESC, limit=1, cursor=cursor)
        assert isinstance(page.parsed, list)
        tasks += page.parsed
        if "Next-Cursor" not in page.headers:
            return tasks
        cursor = page.headers["Next-Cursor"]


due = "2030-01-31T09:00:00+01:00"
made = create_task.sync(client=client, body=TaskCreate("Buy milk", description="two", due_date=due))
assert isinstance(made, Task)
assert made.due_date == "2030-01-31T08:00:00+00:00"
assert isinstance(made.created_at, datetime)
create_task.sync(client=client, body=TaskCreate("Buy bread", priority=Priority.HIGH))
assert [task.title for task in every()] == ["Buy bread", "Buy milk"]

changed = update_task.sync(made.id, client=client, body=TaskUpdate(description=None, due_date=None))
assert isinstance(changed, Task)
assert (changed.title, changed.description, changed.due_date) == ("Buy milk", None, None)
late = update_task.sync(made.id, client=client, body=TaskUpdate(title="Too late"), if_match='"1"')
assert isinstance(late, ProblemDetails)
assert late.code == "PRECONDITION_FAILED"
in_time = update_task.sync(made.id, client=client, body=TaskUpdate(title="In time"), if_match='"2"')
assert isinstance(in_time, Task)

document = export_all.sync(client=client)
assert isinstance(document, Document)
assert delete_task.sync_detailed(made.id, client=client, if_match='"3"').status_code == 204
assert len(every()) == 1
taken = import_all.sync(client=client, body=DocumentInput.from_dict(document.to_dict()))
assert isinstance(taken, Imported)
assert taken.tasks == 1
assert len(every()) == 2
