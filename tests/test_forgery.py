"""What a forger may try: nothing is let in, nobody else is asked, and nothing of a bad token is told or kept."""

import json
import re
import socket
import unicodedata
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import cycle
from math import isfinite
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from backend.auth import TokenError, Verifier, verify
from tests import test_auth
from tests.conftest import Log, serving, settings
from tests.helpers import assert_problem
from tests.project import PATIENCE_SECONDS
from tests.tokens import (
    ABSENT,
    ALPHABET,
    ANYTHING,
    CLAIMS,
    FOREVER,
    HEADER,
    ISSUER,
    KEYS,
    Endpoint,
    base64url,
    by,
    claiming,
    merged,
    raw,
)
from tests.wire import Wire

endpoint, verifier = test_auth.endpoint, test_auth.verifier  # fixtures: the JWKS of KEYS, and a verifier with them

GOOD = [claiming(sub=sub) for sub in ("ann", "bob")]
GOOD += [by(KEYS[name], sub=sub) for name in ("EdDSA", "ES256", "RS256") for sub in ("ann", "bob")]
ROUTES = [
    *[("GET", "/api/tasks?status=pending"), ("GET", "/api/v1/export"), ("POST", "/api/tasks"), ("PATCH", "/api/tasks")],
    ("DELETE", "/api/tasks/0199f2b6-6f0e-7c59-a4a5-2c1f3f0a9f5b"),
]
LINE_BREAK = re.compile(rb"[\r\n]")  # which ends a header, and so is never in one
FORBIDDEN = re.compile(rb"[\0-\x08\x0a-\x1f\x7f]")  # in a header (RFC 9110, section 5.5)


def nines(*texts: str) -> set[str]:
    """Return whatever nine characters stand in a row somewhere."""
    return {text[i : i + 9] for text in texts for i in range(len(text) - 8)}


def contents(token: str) -> Iterator[str]:
    """Yield a token, and every string that can be read in its parts, be they JSON or not."""
    yield token
    for part in token.encode("utf-8", "replace").split(b"."):
        with suppress(ValueError):
            yield from re.findall(r'"([^"]*)"', urlsafe_b64decode(part + b"==").decode("utf-8", "replace"))


@dataclass
class Watch:
    """A running API that knows KEYS, and all that a bad token must leave alone."""

    wire: Wire
    log: Log
    url: httpx.URL
    lure: str  # the URL of a listener that nobody must call
    secrets: list[str] = field(default_factory=lambda: [*GOOD])  # of which nothing must be logged
    statuses: Counter[int] = field(default_factory=Counter)
    answers: dict[str, object] = field(default_factory=dict)
    routes: Iterator[tuple[str, str]] = field(default_factory=lambda: cycle(ROUTES))

    def send(self, authorization: bytes, method: str = "GET", path: str = "/api/tasks") -> httpx.Response:
        """Send a header of these very bytes, some of which httpx would not send."""
        body = b'{"title": "x"}' if method in ("POST", "PATCH") else None
        headers: dict[str, str | bytes] = {"Authorization": authorization, "Content-Type": "application/json"}
        with closing(HTTPConnection(self.url.host, self.url.port, timeout=PATIENCE_SECONDS)) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())

    def lets_in(self, token: str) -> None:
        queries = len(self.wire.queries)
        assert self.send(f"Bearer {token}".encode()).status_code == 200
        assert len(self.wire.queries) > queries

    def refuses(self, authorization: bytes, *, code: str = "INVALID_TOKEN") -> None:
        """Demand the one 401 of this code (or HTTP's own 400), and no statement."""
        queries = len(self.wire.queries)
        answer = self.send(authorization, *next(self.routes))
        self.statuses[answer.status_code] += 1
        assert len(self.wire.queries) == queries
        if FORBIDDEN.search(authorization):
            assert (answer.status_code, answer.text) == (400, "Invalid HTTP request received.")
            return
        if code == "INVALID_TOKEN":
            test_auth.assert_invalid(answer)
        assert_problem(answer, 401, code)
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
        del answer.headers["Date"]
        constant = answer.text.replace(answer.headers.pop("X-Request-ID"), ""), answer.headers
        assert self.answers.setdefault(code, constant) == constant


@pytest.fixture
def watch(wire: Wire, endpoint: Endpoint, log: Log, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    monkeypatch.setattr("backend.keys.SECONDS_BETWEEN_FETCHES", 0)
    fetches = endpoint.fetches
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for name in ("http_proxy", "https_proxy", "all_proxy"):  # the listener is the way to any other host, too
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        own = settings(
            database_url=wire.url,
            migrate_on_start=False,
            better_auth_url=ISSUER,
            jwks_url=endpoint.url,
            max_token_seconds=FOREVER,
        )
        with serving(own) as url:
            watch = Watch(wire, log, httpx.URL(url), f"http://localhost:{port}/jwks")
            watch.lets_in(GOOD[-1])
            yield watch
            watch.lets_in(GOOD[-1])
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    failures = log.lines("authentication_failed")
    assert len(failures) == watch.statuses[401]
    unknown = [line for line in failures if line["reason"] == "unknown_kid"]
    assert endpoint.fetches - fetches == 1 + len(unknown), "at the start, and for each unknown kid"
    logged = "\n".join(json.dumps(json.loads(line), ensure_ascii=False) for line in log.getvalue().splitlines())
    assert not nines(logged) & nines(*(text for token in watch.secrets for text in contents(token)))


def with_s_beyond_the_order(message: bytes) -> bytes:
    """Sign with Ed25519, but with an S that is only equal modulo the order of the group (RFC 8032, section 5.1.7)."""
    signature = KEYS["EdDSA"].sign(message)
    s = int.from_bytes(signature[32:], "little") + 2**252 + 27742317777372353535851937790883648493
    return signature[:32] + s.to_bytes(32, "little")


def lures(url: str) -> test_auth.Table:
    """Return tokens that would have the API fetch a key of the forger's, or find one where there is none."""
    forger, known = test_auth.STRANGERS["EdDSA"], KEYS["EdDSA"].kid
    return [
        *[
            (f"{name} under {kid}", "header", by(forger, None, {name: url, "kid": kid}))
            for name in ("jku", "x5u")
            for kid in (forger.kid, known)
        ],
        ("jwk of the forger's", "header", by(forger, None, {"jwk": forger.jwk, "kid": known})),
        *[
            (f"kid {kid}", "unknown_kid", by(forger, None, {"kid": kid}))
            for kid in (url, "../../../../dev/null", "x' UNION SELECT 'a secret' --")
        ],
        ("iss that is a URL", "issuer", by(KEYS["EdDSA"], iss=url, jwks_uri=url)),
        ("aud that is a URL", "audience", by(KEYS["EdDSA"], aud=[url])),
        ("claims about nobody", "subject_missing", claiming(sub=ABSENT, email="ann@hunter2.example", name="Hunter II")),
        ("EdDSA with S beyond the order", "signature", by(KEYS["EdDSA"], with_s_beyond_the_order)),
    ]


def test_a_bad_token_moves_nothing_and_leaves_one_line_that_does_not_quote_it(
    watch: Watch, capfd: pytest.CaptureFixture[str]
) -> None:
    reasons, unsent = [], []
    for name, reason, token in [*test_auth.REFUSED, *test_auth.EXPIRED, *lures(watch.lure)]:
        authorization = b"Bearer " + token.encode("utf-8", "replace")
        if LINE_BREAK.search(authorization):
            unsent.append(name)
            continue
        watch.secrets.append(token)
        watch.refuses(authorization, code="TOKEN_EXPIRED" if reason == "expired" else "INVALID_TOKEN")
        if not FORBIDDEN.search(authorization):
            reasons.append(reason)
    assert [line["reason"] for line in watch.log.lines("authentication_failed")] == reasons
    assert unsent == [f"a line break in the {part}" for part in ("header", "payload", "signature")]
    assert watch.statuses[400] == 3, "of a NUL in each part"
    assert capfd.readouterr() == ("", "")


# --- Changes to good tokens.

SIMILAR = str.maketrans("aceopxyK.-", "\u0430\u0441\u0435\u043e\u0440\u0445\u0443\u212a\u2024\u2010")
FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}


def edits(own: str, other: str, junk: str) -> dict[str, str]:
    """Return what may become of a piece of a token, given the same piece of another one, and any text."""
    return {
        "another token's": other,
        "replaced": junk,
        "deleted": "",
        "junk before": junk + own,
        "junk behind": own + junk,
        "doubled": own + own,
        "doubled with a dot": f"{own}.{own}",
        "ends swapped": own[-1:] + own[1:-1] + own[:1],
        "parts turned around": ".".join(own.split(".")[::-1]),
        "case swapped": own.swapcase(),
        "lower case": own.lower(),
        "a lone =": f"{own}=",
        "padded": own + "=" * (-len(own) % 4),
        "similar ones": own.translate(SIMILAR),
        "full width": own.translate(FULL_WIDTH),
    }


def in_a_piece(edit: str, mark: str, start: int, size: int, other: str, junk: str) -> Callable[[str], str]:
    """Return a change to some of a token's parts (the mark is a dot) or characters."""

    def change(token: str) -> str:
        pieces, others = (text.split(mark) if mark else list(text) for text in (token, other))
        first = start % len(pieces)
        own, theirs = (mark.join(each[first : first + size]) for each in (pieces, others))
        return mark.join([*pieces[:first], edits(own, theirs, junk)[edit], *pieces[first + size :]])

    return change


def in_the_json(place: int, changes: dict[str, Any]) -> Callable[[str], str]:
    def change(token: str) -> str:
        parts = token.split(".")
        parts[place] = base64url(merged(json.loads(urlsafe_b64decode(parts[place] + "==")), changes))
        return ".".join(parts)

    return change


def members(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names) | st.text(max_size=3), ANYTHING | st.just(ABSENT), max_size=2)


NAMED_KEYS = {
    "alg": st.sampled_from([*KEYS, "HS256", "HS512", "none"]),
    "kid": st.sampled_from([ABSENT, "unknown", *(key.kid for key in KEYS.values())]),
}
CHANGES = st.builds(
    in_a_piece,
    st.sampled_from([*edits("", "", "")]),
    st.sampled_from(["", "", "."]),
    st.integers(0, 600),
    st.integers(1, 3) | st.integers(1, 600),
    st.sampled_from(GOOD),
    st.text(st.sampled_from(f"{ALPHABET}.=+/ \t\n\0%\xe9\ud800") | st.characters(), min_size=1, max_size=4),
)
CHANGES |= st.builds(in_the_json, st.just(0), st.fixed_dictionaries(NAMED_KEYS) | members("alg", "kid", "typ", "crit"))
CHANGES |= st.builds(in_the_json, st.just(1), members(*CLAIMS, "user_id", "nbf", "type"))
THOROUGH = profile(derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


def for_each(strategy: st.SearchStrategy[Any], check: Callable[[Any], None], examples: int) -> None:
    profile(THOROUGH, max_examples=examples)(given(strategy)(lambda drawn: check(drawn)))()


def test_of_ten_thousand_changes_to_good_tokens_none_goes_unseen(verifier: Verifier) -> None:
    assert [verify(token, verifier).user_id for token in GOOD] == ["ann", "bob"] * 4
    seen: dict[str, str] = {}

    def check(change: Callable[[str], str]) -> None:
        for mutant in (mutant for mutant in map(change, GOOD) if mutant not in GOOD):
            with pytest.raises(TokenError) as caught:
                verify(mutant, verifier)
            seen[mutant] = caught.value.reason

    for_each(CHANGES, check, 2500)
    assert len(seen) >= 10_000
    assert {"structure", "encoding", "json", "header", "algorithm", "unknown_kid", "signature"} <= {*seen.values()}


def test_changed_tokens_are_refused_over_http_like_any_other(watch: Watch) -> None:
    def check(change: Callable[[str], str]) -> None:
        for mutant in map(change, GOOD):
            # A control character cannot be sent, and a space at the end of a header is not part of it.
            if mutant.strip(" ") not in GOOD and not re.search(r"[\0-\x1f\x7f]", mutant):
                watch.refuses(b"Bearer " + mutant.encode("utf-8", "surrogatepass"))

    for_each(CHANGES, check, 100)
    assert watch.statuses.keys() == {401}
    assert watch.statuses[401] >= 500


# --- Anything at all.

ODD = ["0", "-0", "1e-400", "1e400", "-1E400", "4e9", "4000000000.5", "1" * 400, "1" * 5000, "NaN", "-Infinity", "//"]
ODD += ['"\\u0000"', '"\\ud83d\\ude00"', '"\\udc00ann"', '"\\n"', "'ann'", '"ann"', '"access"', f'["{ISSUER}"]', "null"]
ODD += ["[" * 2000, "[" * 31 + "]" * 31, "[" * 32 + "]" * 32, '{"a":' * 40 + "1" + "}" * 40, '{"a":1,"a":2}']
USERS = st.text(max_size=4) | st.text(min_size=254, max_size=257) | st.integers(0, 0x1FF).map(chr)
VALUES = st.sampled_from(ODD) | (USERS | ANYTHING).map(json.dumps)


def objects(base: dict[str, Any], *more: str) -> st.SearchStrategy[bytes]:
    """Write JSON objects like `base`, with members of any name and value, perhaps twice; or what is none at all."""
    own = {name: json.dumps(value) for name, value in base.items()}
    names = st.sampled_from([*base, *more]) | st.text(max_size=3)

    def write(changes: dict[str, str], twice: bool) -> bytes:
        members = [*own.items(), *changes.items()] if twice else {**own, **changes}.items()
        return f"{{{', '.join(f'{json.dumps(name)}: {value}' for name, value in members)}}}".encode()

    twice = st.sampled_from([False, False, True])
    return st.builds(write, st.dictionaries(names, VALUES, max_size=2), twice) | st.binary(max_size=50)


HEADERS = objects(HEADER, "typ", "kid", "crit")
PAYLOADS = objects(CLAIMS, "user_id", "nbf", "type", "email") | USERS.map(lambda user: merged(CLAIMS, {"sub": user}))


def test_nothing_is_a_token_that_no_key_has_signed(verifier: Verifier) -> None:
    parts = st.lists(st.binary(), min_size=3, max_size=3) | st.tuples(HEADERS, PAYLOADS, st.binary())
    tokens = st.text() | parts.map(lambda drawn: ".".join(map(base64url, drawn)))
    for_each(tokens, lambda token: test_auth.refuses(token, verifier), 1000)


def test_whatever_the_secret_signs_is_of_a_user_with_a_proper_name_or_is_refused(verifier: Verifier) -> None:
    outcomes: Counter[str] = Counter()

    def check(parts: tuple[bytes, bytes]) -> None:
        try:
            claims = verify(raw(*parts), verifier)
        except TokenError as error:
            outcomes[error.reason] += 1
            return
        outcomes["accepted"] += 1
        assert type(claims.user_id) is str
        assert 1 <= len(claims.user_id) <= 255
        assert not {unicodedata.category(character) for character in claims.user_id} & {"Cc", "Cs"}
        assert isfinite(claims.expires_at)
        assert {type(value) for value in (claims.email, claims.name, claims.role)} <= {str, type(None)}

    for_each(st.tuples(st.just(merged(HEADER, {})) | HEADERS, PAYLOADS), check, 2000)
    assert {"json", "header", "subject", "encoding"} <= outcomes.keys()
    assert outcomes["accepted"] > 100


def test_no_bytes_for_authorization_get_anything_but_a_401(watch: Watch) -> None:
    visible = st.lists(st.integers(0x21, 0xFF), min_size=1, max_size=40).map(bytes)
    junk = visible | st.binary(max_size=40).map(lambda drawn: LINE_BREAK.sub(b"", drawn))
    spliced = st.builds(
        lambda good, at, junk: f"Bearer {good[:at]}".encode() + junk + good[at:].encode(),
        st.sampled_from(GOOD),
        st.integers(0, 600),
        junk.filter(lambda drawn: drawn.strip(b" \t")),
    )
    for_each(junk | junk.map(b"Bearer ".__add__) | spliced, watch.refuses, 500)
    assert watch.statuses.keys() == {400, 401}
