"""Lists of a resource: which rows the filters name, in which order, and where a page begins (its cursor)."""

import hashlib
import json
import operator
import re
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from types import GenericAlias
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    AllowInfNan,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    create_model,
)
from sqlalchemy import (
    Column,
    ColumnElement,
    Computed,
    Double,
    Index,
    SmallInteger,
    and_,
    bindparam,
    cast,
    collate,
    func,
    literal_column,
    select,
    text,
    true,
    tuple_,
)
from sqlalchemy import Text as TextType
from sqlalchemy.dialects.postgresql import ARRAY

from backend.database import quoted, sql
from backend.fields import BOUNDS, COMPOSED, Day, Moment, Text, TrimmedText, Type, decimal_of, in_utc
from backend.problems import Problem
from backend.settings import DeclarationError
from backend.statements import KEPT, Statements, as_json

CURSOR_CHECK_BYTES = 9
NOT_GIVEN: Any = None  # The default of an absent parameter; Any keeps null out of the schema.


def _plus_that_became_a_space(value: object) -> object:
    # An offset's "+" that was not percent-encoded arrives as a space.
    return re.sub(r" (\d\d:?\d\d)$", r"+\1", value) if isinstance(value, str) else value


# PostgreSQL refuses offsets over 16 hours, which ISO 8601 allows. Only the moment counts here.
QueryMoment = Annotated[Moment, BeforeValidator(_plus_that_became_a_space), AfterValidator(in_utc)]
RANGES: dict[type, Any] = {
    datetime: QueryMoment,
    date: Day,
    int: int,
    float: Annotated[float, AllowInfNan(False)],
    Decimal: Decimal,
}
# What null is compared as, in SQL as PostgreSQL prints it, and as a parameter. Of the first three it is the last value.
AS_NULL: dict[type, tuple[str, Any]] = {
    datetime: ("'infinity'::timestamp with time zone", "infinity"),
    date: ("'infinity'::date", "infinity"),
    float: ("'Infinity'::double precision", "Infinity"),
    str: ("''", ""),
    bool: ("false", False),
    int: ("0", 0),
    Decimal: ("0", 0),
    UUID: ("'00000000-0000-0000-0000-000000000000'::uuid", UUID(int=0)),
}
SEARCHED = "search_text"  # the column that q is looked for in
# Of how many characters the order of a text is made: folded, and as they are. An index takes no more than 2,704 bytes.
FOLDED, AS_IS = 100, 200
MAX_IDS = 200  # of one request: they are in its URL, for which a proxy may have 8 KiB
EXACT = 2**53, 15  # how large integers and how many digits of decimals a double precision tells apart


def stem_of(name: str) -> str:
    """Return what a field is called in other names: due_date → due, started_at → started."""
    return re.sub(r"_(at|on|date)$", "", name)


class Listing:
    """The lists of one resource: what its filters and sorts are, their columns and indexes, and their statements.

    Filters come from the fields' types: any of several values (an enum, a UUID, a text), one value (a bool), all of
    several (a list of texts), or a range (a number, a date, a moment).
    """

    def __init__(
        self,
        statements: Statements,
        types: Mapping[str, Type],
        *,
        filters: Sequence[str],
        sorts: Sequence[str],
        search: Sequence[str],
    ) -> None:
        self.statements, self.table, self.types = statements, statements.table, types
        self.sorts = tuple(dict.fromkeys(("created_at", "updated_at", *sorts)))
        self._orders: dict[str, Any] = {}  # the column by which each field is ordered and looked up
        self._nulls: dict[str, Any] = {}  # what null is in it, where it is one of its own
        self._conditions: dict[str, ColumnElement[bool]] = {}
        self._places: dict[str, type[StrEnum]] = {}  # the filters by an enum, whose values are compared by their place
        self._any: set[str] = set()
        some: Any = Field(default=[], max_length=MAX_IDS, description="Those with one of these ids.")
        parameters: dict[str, Any] = {"id": (list[UUID], some)}
        self._conditions["_by_id"] = self.table.c.id == func.any(cast(bindparam("_by_id"), ARRAY(self.table.c.id.type)))
        for name in (*filters, *self.sorts):
            self._order_by(name, looked_up=name in filters)
        # Of what was changed lately there is little to look through: no index, which each change would have to keep.
        for name in filters if "updated_at" in filters else (*filters, "updated_at"):
            new = self._filter(name)
            for twice in parameters.keys() & new.keys():
                raise DeclarationError(f"two filters would be called {twice}: rename one of the fields")
            parameters |= new
            if name in filters:
                self._index(name)
        for name in self.sorts:
            if self.types[name].python is str and name not in filters:
                self._index(name)
        if search:
            parameters["q"] = self._search(search)
        Index(f"{self.table.name}_newest", self.table.c.user_id, self.table.c.created_at, self.table.c.id)
        for taken in parameters.keys() & {"sort", "limit", "cursor"}:
            raise DeclarationError(
                f"a filter would be called {taken}, as a parameter of every list is: rename the field"
            )
        self.filters: type[BaseModel] = create_model(
            "Filters", __config__=ConfigDict(extra="forbid"), __doc__="Which rows.", **parameters
        )
        every_sort: Any = Literal[tuple(f"{sign}{name}" for name in self.sorts for sign in ("", "-"))]
        self.query: type[BaseModel] = create_model(
            "ListQuery",
            __base__=self.filters,
            sort=(every_sort, Field("-created_at", description="`-` in front means descending.")),
            limit=(int, Field(100, ge=1, le=500, description="At most this many; `Link` leads to the rest.")),
            cursor=(
                str,
                Field(NOT_GIVEN, max_length=2000, description="Where a page begins: from `Next-Cursor`, as it is."),
            ),
        )
        self._keys = {name: self._key(name) for name in self.sorts}
        # One condition is one object, by which the statements made of it are kept.
        self.where = lru_cache(KEPT)(self._where)
        self.page = lru_cache(KEPT)(self._page)

    def _order_by(self, name: str, *, looked_up: bool) -> None:
        """Find the column that a field is ordered and looked up by, and make it where it takes one of its own.

        Under row-level security PostgreSQL only looks up in an index what it compares by leakproof functions. Those of
        enums and coalesce() are not, so such a field has a stored generated column beside it (docs/decisions/0009).
        """
        if name in self._orders:
            return
        self._orders[name] = self.table.c[name]
        if not (generated := self._generated(name, looked_up=looked_up)):
            return
        kind, expression, self._nulls[name] = generated
        made = f"{stem_of(name)}_order"
        if made in self.table.c:
            raise DeclarationError(f"the order of {name} would be a second column {made}: rename one of the fields")
        self._orders[name] = Column(made, kind, Computed(expression, persisted=True), nullable=False)
        self.table.append_column(self._orders[name])

    def _generated(self, name: str, *, looked_up: bool) -> tuple[Any, str, Any] | None:
        """Return the type and the expression of that column, as PostgreSQL prints it, and what null is in it."""
        type_, expression = self.types[name], quoted(name)
        if type_.python is str and name in self.sorts:
            return TextType(collation="C"), self._text_order(name, self._as_text(name)), None
        kind: Any = self.table.c[name].type
        python: type = type_.python
        if issubclass(type_.python, StrEnum):
            enum, last = f"{self.table.name}_{name}", len(type_.python)
            cases = " ".join(f"WHEN '{value}'::{enum} THEN {place}" for place, value in enumerate(type_.python))
            return (
                SmallInteger(),
                f"CASE {expression} {cases} ELSE {last if type_.optional else 'NULL::integer'} END",
                last,
            )
        if looked_up and (type_.python is Decimal or (type_.python is int and type_.optional)):
            bounds = [abs(value) for limit, value in type_.limits.items() if limit in BOUNDS]
            if max(bounds, default=0) > EXACT[0] or type_.limits.get("max_digits", 0) > EXACT[1]:
                raise DeclarationError(f"no index can be made of {name}: limit it to 15 digits, or to 2**53 both ways")
            kind, expression, python = Double(), f"({expression})::double precision", float
        elif not (looked_up and type_.optional and python in (datetime, date, float)):
            return None
        if not type_.optional:
            return kind, expression, None
        literal, parameter = AS_NULL[python]
        return kind, f"COALESCE({expression}, {literal})", parameter

    def _filter(self, name: str) -> dict[str, Any]:
        """Return the parameters of the filter on a field."""
        type_, column, order = self.types[name], self.table.c[name], self._orders[name]
        if type_.python is list:
            singular = name.removesuffix("s")
            of_all = cast(bindparam(f"_by_{singular}"), column.type)
            self._conditions[f"_by_{singular}"] = column.contains(of_all)
            return {singular: (GenericAlias(list, (type_.item,)), Field(default=[], description="All of these."))}
        if type_.python is bool:
            self._conditions[f"_by_{name}"] = column == bindparam(f"_by_{name}")
            return {name: (bool, Field(default=NOT_GIVEN, description="With this value."))}
        if type_.python in RANGES:
            return self._range(name)
        self._any.add(name)
        if order is not column and type_.python is str:
            return self._any_text(name)
        if issubclass(type_.python, StrEnum):
            self._places[name] = type_.python
        of_any = cast(bindparam(f"_by_{name}"), ARRAY(order.type))
        self._conditions[f"_by_{name}"] = order == func.any(of_any)
        # Of one value an index has the rows in their order.
        self._conditions[f"_by_one_{name}"] = order == bindparam(f"_by_one_{name}")
        item: Any = Annotated[Text, COMPOSED] if type_.python is str else type_.python
        return {name: (GenericAlias(list, (item,)), Field(default=[], description="Any of these."))}

    def _any_text(self, name: str) -> dict[str, Any]:
        """Return the parameter of the filter on a text that is a sort, too: found by its order, and then compared."""
        column, order = self.table.c[name], self._orders[name]
        one, given = f"_by_one_{name}", f"_by_{name}"
        orders = f"ARRAY(SELECT {self._text_order(name, '_one')} FROM unnest(CAST(:{given} AS text[])) AS _one)"  # noqa: S608
        self._conditions[one] = and_(order == self._order_of(name, one), column == bindparam(one))
        self._conditions[given] = and_(order == func.any(text(orders)), column == func.any(bindparam(given)))
        return {name: (list[Annotated[Text, COMPOSED]], Field(default=[], description="Any of these."))}

    def _search(self, names: Sequence[str]) -> tuple[Any, Any]:
        """Make the column that holds all the words of some fields, folded, and return the parameter q.

        Each word of q is a pattern for LIKE. PostgreSQL makes them, once for a statement, because it folds text (by a
        function of migration 0008): where no word is left then, nothing is found.
        """
        if SEARCHED in self.table.c:
            raise DeclarationError(f"what q is looked for in would be a second column {SEARCHED}: rename the field")
        words = " || ' '::text || ".join(self._as_text(name, or_empty=True) for name in names)
        column: Column[Any] = Column(SEARCHED, TextType(collation="C"), Computed(f"folded({words})", persisted=True))
        column.nullable = False
        self.table.append_column(column)
        escaped = rf"regexp_replace(folded({_given('_by_q')}), '([\\%_])', '\\\1', 'g')"
        wanted = f"nullif(btrim(regexp_replace({escaped}, ' +', ' ', 'g')), '')"
        patterns = f"string_to_array('%' || replace({wanted}, ' ', '% %') || '%', ' ')"
        self._conditions["_by_q"] = column.like(func.all(text(patterns)))
        return (
            Annotated[TrimmedText, StringConstraints(min_length=1, max_length=200), COMPOSED],
            Field(
                default=NOT_GIVEN,
                description=f"Words that are all in the {' or the '.join(names)}, whatever their case and accents.",
            ),
        )

    def _as_text(self, name: str, *, or_empty: bool = False) -> str:
        """Return the SQL of a text field's value, as PostgreSQL prints it."""
        if or_empty and self.types[name].optional:
            return f"(COALESCE({quoted(name)}, ''::character varying))::text"
        return f"({quoted(name)})::text"

    def _text_order(self, name: str, value: str) -> str:
        """Return the SQL of what a text is ordered by: without case and accents, and then as it is; null is last."""
        order = f'("left"(folded({value}), {FOLDED}) || chr(1)) || "left"({value}, {AS_IS})'
        return f"COALESCE({order}, chr({sys.maxunicode}))" if self.types[name].optional else order

    def _order_of(self, name: str, parameter: str) -> ColumnElement[Any]:
        """Return the same of a value that is a parameter."""
        return collate(cast(text(self._text_order(name, _given(parameter))), TextType), "C")

    def _range(self, name: str) -> dict[str, Any]:
        """Return the parameters of a range: an inclusive lower and an exclusive upper bound, and their opposites."""
        type_, order = self.types[name], self._orders[name]
        given = RANGES[type_.python]
        if type_.python is Decimal:  # as exact as the field, so that rounding never decides
            given = decimal_of(type_.limits, in_body=False)
        bounds: list[tuple[str, Callable[[Any, Any], ColumnElement[bool]], str]]
        stem = stem_of(name)
        if type_.python in (date, datetime):
            what, unit = stem.capitalize().replace("_", " "), "day" if type_.python is date else "moment"
            bounds = [
                (f"{stem}_before", operator.lt, f"{what} before this {unit}."),
                (f"{stem}_from", operator.ge, f"{what} at this {unit} or after it."),
                (f"{stem}_after", operator.gt, f"{what} after this {unit}."),
            ]
        else:
            bounds = [
                (f"{name}_max", operator.le, "At most this."),
                (f"{name}_below", operator.lt, "Less than this."),
                (f"{name}_min", operator.ge, "At least this."),
            ]
        known = [self.table.c[name].is_not(None)] if type_.optional else []
        parameters: dict[str, Any] = {}
        for bound, compares, described in bounds:
            self._conditions[f"_by_{bound}"] = and_(compares(order, bindparam(f"_by_{bound}")), *known)
            parameters[bound] = (given, Field(default=NOT_GIVEN, description=described))
        if type_.optional:
            null = [order == literal_column(f"'{self._nulls[name]}'", order.type)] if name in self._nulls else []
            self._conditions[f"_by_{stem}"] = and_(*null, self.table.c[name].is_(None))
            parameters[stem] = (Literal["none"], Field(default=NOT_GIVEN, description="`none`: those without."))
        return parameters

    def _index(self, name: str) -> None:
        """Make the index of a filter: in the order of the field where lists are sorted by it, else of creation."""
        if self.types[name].python is list:
            return
        column, order = self.table.c[name], self._orders[name]
        columns = [self.table.c.user_id, order]
        in_its_order = name in self.sorts and not (self.types[name].optional and order is column)
        if not in_its_order and self.types[name].python not in RANGES:
            columns.append(self.table.c.created_at)
        Index(f"{self.table.name}_{name}", *columns, self.table.c.id)

    def _key(self, name: str) -> TypeAdapter[Any]:
        """Return what a cursor holds of a sort, beside the id."""
        type_ = self.types[name]
        if type_.python is str:  # as the row has it, which may be older than what bodies are held to
            text = Annotated[Text, StringConstraints(max_length=type_.limits["max_length"])]
            return TypeAdapter(text | None if type_.optional else text)
        python: Any = Annotated[AwareDatetime, AfterValidator(in_utc)] if type_.python is datetime else type_.python
        return TypeAdapter(python | None if type_.optional else python)

    def named(self, query: BaseModel) -> dict[str, Any]:
        """Return the filters that are set, as the parameters of the statements made for them."""
        found: dict[str, Any] = {}
        for name in self.filters.model_fields:
            value = getattr(query, name)
            if value is NOT_GIVEN or value == []:
                continue
            if name in self._places:
                places = list(self._places[name])
                value = sorted({places.index(one) for one in value})
            if name == "q":
                value = " ".join(value.split())
            if name in self._any and len(value) == 1:
                found[f"_by_one_{name}"] = value[0]
            else:
                found[f"_by_{name}"] = value
        return found

    def _where(self, filters: frozenset[str]) -> ColumnElement[bool]:
        """Return the condition for the caller's rows that these filters, named as in `named`, are about."""
        return and_(self.statements.own, *(self._conditions[name] for name in sorted(filters)))

    def _sorted_by(self, sort: str) -> tuple[list[Any], bool]:
        """Return what a list is sorted by, all in one direction, and whether null has a part of its own in it."""
        name, descending = sort.removeprefix("-"), sort.startswith("-")
        column, order = self.table.c[name], self._orders[name]
        if not self.types[name].optional or (order is not column and not descending):
            return [order, self.table.c.id], False
        # Null comes last, both ways.
        null = column.is_not(None) if descending else column.is_(None)
        if order is column:
            order = func.coalesce(column, literal_column(AS_NULL[self.types[name].python][0], column.type))
        return [null, order, self.table.c.id], True

    def _page(self, filters: frozenset[str], sort: str, after: bool) -> str:
        """Return the statement for a page of `_limit` rows, the first or the one after a key and an id."""
        keys, has_null = self._sorted_by(sort)
        condition = self.where(filters)
        if after:
            names = [*(["_after_null"] if has_null else []), "_after_key", "_after_id"]
            values: list[Any] = [bindparam(name, type_=key.type) for name, key in zip(names, keys, strict=True)]
            if self.types[name := sort.removeprefix("-")].python is str:
                values[-2] = self._order_of(name, "_after_key")
            last = tuple_(*values)
            place = tuple_(*keys)
            condition = and_(condition, place < last if sort.startswith("-") else place > last)
        order = [key.desc() for key in keys] if sort.startswith("-") else keys
        name = sort.removeprefix("-")
        if name not in self.statements.days:
            page = select(*self.statements.shown).where(condition).order_by(*order).limit(bindparam("_limit"))
            return sql(select(as_json(page.subquery("_shown"))))
        # Of a day its JSON does not say where it is in the order.
        page = select(*self.statements.columns).where(condition).order_by(*order).limit(bindparam("_limit"))
        rows = page.subquery("_rows")
        shown = self.statements.shown_of(rows).correlate(rows).lateral("_shown")
        return sql(select(as_json(shown), rows.c[name]).select_from(rows.join(shown, true())))

    def _check(self, query: Any, place: bytes) -> bytes:
        # No secret: it only tells a cursor that was given out here from anything else. It is bound to its list, so that
        # one used with another sort, filter or resource is an error, and not a page from the middle of it.
        bound_to = f"{self.table.name} {query.model_dump_json(exclude={'limit', 'cursor'})}".encode()
        return hashlib.blake2b(
            place, digest_size=CURSOR_CHECK_BYTES, person=hashlib.blake2b(bound_to, digest_size=16).digest()
        ).digest()

    def cursor_after(self, query: Any, last: Sequence[Any]) -> str:
        """Return the cursor for the page after a row of it."""
        fields = json.loads(last[0])
        key = fields[query.sort.removeprefix("-")]
        if len(last) > 1:
            key = last[1] and last[1].isoformat()
        place = json.dumps([key, fields["id"]], ensure_ascii=False).encode()
        return _encoded(self._check(query, place) + place)

    def place_of(self, query: Any) -> dict[str, Any]:
        """Return the parameters for where the page of a query begins; raise Problem INVALID_CURSOR."""
        if query.cursor is NOT_GIVEN:
            return {}
        name = query.sort.removeprefix("-")
        try:
            data = urlsafe_b64decode(query.cursor + "=" * (-len(query.cursor) % 4))
            if _encoded(data) != query.cursor:
                raise ValueError("not as it was given out")
            check, place = data[:CURSOR_CHECK_BYTES], data[CURSOR_CHECK_BYTES:]
            key, row_id = json.loads(place.decode())
            key = self._keys[name].validate_python(key)
            if check != self._check(query, place):
                raise ValueError("made for another list")
            after_id = UUID(row_id)
        except (ValueError, TypeError, AttributeError, RecursionError, ValidationError):
            raise Problem(
                "INVALID_CURSOR",
                "The cursor is not one of this list. Take it from the Link header, with the same sort and filters.",
            ) from None
        null = (key is None) is not query.sort.startswith("-")
        if key is None:
            key = self._nulls[name] if name in self._nulls else AS_NULL[self.types[name].python][1]
        elif isinstance(key, StrEnum):
            key = list(type(key)).index(key)
        return {"_after_key": key, "_after_id": after_id, "_after_null": null}


def _given(name: str) -> str:
    return f"CAST(:{name} AS text)"


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
