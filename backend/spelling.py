"""How tags are spelled: one that differs from one of the caller's in case alone becomes that one.

The statement that names tags looks them up among the caller's tasks, and two writes of a user never run at once
(Database.run): what it sees is what there is. A tag that a task has as it is given is found first, and that is all; the
other letters are looked for by a pattern, made here, so that PostgreSQL need not know what case is.
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterable
from functools import lru_cache
from typing import Any

from sqlalchemy import Text, column, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from backend.database import Logged, prepared

KEPT = 1000  # names of which the letters and the pattern are kept
MAX_TAGS = 20  # of one task
TAGS = "_tags"  # is in the place of `tags` among what a body sets, if it names any
ADDED_TAGS = "_added_tags"  # and this in that of `add_tags`
_KNOWN = """
    SELECT unnest(tags) AS name FROM task WHERE user_id = :user_id
    UNION SELECT name FROM tag WHERE user_id = :user_id AND color IS NOT NULL
"""
_IS_KNOWN = "EXISTS (SELECT FROM task WHERE user_id = :user_id AND tags @> ARRAY[_given.name])"
_SPELLED = f"""
    WITH _known AS MATERIALIZED ({_KNOWN})
    SELECT array_agg(CASE WHEN {_IS_KNOWN} THEN _given.name ELSE coalesce(
        (SELECT name FROM _known WHERE name ~ pattern ORDER BY name = _given.name DESC, name LIMIT 1), _given.name
    ) END ORDER BY place) AS names
    FROM json_each_text(CAST(:{{parameter}} AS json)) WITH ORDINALITY AS _given (name, pattern, place)
"""  # noqa: S608
# All of a user's tags, and no seq, because nothing is written.
_TAGS = f"SELECT ARRAY({_KNOWN} ORDER BY name), NULL".replace(":user_id", "%(user_id)s")


@lru_cache(KEPT)
def letters(name: str) -> str:
    """Return what two names have in common that differ in case alone."""
    return "".join(one if len(one.casefold()) > 1 and one not in "ßẞ" else one.casefold() for one in name)


@lru_cache(KEPT)
def _pattern(name: str) -> str:
    """Return the pattern, as PostgreSQL takes it, of the letters of a name."""
    parts = re.split("(ss)", letters(name))
    return f"^{''.join('([Ss][Ss]|[ßẞ])' if part == 'ss' else ''.join(map(_in_any_case, part)) for part in parts)}$"


def _in_any_case(letter: str) -> str:
    both = {letter, letter.upper(), *("ς" if letter == "σ" else "")}  # noqa: RUF001
    return f"[{''.join(sorted(both))}]" if len(both) > 1 and len(letter.upper()) == 1 else re.escape(letter)


def patterns(names: Iterable[str]) -> str:
    """Return names, the first of those of the same letters, as the value of a parameter of `spelled`."""
    firsts: dict[str, str] = {}
    for name in names:
        firsts.setdefault(letters(name), name)
    return json.dumps({name: _pattern(name) for name in firsts.values()}, ensure_ascii=False)


def known(parameter: str) -> Any:
    """Return whether each name of a parameter, a list, is known as it is given."""
    return text(f"NOT EXISTS (SELECT FROM unnest(CAST(:{parameter} AS text[])) AS _given (name) WHERE NOT {_IS_KNOWN})")


def spelled(parameter: str) -> Any:
    """Return the names of a parameter (see `patterns`) as the caller spells them: a value of type text[]."""
    return select(spelling(parameter).c.names).scalar_subquery()


def spelling(parameter: str) -> Any:
    """Return the same as a CTE of one row, with the column `names`."""
    query = text(_SPELLED.format(parameter=parameter))
    return query.columns(column("names", ARRAY(Text))).cte(f"_spelled{parameter}")


SPELL = prepared(select(spelled(TAGS)))


def kept(field: str) -> Callable[[Callable[..., Awaitable[Any]]], Awaitable[Callable[[str], str]]]:
    """Return what an import keeps of rows of which this field is a tag's name, or several (Exported.kept)."""

    async def begin(run: Callable[..., Awaitable[Any]]) -> Callable[[str], str]:
        [(names,)] = await run(Logged((_TAGS,)))
        known, firsts = set(names), {letters(name): name for name in reversed(names)}

        def spell(name: str) -> str:
            return name if name in known else firsts.setdefault(letters(name), name)

        def keep(rows: str) -> str:
            found = json.loads(rows)
            for row in found:
                given = row[field]
                row[field] = spell(given) if isinstance(given, str) else list(dict.fromkeys(map(spell, given)))
            return json.dumps(found, ensure_ascii=False)

        return keep

    return begin
