"""A resource: an owned table, which is also the API's schema, and a few lines that say how it is reached."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

from pydantic import MISSING, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Strict, create_model
from pydantic import Field as PydanticField
from pydantic_core import to_json
from sqlalchemy import Column, ColumnElement, Date, DateTime, Enum, ForeignKeyConstraint, String, Table, text
from sqlmodel import Field, SQLModel
from sqlmodel.main import FieldInfoMetadata

from backend import preconditions
from backend.changelog import LOGGED, LoggedTable
from backend.database import CONSTRAINTS, Database, Logged, Rows
from backend.export_import import EXPORTED, Exported, Transferred
from backend.fields import (
    COMPOSED,
    EXAMPLES,
    MAX_USER_ID_LENGTH,
    Type,
    in_body,
    in_utc,
    json_text,
    sql_type,
    type_of,
    whole,
)
from backend.lists import Listing, stem_of
from backend.problems import CODES, Problem, invalid
from backend.settings import DeclarationError
from backend.statements import Statements

MAX_NAME_BYTES = 63  # of anything in PostgreSQL
SENT_BACK = (
    "An answer can be sent back: `id` and `user_id` are checked, `version` is a condition, the rest is passed over."
)
PATH = re.compile(r"/api/[a-z][a-z0-9]*(-[a-z0-9]+)*")


class ReadOnly:
    """Marks a field that answers show and no body sets: `Annotated[datetime | None, ReadOnly()]`."""


@dataclass(frozen=True)
class BelongsTo:
    """Marks the field that names a row's parent, of the same user: `Annotated[UUID, BelongsTo(Run, "cascade")]`.

    Deleting the parent deletes its children (`cascade`), or is refused while there are any (`refuse`: a 409).
    """

    parent: "type[Owned]"
    on_delete: Literal["cascade", "refuse"]


def _words(name: str) -> str:
    """Return a class's name in words: TestExecution → test execution."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()


def _server_default(sql: str) -> dict[str, Any]:
    return {"server_default": text(sql)}


class Owned(SQLModel):
    """A table whose rows each belong to one user. A subclass declares what a client says; these fields are ours."""

    model_config = ConfigDict(extra="forbid", json_schema_serialization_defaults_required=True)  # type: ignore[assignment]
    __table__: ClassVar[Table]
    __table_args__: ClassVar[tuple[Any, ...]] = ()
    __types__: ClassVar[dict[str, Type]]

    # The owner leads the key: no path to a row goes around the owner, and a user's rows lie together.
    user_id: str = Field(
        primary_key=True,
        max_length=MAX_USER_ID_LENGTH,
        sa_type=String(MAX_USER_ID_LENGTH),
        description="The owner: the token's subject.",
    )
    id: UUID = Field(primary_key=True, description="A UUIDv7: later rows have greater ids.")
    version: int = Field(sa_column_kwargs=_server_default("1"), description="Goes up by one with every change.")
    created_at: AwareDatetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs=_server_default("now()"))
    updated_at: AwareDatetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs=_server_default("now()"))

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Give each field its column, before SQLModel would. Raises DeclarationError."""
        super().__pydantic_init_subclass__(**kwargs)
        table = _words(cls.__name__).replace(" ", "_")
        if table in SQLModel.metadata.tables:
            raise DeclarationError(f"{cls.__name__}: there is a table {table} already. Rename the class.")
        cls.__tablename__ = table
        cls.__types__ = {own: Type(datetime) for own in ("created_at", "updated_at")}
        taken = {*dir(SQLModel), *Owned.model_fields, "repeatable"}  # the last is a parameter of Database.run
        for name, field in cls.model_fields.items():
            if name in Owned.model_fields and name not in cls.__annotations__:
                continue
            where = f"{cls.__name__}.{name}"
            if name in taken:
                raise DeclarationError(f"{where}: the name {name} is taken, by SQLModel or by every table. Rename it.")
            type_ = type_of(field.annotation, tuple(field.metadata))
            if type_ is None:
                raise DeclarationError(f"{where}: a table cannot keep this type. docs/resources.md lists those it can.")
            try:
                column: Column[Any] = Column(sql_type(type_, f"{table}_{name}"), nullable=type_.optional)
            except DeclarationError as error:
                raise DeclarationError(f"{where}: {error}") from None
            cls.__types__[name] = type_
            field.metadata.insert(0, FieldInfoMetadata(sa_column=column))
            if belongs := belongs_to(field):
                parent = belongs.parent.__table__
                constraint = ForeignKeyConstraint(
                    ["user_id", name],
                    [parent.c.user_id, parent.c.id],
                    name=f"{table}_{name}_fkey",
                    ondelete="CASCADE" if belongs.on_delete == "cascade" else None,
                )
                cls.__table_args__ = (*cls.__table_args__, constraint)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        """Describe a row with what a client says first, and what the API alone sets last."""

        def place(name: str) -> int:
            return 1 if name in Owned.model_fields else 2 if _is_read_only(cls.model_fields[name]) else 0

        described = super().__get_pydantic_json_schema__(schema, handler)
        inner: Any = handler.resolve_ref_schema(described)
        inner["properties"] = {name: inner["properties"][name] for name in sorted(inner["properties"], key=place)}
        inner["required"] = sorted(inner["required"], key=place)
        for name, field in inner["properties"].items():
            if place(name) == 0 and cls.__types__[name].python in EXAMPLES:
                field.setdefault("examples", [EXAMPLES[cls.__types__[name].python]])
        return described


def _is_read_only(field: Any) -> bool:
    return any(isinstance(one, ReadOnly) for one in field.metadata)


def belongs_to(field: Any) -> BelongsTo | None:
    """Return what a field says of a parent."""
    return next((one for one in field.metadata if isinstance(one, BelongsTo)), None)


class Changed(NamedTuple):
    """What changing one row answers: its JSON, its version, and ids of rows that have to do with it, by relation."""

    row_json: str
    version: int
    links: Mapping[str, UUID] = MappingProxyType({})


Row = TypeVar("Row", bound=Owned)


class Resource(Generic[Row]):
    """The declaration of a resource: a table, its path, and what its lists are filtered, sorted and searched by.

    Everything else follows: bodies, statements, routes (crud.py), its part of exports, indexes, errors. A resource with
    specialities is a subclass; `Tasks` in tasks.py is the example. Raises DeclarationError for what cannot be.
    """

    # What a subclass may put in the place of: the statements, and what an export's rows have beside their fields.
    statements_of: type[Statements] = Statements
    transferred: type[Transferred] = Transferred
    # The relations of `Changed.links`, each with a description.
    links: ClassVar[Mapping[str, str]] = {}
    # What an import keeps of its rows (Exported.kept).
    kept: ClassVar[Any] = None
    # Sentences for the descriptions of PATCH of one and of many.
    on_update, on_update_all = "", ""

    def __init__(
        self,
        model: type[Row],
        path: str,
        *,
        filters: Sequence[str] = (),
        sorts: Sequence[str] = (),
        search: Sequence[str] = (),
        max_per_user: int | None = None,
    ) -> None:
        self.model, self.path, self.max_per_user = model, path, max_per_user
        self._check_declaration(filters, sorts, search)
        self.noun, self.plural = _words(model.__name__), path.rpartition("/")[2].replace("-", " ")
        self.code = self.noun.upper().replace(" ", "_") + "_NOT_FOUND"
        CODES.setdefault(self.code, (404, f"{self.noun.capitalize()} not found"))
        table, fields, own = model.__table__, model.model_fields, Owned.model_fields
        days = days_of(model)
        for day in days.values():
            table.append_column(Column(day, Date()))
        hidden = [name for name, field in fields.items() if field.exclude]
        read_only = [name for name, field in fields.items() if _is_read_only(field)]
        self.fields = [name for name in fields if name not in own and name not in hidden and name not in read_only]
        shown = ["id", "user_id", *self.fields, "version", "created_at", "updated_at", *read_only]
        name = path.rpartition("/")[2]
        self.statements = self.statements_of(name, table, self.fields, shown, days, max_per_user)
        optional = [field for field in self.fields if not fields[field].is_required()]
        defaults = to_json({field: fields[field].get_default(call_default_factory=True) for field in optional})
        LOGGED[name] = LoggedTable(table, table.c.id, tuple(self.statements.shown), defaults.decode(), self.statements)
        parents = {name: belongs for name, field in fields.items() if (belongs := belongs_to(field))}
        try:
            self.listing = Listing(
                self.statements,
                model.__types__,
                filters=list(dict.fromkeys([*parents, *filters])),
                sorts=sorts,
                search=search,
            )
        except DeclarationError as error:
            raise DeclarationError(f"{model.__name__}: {error}") from None
        self._check_names()
        said = f"What a client says of {self.a_noun}. What it leaves out gets its default."
        changed = f"What a client changes of {self.a_noun}. What it leaves out stays; null clears what may be null."
        self.create_body = self._body("Create", said, partial=False)
        self.update_many_body = self._body("UpdateMany", changed, partial=True)
        self.replace_body = self._with_the_rest_of_an_answer("Replace", self.create_body, said, read_only)
        self.update_body = self._with_the_rest_of_an_answer("Update", self.update_many_body, changed, read_only)
        self._moments = [name for name in self.fields if model.__types__[name].python is datetime]
        self._days = days
        self._objects = [name for name in self.fields if model.__types__[name].python is dict]
        self._kept_by: dict[str, Resource[Any]] = {}  # whose rows forbid to delete one of these, by their constraint
        for name, belongs in parents.items():
            constraint = f"{table.name}_{name}_fkey"
            parent = next(resource for resource in RESOURCES if resource.model is belongs.parent)
            CONSTRAINTS[constraint] = (name, f"must be the id of {_a(parent.noun)} of yours")
            parent.statements.children.append((self.statements, table.c[name], belongs.on_delete == "cascade"))
            if belongs.on_delete == "refuse":
                parent._kept_by[constraint] = self
        EXPORTED.append(
            Exported(
                name=self.plural.replace(" ", "_"),
                table=table,
                shown=(*self.statements.shown, *(table.c[name] for name in hidden)),
                made=self.statements.made_of,
                has_objects=bool(self._objects),
                key=table.c.id,
                given=create_model(
                    f"Transferred{model.__name__}",
                    __base__=(self.transferred, self.create_body),
                    __doc__=f"{self.a_noun.capitalize()} of an export: what it says, and its history.",
                ),
                row=lambda given, now: given.row(now),
                limited=self.statements if max_per_user is not None else None,
                kept=self.kept,
            )
        )
        RESOURCES.append(self)

    def _check_declaration(self, filters: Sequence[str], sorts: Sequence[str], search: Sequence[str]) -> None:
        name, path = self.model.__name__, self.path
        table = getattr(self.model, "__table__", None)
        if table is None or not issubclass(self.model, Owned):
            raise DeclarationError(f"{name} is no table with an owner. Declare it as: class {name}(Owned, table=True)")
        if not PATH.fullmatch(path):
            raise DeclarationError(f"{name}: the path {path!r} must be like /api/test-runs")
        for other in RESOURCES:
            if other.path == path or other.model is self.model:
                raise DeclarationError(f"{name}: {other.model.__name__} has the path {other.path} already")
        for field in self.model.model_fields.values():
            belongs = belongs_to(field)
            if belongs and not any(resource.model is belongs.parent for resource in RESOURCES):
                raise DeclarationError(
                    f"{name}: declare the Resource of {belongs.parent.__name__} before its children's"
                )
        types = self.model.__types__
        for use, names, refused in (
            ("filter", filters, (dict,)),
            ("sort", sorts, (dict, list)),
            ("search", search, ()),
        ):
            for field_name in names:
                if field_name not in types:
                    raise DeclarationError(f"{name}: the {use} {field_name!r} is no field of it")
                if types[field_name].python in refused or (use == "search" and types[field_name].python is not str):
                    raise DeclarationError(f"{name}: no {use} (and no index) can be made of {field_name}, by its type")
            if len(set(names)) < len(names):
                raise DeclarationError(f"{name}: a {use} is named twice")

    def _check_names(self) -> None:
        table = self.model.__table__
        enums = [column.type for column in table.columns if isinstance(column.type, Enum)]
        named: Any
        for named in (table, *enums, *table.indexes, *table.constraints):
            if len(str(named.name).encode()) > MAX_NAME_BYTES:
                raise DeclarationError(
                    f"{self.model.__name__}: the name {named.name} has more than {MAX_NAME_BYTES} bytes"
                )

    def _body(self, name: str, doc: str, *, partial: bool) -> type[BaseModel]:
        """Return a body of the fields that a client sets, as strict as their columns.

        In a partial one each field may be absent (MISSING), which is not null.
        """
        fields: dict[str, Any] = {}
        for field_name in self.fields:
            field, type_ = self.model.model_fields[field_name], self.model.__types__[field_name]
            annotation = in_body(field.annotation, type_)
            default: dict[str, Any] = {"default": MISSING if partial else field.default}
            if field.default_factory and not partial:
                default = {"default_factory": field.default_factory}
            metadata = [one for one in field.metadata if not isinstance(one, (FieldInfoMetadata, BelongsTo))]
            metadata += [COMPOSED] if type_.python is str else []
            described: Any = PydanticField(
                **default,
                description=field.description,
                examples=field.examples or ([EXAMPLES[type_.python]] if type_.python in EXAMPLES else None),
                json_schema_extra=field.json_schema_extra,
            )
            annotation = annotation | MISSING if partial else annotation
            fields[field_name] = (Annotated[(annotation, *metadata)] if metadata else annotation, described)
        config = ConfigDict(extra="forbid", json_schema_serialization_defaults_required=not partial)
        return create_model(f"{self.model.__name__}{name}", __config__=config, __doc__=doc, **fields)

    def _with_the_rest_of_an_answer(
        self, name: str, body: type[BaseModel], doc: str, read_only: Sequence[str]
    ) -> type[BaseModel]:
        """Return a body that also takes the fields that no client sets, so that an answer can be sent back."""
        conditions: dict[str, tuple[Any, str]] = {
            "id": (UUID, "If it is there: that of the path."),
            "user_id": (str, "If it is there: yours."),
            "version": (Annotated[int, Strict(), BeforeValidator(whole)], "Only if this is the version: a 412 if not."),
        }
        passed_over = (Any, "Set by the API. What is sent is passed over.")
        fields: dict[str, Any] = {}
        for field in (*conditions, "created_at", "updated_at", *read_only):
            annotation, description = conditions.get(field, passed_over)
            described: Any = PydanticField(default=MISSING, exclude=True, description=description)
            fields[field] = (annotation | MISSING if field in conditions else annotation, described)
        return create_model(f"{self.model.__name__}{name}", __base__=body, __doc__=f"{doc} {SENT_BACK}", **fields)

    @staticmethod
    def check_owner(body: Any, row_id: UUID, user_id: str) -> None:
        """Raise Problem VALIDATION_ERROR if a body that was read names another row, or another user."""
        errors = []
        if body.id not in (MISSING, row_id):
            errors.append(("id", "must be that of the path"))
        if body.user_id not in (MISSING, user_id):
            errors.append(("user_id", "must be yours: the subject of your token"))
        if errors:
            raise invalid(*errors)

    def values(self, body: BaseModel) -> dict[str, Any]:
        """Return what a body sets, by column, as psycopg2 takes it."""
        values = body.model_dump()
        for name, day in self._days.items():
            if name in values:
                is_day = values[name] is not None and not isinstance(values[name], datetime)
                values |= {name: None, day: values[name]} if is_day else {day: None}
        for name in self._moments:
            if values.get(name) is not None:
                values[name] = in_utc(values[name])
        for name in self._objects:
            if values.get(name) is not None:
                values[name] = json_text(values[name])
        return values

    @property
    def a_noun(self) -> str:
        """What one row is called, with its article."""
        return _a(self.noun)

    @property
    def may_be_kept(self) -> bool:
        """Whether a row cannot be deleted while it has children, of any resource."""
        return bool(self._kept_by)

    def not_found(self) -> Problem:
        """Return the 404: the same whether a row is missing or another user's."""
        return Problem(self.code, f"There is no such {self.noun}.")

    async def create(self, db: Database, user_id: str, row_id: UUID, values: dict[str, Any]) -> Rows:
        """Make a row, by what `values` returned, and return what `Statements.create` answers."""
        return await db.run(self.statements.create, user_id, id=row_id, **values)

    async def meant(self, db: Database, user_id: str, named: dict[str, Any]) -> dict[str, Any] | None:
        """Return what filters that found nothing mean, if they mean others."""
        return None

    async def change(
        self, db: Database, user_id: str, row_id: UUID, changes: dict[str, Any], versions: list[int] | None
    ) -> Changed:
        """Change one row, by what `values` returned.

        Raises Problem: the 404, PRECONDITION_FAILED if its version is not one of `versions`, or what a constraint says.
        """
        statement = self.statements.update_one(frozenset(changes))
        while True:
            rows = await db.run(statement, user_id, repeatable=True, id=row_id, _versions=versions, **changes)
            if changed := self.changed(rows, versions):
                return changed

    def changed(self, rows: Rows, versions: list[int] | None) -> Changed | None:
        """Return what one update answered; None if it has to be looked at again, because somebody was faster."""
        if not rows:
            raise self.not_found()
        row_json, version, _, seen, *_ = rows[0]
        if row_json is not None:
            return Changed(row_json, version)
        if versions is not None and seen not in versions:
            raise preconditions.failed(self.noun, seen)
        return None

    async def change_all(
        self, db: Database, user_id: str, condition: ColumnElement[bool], named: dict[str, Any], changes: dict[str, Any]
    ) -> int:
        """Change all of a user's rows that the filters name, and return how many."""
        rows = await db.run(self.statements.update_all(condition, frozenset(changes)), user_id, **named, **changes)
        return int(rows[0][0])

    async def delete(self, db: Database, statement: Logged, user_id: str, **values: Any) -> Rows:
        """Run a deletion; raise Problem STILL_IN_USE where rows that must not lose their parent forbid it."""
        try:
            return await db.run(statement, user_id, **values)
        except Problem as problem:
            if child := self._kept_by.get(problem.constraint or ""):
                detail = f"This {self.noun} still has {child.plural}. Delete them first."
                raise Problem("STILL_IN_USE", detail) from None
            raise


RESOURCES: list[Resource[Any]] = []


def days_of(model: type[Owned]) -> dict[str, str]:
    """Return the columns that hold the day of each moment which may be a whole day: due_date → due_on."""
    found = {name: f"{stem_of(name)}_on" for name, type_ in model.__types__.items() if type_.or_day}
    for name, day in found.items():
        if day in model.__table__.c:
            raise DeclarationError(f"{model.__name__}: the day of {name} would be a second column {day}: rename it")
    return found


def check_owners() -> None:
    """Raise DeclarationError for a declared table whose rows belong to nobody: nothing would keep users apart in it."""
    for name, table in SQLModel.metadata.tables.items():
        if next(iter(table.primary_key.columns.keys()), None) != "user_id":
            raise DeclarationError(
                f"The table {name} has no owner: its primary key must begin with user_id. Declare it with Owned."
            )


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
