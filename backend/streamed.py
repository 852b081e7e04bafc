"""A JSON document that is read in pieces, so that what it takes to read it does not grow with it."""

import codecs
import json
import re
from collections.abc import Generator
from typing import Protocol

SHORT = 65_536  # characters of a name, and of a value that is no item of a list
SPACE = re.compile(r"[ \t\n\r]*")
_decode = json.JSONDecoder().raw_decode


class InvalidJsonError(ValueError):
    """What was sent is no JSON in UTF-8, or one value in it is longer than it may be."""


class Found(Protocol):
    """What is told of a document: the text of each of its values."""

    def value(self, name: str | None, text: str) -> None:
        """Take what a name of the document has, or the whole of one that is no object."""

    def begin(self, name: str) -> int:
        """Return how many characters an item of a list may have; 0 where it is wanted as one value."""

    def item(self, name: str, number: int, text: str) -> None:
        """Take an item of such a list, the first of which has the number 0."""


class Reader:
    """Takes a document piece by piece, and tells what it finds as soon as it is whole.

    Python's own parser finds where a value ends; who is told of it parses the text again, by the rules of any other
    body.
    """

    def __init__(self, found: Found) -> None:
        self._found = found
        self._text, self._at, self._ended = "", 0, False
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._steps = self._document()
        next(self._steps)

    def feed(self, data: bytes) -> None:
        """Read on; raise InvalidJsonError."""
        try:
            self._steps.send(self._utf8.decode(data))
        except UnicodeDecodeError:
            raise InvalidJsonError from None

    def end(self) -> None:
        """Say that there is no more; raise InvalidJsonError."""
        self._ended = True
        try:
            self._steps.send(self._utf8.decode(b"", final=True))
        except StopIteration:
            return
        except UnicodeDecodeError:
            pass
        raise InvalidJsonError

    def _more(self) -> Generator[None, str]:
        if self._ended:
            raise InvalidJsonError
        more = yield
        self._text, self._at = self._text[self._at :] + more, 0

    def _next(self) -> Generator[None, str, str]:
        """Return the next character that is no white space, and stay before it."""
        while True:
            space = SPACE.match(self._text, self._at)
            assert space
            self._at = space.end()
            if self._at < len(self._text):
                return self._text[self._at]
            yield from self._more()

    def _take(self, wanted: str) -> Generator[None, str, str]:
        """Return the next character, which must be one of these, and pass it."""
        found = yield from self._next()
        if found not in wanted:
            raise InvalidJsonError
        self._at += 1
        return found

    def _value(self, longest: int = SHORT) -> Generator[None, str, str]:
        """Return the text of the next value, of at most so many characters, and pass it."""
        yield from self._next()
        tried = 0
        while True:
            there = len(self._text) - self._at
            if there < 2 * tried and not self._ended:  # not to read a long one again with each piece of it
                yield from self._more()
                continue
            tried = there
            try:
                _, end = _decode(self._text, self._at)
                # Of a number, more digits may come.
                whole = end < len(self._text) or self._text[end - 1] in '"]}' or self._ended
            except json.JSONDecodeError:
                whole = False
            except (ValueError, RecursionError):  # a number of thousands of digits; nested a thousand deep
                raise InvalidJsonError from None
            if whole and end - self._at > longest:
                raise InvalidJsonError
            if whole:
                text, self._at = self._text[self._at : end], end
                return text
            if there > longest:
                raise InvalidJsonError
            yield from self._more()

    def _document(self) -> Generator[None, str]:
        if (yield from self._next()) == "{":
            yield from self._object()
        else:
            self._found.value(None, (yield from self._value()))
        while not self._ended:
            if SPACE.fullmatch(self._text, self._at) is None:
                raise InvalidJsonError
            self._at = len(self._text)
            yield from self._more()
        if SPACE.fullmatch(self._text, self._at) is None:
            raise InvalidJsonError

    def _object(self) -> Generator[None, str]:
        yield from self._take("{")
        if (yield from self._next()) == "}":
            self._at += 1
            return
        separator = ","
        while separator == ",":
            if (yield from self._next()) != '"':
                raise InvalidJsonError
            name = json.loads((yield from self._value()))
            yield from self._take(":")
            if (yield from self._next()) == "[" and (longest := self._found.begin(name)):
                yield from self._items(name, longest)
            else:
                self._found.value(name, (yield from self._value()))
            separator = yield from self._take(",}")

    def _items(self, name: str, longest: int) -> Generator[None, str]:
        yield from self._take("[")
        if (yield from self._next()) == "]":
            self._at += 1
            return
        separator, number = ",", 0
        while separator == ",":
            self._found.item(name, number, (yield from self._value(longest)))
            separator = yield from self._take(",]")
            number += 1
