"""A table that cannot work as it is declared is one sentence when it is imported."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import new_class
from typing import Annotated, Any
from uuid import UUID

import psycopg2
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import create_engine
from sqlmodel import Field, SQLModel

from backend import app, changes, export_import, migrations, resources, undo
from backend.changelog import LOGGED
from backend.database import CONSTRAINTS, MANY_ROWS, Logged
from backend.fields import MaxBytes
from backend.problems import CODES
from backend.resources import BelongsTo, Owned, Resource
from backend.settings import DeclarationError
from backend.tables import METADATA
from backend.tasks import Task
from tests.project import Copy

pytestmark = pytest.mark.filterwarnings("ignore:This declarative base already contains")


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """Take back what a test declares."""
    kept = list(resources.RESOURCES), list(export_import.EXPORTED)
    logged = dict(LOGGED)
    children = {resource: list(resource.statements.children) for resource in resources.RESOURCES}
    tables, codes, constraints = set(METADATA.tables), set(CODES), set(CONSTRAINTS)
    cached: tuple[Any, ...] = (changes.current, changes.names, changes.sync_statement, undo._statement)
    for each in cached:
        each.cache_clear()
    yield
    for each in cached:
        each.cache_clear()
    resources.RESOURCES[:], export_import.EXPORTED[:] = kept
    LOGGED.clear()
    LOGGED.update(logged)
    for resource, had in children.items():
        resource.statements.children[:] = had
    for name in set(METADATA.tables) - tables:
        METADATA.remove(METADATA.tables[name])
    for name in set(CODES) - codes:
        del CODES[name]
    for name in set(CONSTRAINTS) - constraints:
        del CONSTRAINTS[name]


class Kind(StrEnum):
    one = "one"
    two = "two"


def note(**more: Any) -> type[Owned]:
    """Return a table with these fields beside."""
    namespace: dict[str, Any] = {
        "__module__": __name__,
        "__annotations__": {"title": str, **{name: annotation for name, (annotation, _) in more.items()}},
        "title": Field(max_length=20),
        **{name: field for name, (_, field) in more.items()},
    }
    return new_class("Note", (Owned,), {"table": True}, lambda body: body.update(namespace))


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        ({"filters": ["colour"]}, "Note: the filter 'colour' is no field of it"),
        ({"sorts": ["colour"]}, "Note: the sort 'colour' is no field of it"),
        ({"search": ["colour"]}, "Note: the search 'colour' is no field of it"),
        ({"sorts": ["data"]}, "Note: no sort (and no index) can be made of data, by its type"),
        ({"filters": ["data"]}, "Note: no filter (and no index) can be made of data, by its type"),
        ({"sorts": ["words"]}, "Note: no sort (and no index) can be made of words, by its type"),
        ({"search": ["number"]}, "Note: no search (and no index) can be made of number, by its type"),
        ({"filters": ["price"]}, "Note: no index can be made of price: limit it to 15 digits, or to 2**53 both ways"),
        ({"filters": ["title", "title"]}, "Note: a filter is named twice"),
        ({"filters": ["limit"]}, "Note: a filter would be called limit, as a parameter of every list is"),
        ({"filters": ["kind", "kind_at"]}, "Note: the order of kind_at would be a second column kind_order"),
        ({"path": "/notes"}, "Note: the path '/notes' must be like /api/test-runs"),
        ({"path": "/api/Notes/"}, "Note: the path '/api/Notes/' must be like /api/test-runs"),
        ({"path": "/api/tasks"}, "Note: Task has the path /api/tasks already"),
    ],
)
def test_a_resource_that_cannot_be_is_refused(declared: dict[str, Any], sentence: str) -> None:
    model = note(
        data=(Annotated[dict[str, Any], MaxBytes(10)], ...),
        words=(list[str], Field(max_length=3)),
        number=(int, 0),
        price=(Decimal, Field(max_digits=20, decimal_places=2)),
        limit=(str, Field(max_length=3)),
        kind=(Kind, Kind.one),
        kind_at=(Kind, Kind.one),
    )
    with pytest.raises(DeclarationError) as caught:
        Resource(model, declared.pop("path", "/api/notes"), **declared)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "default", "sentence"),
    [
        (str, ..., "it has no limit: give it max_length"),
        (list[str], ..., "it has no limit: give it max_length"),
        (dict[str, Any], ..., "it has no limit: give it MaxBytes"),
        (Decimal, ..., "it has no limit: give it max_digits"),
        (int, Field(le=2**64), "its limits are beyond 64 bits"),
        (bytes, ..., "a table cannot keep this type"),
        (int | str, ..., "a table cannot keep this type"),
        (list[int], ..., "a table cannot keep this type"),
        (tuple[int, int], ..., "a table cannot keep this type"),
    ],
)
def test_a_field_that_no_column_holds_is_refused(annotation: Any, default: Any, sentence: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        note(field=(annotation, default))
    assert str(caught.value).startswith(f"Note.field: {sentence}")


@pytest.mark.parametrize("name", ["Change", "Tag", "Task"])
def test_a_table_that_is_there_already_is_refused(name: str) -> None:
    namespace = {"__module__": __name__, "__annotations__": {"title": str}, "title": Field(max_length=20)}
    with pytest.raises(
        DeclarationError, match=rf"^{name}: there is a table {name.lower()} already. Rename the class.$"
    ):
        new_class(name, (Owned,), {"table": True}, lambda body: body.update(namespace))


@pytest.mark.parametrize("name", ["metadata", "json", "copy", "version", "created_at", "user_id", "repeatable"])
@pytest.mark.filterwarnings("ignore:Field name")
def test_a_name_that_is_taken_is_refused(name: str) -> None:
    with pytest.raises(DeclarationError, match=rf"^Note\.{name}: the name {name} is taken, by SQLModel or by every"):
        note(**{name: (int, 0)})


def test_two_resources_cannot_have_one_path_or_one_table() -> None:
    model = note()
    Resource(model, "/api/notes")
    with pytest.raises(DeclarationError, match=r"^Note: Note has the path /api/notes already$"):
        Resource(model, "/api/other-notes")


def test_a_path_that_the_api_has_already_is_refused_at_the_start() -> None:
    Resource(note(), "/api/me")
    with pytest.raises(DeclarationError, match=r"^GET /api/me is declared twice, as list_me and as read_me\."):
        app.routes()


def test_two_operations_of_one_name_are_refused_at_the_start() -> None:
    Resource(note(), "/api/task-history")
    twice = "^GET /api/task-history and GET /api/tasks/{id}/history are both called list_task_history, by which"
    with pytest.raises(DeclarationError, match=twice):
        app.routes()


def test_a_table_whose_plural_is_its_singular_has_a_name_for_each_operation() -> None:
    Resource(note(), "/api/note")
    names = {route.name for route in app.routes() if isinstance(route, APIRoute)}
    assert {"update_note", "update_all_note", "delete_note", "delete_all_note"} <= names


def test_a_table_without_an_owner_is_refused() -> None:
    class Plain(SQLModel, table=True):
        id: int = Field(primary_key=True)

    with pytest.raises(DeclarationError, match=r"^Plain is no table with an owner\. Declare it as: class Plain\(Owned"):
        Resource(Plain, "/api/plain")  # type: ignore[type-var]
    with pytest.raises(
        DeclarationError, match=r"^The table plain has no owner: its primary key must begin with user_id"
    ):
        resources.check_owners()


def test_a_parent_must_be_declared_first() -> None:
    model = note(parent_id=(Annotated[UUID, BelongsTo(note_of("Parent"), "cascade")], ...))
    with pytest.raises(DeclarationError, match=r"^Note: declare the Resource of Parent before its children's$"):
        Resource(model, "/api/notes")


def note_of(name: str) -> type[Owned]:
    return new_class(name, (Owned,), {"table": True}, lambda body: body.update(__module__=__name__, __annotations__={}))


def test_names_that_postgresql_would_cut_are_refused() -> None:
    model = note(**{"a" * 60: (Kind, Kind.one)})
    with pytest.raises(DeclarationError, match=r"^Note: the name note_a+ has more than 63 bytes"):
        Resource(model, "/api/notes", filters=["a" * 60])


def test_what_is_declared_is_typed() -> None:
    model: type[Task] = resources.RESOURCES[0].model
    assert model.__table__.name == "task"
    assert isinstance(model.model_fields["due_date"].annotation, object)
    assert model.__types__["due_date"].python is datetime


def test_a_start_with_a_bad_declaration_says_one_sentence(copy: Copy) -> None:
    tasks = copy.folder / "backend" / "tasks.py"
    tasks.write_text(tasks.read_text().replace('sorts=["due_date", ', 'sorts=["colour", '))
    for arguments in (("main.py", "--port", "0"), ("main.py", "migrate"), ("main.py", "migration", "x")):
        ended = copy.run(*arguments)
        assert ended.returncode == 1, arguments
        assert ended.stderr.splitlines() == ["Task: the sort 'colour' is no field of it"], ended.stderr


@pytest.mark.parametrize("name", ["Page", "Entry", "Log", "Target", "Before", "Shown", "Note", "Newest", "Window"])
def test_a_table_and_its_fields_may_be_called_as_anything_in_a_statement_is(empty_database: str, name: str) -> None:
    migrations.upgrade(empty_database, wait_seconds=5)
    words = (name.lower(), "shown", "changed", "row", "before", "may", "old", "seen", "target", "action", "resource")
    namespace: dict[str, Any] = {
        "__module__": __name__,
        "__annotations__": dict.fromkeys(words, str),
        **{word: Field(max_length=20) for word in words},
    }
    model: Any = new_class(name, (Owned,), {"table": True}, lambda body: body.update(namespace))
    resource = Resource(model, f"/api/{name.lower()}s", sorts=["shown"], search=["before"])
    statements, listing = resource.statements, resource.listing
    condition = listing.where(frozenset())
    history = changes._history_statement(f"{name.lower()}s", LOGGED[f"{name.lower()}s"])
    every: list[Any] = [statements.create, statements.read, statements.delete, changes.sync_statement(), history]
    every += [statements.update_one(frozenset(words)), statements.update_all(condition, frozenset(words))]
    every += [statements.delete_all(condition), listing.page(frozenset(), "shown", False), undo._statement()]
    engine = create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(empty_database))
    model.__table__.create(engine)
    engine.dispose()
    said = {**dict.fromkeys(words, "x"), "user_id": "ann", "id": UUID(int=0), "_versions": None, "_limit": 2}
    said |= {"_attempt": 1, "_request_id": "x", "_acted_by": None, "_undoes": 1, "_history": True, "_since": 0}
    said |= {"_cursor": 9}
    for statement in every:
        for text in statement.statements if isinstance(statement, Logged) else [statement]:
            if text != MANY_ROWS:
                execute_with(empty_database, f"EXPLAIN {text}", said)


def execute_with(url: str, statement: str, values: dict[str, Any]) -> None:
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute(statement, values)
    connection.close()
