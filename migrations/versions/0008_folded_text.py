"""A function by which PostgreSQL compares text without case and accents, and columns by which text is searched and sorted.

All of it is immutable, built in since PostgreSQL 13, and the same whatever the collation of a database is: lower() and the
patterns are under "C", which knows ASCII alone, and letters beyond it are named here. Who changes the function makes the
columns anew.

PostgreSQL writes the table anew, for which it is locked: about three seconds for 100,000 tasks, and more where their
texts are long and not ASCII. Nothing is lost or changed by it.
"""

import unicodedata
from collections.abc import Callable, Iterable

import sqlalchemy as sa
from alembic import op

from backend.settings import StartError

revision = "0008"
down_revision = "0007"

# Marks over and under letters, Hebrew points, Arabic vowels, and what shows nothing inside a word.
_MARKS = (
    "\u00ad\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u061c"
    "\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u1ab0-\u1aff\u1dc0-\u1dff"
    "\u200b-\u200f\u202a-\u202e\u2060-\u2064\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f\ufeff"
)
# Letters with a stroke and their kind, and those of two, which Unicode does not take apart.
_PLAIN = dict(zip("øđðħıłŋŧς", "oddhilntσ", strict=True))  # noqa: RUF001
_OF_TWO = {"ß": "ss", "æ": "ae", "œ": "oe", "þ": "th"}
# The scripts with two cases: how to tell that a text has one of their letters, and where those are.
_SCRIPTS = {
    "ÆÐØÞæðøþđĐħĦıŁłŊŋŦŧƀ-ɏꞋꞍꞪẞ": [*range(0xC0, 0x250), *map(ord, "ẞꞋꞍꞪ")],
    "Ͱ-Ͽἀ-῿": range(0x370, 0x400),
    "Ѐ-ԯ": range(0x400, 0x530),
    "Ա-Ֆ": range(0x531, 0x557),
}


def _letters(codes: Iterable[int]) -> dict[str, str]:
    """Return the letters of a script that become others, and what they become."""
    found = {}
    for letter in map(chr, codes):
        small = letter.lower()
        plain = _PLAIN.get(small, small)
        if plain != letter and len(small) == 1 and unicodedata.normalize("NFKD", letter) == letter:
            found[letter] = plain
    return found


def _of_scripts(part: Callable[[dict[str, str]], Iterable[str]]) -> str:
    """Return the SQL of all letters of the scripts that a text has: to look through all of them would take long."""
    cases = [
        f"CASE WHEN value COLLATE \"C\" ~ '[{has}]' THEN '{''.join(part(_letters(codes)))}' ELSE '' END"
        for has, codes in _SCRIPTS.items()
    ]
    return " || ".join(cases)


def _folded() -> str:
    """Return the SQL of `value` taken apart (NFKD), in small letters, without marks, and composed again (NFC)."""
    plain = f"regexp_replace(lower(normalize(value, NFKD) COLLATE \"C\"), '[{_MARKS}]', '', 'g')"
    plain = f"translate({plain}, {_of_scripts(dict.keys)}, {_of_scripts(dict.values)})"
    for letter, two in _OF_TWO.items():
        plain = f"replace({plain}, '{letter}', '{two}')"
    return f"normalize({plain}, NFC)"


def upgrade() -> None:
    encoding = op.get_bind().scalar(sa.text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise StartError(f"The database is in {encoding}, and has to be in UTF8: make one with ENCODING 'UTF8'")
    # In PL/pgSQL, because PostgreSQL would put the body of an SQL function into each statement, and plan it each time.
    op.execute(
        f"""
        CREATE FUNCTION folded(value text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
        BEGIN
            IF octet_length(value) = length(value) THEN  -- ASCII alone, as most texts are
                RETURN lower(value COLLATE "C");
            END IF;
            RETURN {_folded()};
        END
        $$
        """
    )
    op.execute("GRANT EXECUTE ON FUNCTION folded(text) TO task_api")
    words = "(title)::text || ' '::text || (COALESCE(description, ''::character varying))::text"
    title = "(title)::text"
    # In one statement, so that the table is written once.
    op.execute(
        f"""
        ALTER TABLE task
            ADD COLUMN title_order text COLLATE "C" GENERATED ALWAYS AS (
                "left"(folded({title}), 100) || chr(1) || "left"({title}, 200)
            ) STORED NOT NULL,
            ADD COLUMN search_text text COLLATE "C" GENERATED ALWAYS AS (folded({words})) STORED NOT NULL
        """
    )
    op.create_index("task_title", "task", ["user_id", "title_order", "id"])


def downgrade() -> None:
    op.drop_index("task_title", table_name="task")
    op.drop_column("task", "search_text")
    op.drop_column("task", "title_order")
    op.execute("DROP FUNCTION folded(text)")
