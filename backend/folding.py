"""Text as search and sorts compare it: without case and accents. PostgreSQL folds both sides, by one expression.

Stored columns are made of it, so all of it is immutable, built in since PostgreSQL 13, and the same whatever the
collation of a database is: lower() and the patterns are under "C", which knows ASCII alone, and letters beyond it are
named here. What changes here needs a migration that makes the columns anew.
"""

import unicodedata
from collections.abc import Callable, Iterable

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


def _of_scripts(text: str, part: Callable[[dict[str, str]], Iterable[str]]) -> str:
    """Return the SQL of all letters of the scripts that a text has: to look through all of them would take long."""
    cases = [
        f"CASE WHEN (({text} COLLATE \"C\") ~ '[{has}]'::text) THEN '{''.join(part(_letters(codes)))}'::text "
        "ELSE ''::text END"
        for has, codes in _SCRIPTS.items()
    ]
    return " || ".join(cases)


def folded(text: str) -> str:
    """Return the SQL of a text folded, as PostgreSQL prints it, from the SQL of one of type text."""
    plain = f"regexp_replace(lower(NORMALIZE({text}, NFKD) COLLATE \"C\"), '[{_MARKS}]'::text, ''::text, 'g'::text)"
    plain = f"translate({plain}, ({_of_scripts(text, dict.keys)}), ({_of_scripts(text, dict.values)}))"
    for letter, two in _OF_TWO.items():
        plain = f"replace({plain}, '{letter}'::text, '{two}'::text)"
    # Most texts are ASCII alone, and cheap.
    return (
        f'CASE WHEN octet_length({text}) = length({text}) THEN lower({text} COLLATE "C") '
        f"ELSE NORMALIZE({plain}, NFC) END"
    )
