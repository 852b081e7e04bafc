"""Events that end good tokens: from when, in which process, for how long, and that nobody else can send one."""

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import httpx
import psycopg2
import pytest

from backend import erasure, migrations, retention
from backend.auth import Claims
from backend.connection import Connection
from backend.database import AS_KEEPER, Database, Rows
from backend.problems import Problem
from backend.revocation import SECONDS_FRESH, Revocations
from backend.security_events import ACCOUNT_DISABLED, ACCOUNT_PURGED, EVENTS, SESSION_REVOKED, TYPE
from tests.conftest import Log, database, execute, serving, settings, sign
from tests.helpers import assert_problem, create, every
from tests.project import PATIENCE_SECONDS, wait_until
from tests.servers import Redis
from tests.streams import stream
from tests.tokens import ABSENT, ISSUER, KEYS, Endpoint, SigningKey, by, key_pair, publishing
from tests.wire import tapped

STRANGER = key_pair("unknown", "EdDSA")
CAPTION = {"typ": TYPE}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with publishing(*KEYS.values()) as endpoint:
        yield endpoint


def of_user(user_id: str, issuer: str = ISSUER) -> dict[str, str]:
    return {"format": "iss_sub", "iss": issuer, "sub": user_id}


def of_session(session_id: str) -> dict[str, str]:
    return {"format": "opaque", "id": session_id}


def event(
    kind: str = SESSION_REVOKED,
    about: Any = ABSENT,
    *,
    key: SigningKey = KEYS["EdDSA"],
    header: dict[str, Any] = CAPTION,
    **claims: Any,
) -> str:
    """Return a security event token that is good but for these claims."""
    own = {"exp": ABSENT, "sub": ABSENT, "iat": int(time.time()), "jti": str(uuid.uuid4()), "events": {kind: {}}}
    return by(key, None, header, **(own | {"sub_id": about} | claims))


def access(user_id: str, *, age: int = 60, **claims: Any) -> str:
    """Return an access token that was issued so many seconds ago."""
    now = int(time.time())
    return by(KEYS["EdDSA"], **({"sub": user_id, "iat": now - age, "exp": now + 900} | claims))


class Api:
    """An API that knows the keys, and what is asked of it."""

    def __init__(self, url: str, http: httpx.Client) -> None:
        self.url = url
        self._http = http

    def client(self, token: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE_SECONDS)

    def ask(self, token: str) -> httpx.Response:
        return self._http.get(f"{self.url}/api/me", headers={"Authorization": f"Bearer {token}"})

    def status(self, token: str) -> int:
        return self.ask(token).status_code

    def code(self, token: str) -> str:
        return str(self.ask(token).json().get("code"))

    def tell(self, token: str | bytes, media_type: str = f"application/{TYPE}") -> httpx.Response:
        headers = {"Content-Type": media_type}
        return self._http.post(f"{self.url}/api/security-events", content=token, headers=headers)

    def ends(self, kind: str, about: Any, **claims: Any) -> None:
        answer = self.tell(event(kind, about, **claims))
        assert (answer.status_code, answer.content) == (202, b""), answer.text


Serve = Callable[..., Api]


@pytest.fixture
def serve(database_url: str, endpoint: Endpoint) -> Iterator[Serve]:
    with ExitStack() as stack:
        http = stack.enter_context(httpx.Client(timeout=PATIENCE_SECONDS))

        def one(**values: Any) -> Api:
            own = {"database_url": database_url, "better_auth_url": ISSUER, "jwks_url": endpoint.url}
            return Api(stack.enter_context(serving(settings(**(own | values)))), http)

        yield one


@pytest.fixture
def api(serve: Serve) -> Api:
    return serve()


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with database(database_url, pool_size=1) as db:
        yield db


@pytest.fixture
def ann() -> str:
    return f"ann-{uuid.uuid4()}"


# --- What ends, and what does not.


def test_the_tokens_of_a_session_end_and_no_others(api: Api, ann: str) -> None:
    phone, laptop, old = access(ann, sid="phone"), access(ann, sid="laptop"), access(ann)
    new = access(ann, age=0, sid="phone")
    assert [api.status(token) for token in (phone, laptop, old, new)] == [200] * 4
    api.ends(SESSION_REVOKED, of_session("phone"))
    assert [api.status(token) for token in (phone, laptop, old, new)] == [401, 200, 200, 401]
    with api.client(phone) as client:
        answer = client.post("/api/tasks", json={"title": "x"})
    assert_problem(answer, 401, "TOKEN_REVOKED")
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize("kind", EVENTS)
def test_every_token_that_a_user_was_issued_until_then_ends(api: Api, ann: str, kind: str) -> None:
    before, at_once, after = access(ann, age=60), access(ann, age=5), access(ann, age=0)
    unknown, bob = access(ann, iat=ABSENT), access(f"{ann}-bob")
    api.ends(kind, of_user(ann), iat=int(time.time()) - 5)
    assert [api.status(token) for token in (before, at_once, after)] == [401, 401, 200]
    assert [api.status(token) for token in (unknown, bob)] == [401, 200]


def test_the_latest_of_several_moments_counts_whichever_comes_first(api: Api, ann: str) -> None:
    now = int(time.time())
    for ago in (10, 20, 10):
        api.ends(SESSION_REVOKED, of_user(ann), iat=now - ago)
    assert [api.status(access(ann, iat=now - ago)) for ago in (21, 15, 10, 9)] == [401, 401, 401, 200]


def test_a_token_of_the_oauth_provider_ends_with_its_session_and_its_user(api: Api, ann: str) -> None:
    oauth = {"iss": f"{ISSUER}/api/auth", "client_id": "client-1", "scope": "tasks:read"}
    now = int(time.time())

    def token(session_id: str) -> str:
        claims = {"sub": ann, "iat": now - 60, "exp": now + 900, "sid": session_id}
        return by(KEYS["EdDSA"], None, {"typ": "at+jwt"}, **claims, **oauth)

    api.ends(SESSION_REVOKED, of_session("phone"), iss=oauth["iss"])
    assert [api.status(token(name)) for name in ("phone", "laptop")] == [401, 200]
    api.ends(SESSION_REVOKED, of_user(ann, oauth["iss"]), iss=oauth["iss"])
    assert api.status(token("laptop")) == 401


def test_an_event_by_the_shared_secret_counts_where_the_issuer_is_known(serve: Serve, ann: str) -> None:
    own = {"better_auth_url": None, "jwks_url": None, "jwt_issuer": ISSUER}
    api = serve(**own)
    now = int(time.time())
    told = {"iat": now, "jti": "1", "events": {SESSION_REVOKED: {}}, "sub_id": of_session(ann), "exp": None}
    token = sign({"sub": ann, "iss": ISSUER, "aud": ISSUER, "sid": ann})
    assert api.status(token) == 200
    signed = sign({**told, "iss": ISSUER, "aud": ISSUER, "jti": ann}, headers=CAPTION)
    assert api.tell(signed).status_code == 202
    assert api.status(token) == 401
    nobody = serve(better_auth_url=None, jwks_url=None)
    answer = nobody.tell(signed)
    assert (answer.status_code, answer.json()["err"]) == (400, "invalid_issuer")


def test_a_jti_that_comes_again_does_nothing(api: Api, ann: str) -> None:
    once = event(ACCOUNT_PURGED, of_user(ann), iat=int(time.time()) - 5)
    assert api.tell(once).status_code == 202
    with api.client(access(ann, age=0)) as client:
        create(client)
        assert api.tell(once).status_code == 202
        assert len(every(client, "/api/tasks")) == 1


def test_an_open_stream_ends_with_its_token(api: Api, ann: str) -> None:
    client, other = api.client(access(ann, sid=ann)), api.client(access(ann, sid="other"))
    with client, other, stream(client) as ending, stream(other) as going_on:
        ending.next()
        going_on.next()
        api.ends(SESSION_REVOKED, of_session(ann))
        assert ending.change() == {"event": "end", "data": {"reason": "token_revoked"}}
        assert ending.ends()
        create(other)
        assert going_on.change()["event"] == "change"


# --- In every process, soon, and at no cost.


def test_other_processes_know_within_a_second_and_a_half_and_after_a_restart(serve: Serve, ann: str) -> None:
    here, there = serve(), serve()
    token = access(ann, sid=ann)
    assert there.status(token) == here.status(token) == 200
    here.ends(SESSION_REVOKED, of_session(ann))
    assert here.status(token) == 401
    time.sleep(SECONDS_FRESH)
    assert there.status(token) == 401
    assert serve().status(token) == 401


def test_a_process_that_has_not_looked_for_long_looks_before_it_lets_anybody_in(
    serve: Serve, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.revocation.SECONDS_AWAKE", 0)
    here, there = serve(), serve()
    token = access(ann, sid=ann)
    assert there.status(token) == 200
    here.ends(SESSION_REVOKED, of_session(ann))
    time.sleep(SECONDS_FRESH)  # asleep: nobody has read meanwhile
    assert there.status(token) == 401


def test_with_redis_other_processes_know_at_once(
    serve: Serve, redis: Redis, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.revocation.SECONDS_BETWEEN_READS", 3600)
    monkeypatch.setattr("backend.revocation.SECONDS_FRESH", 3600)
    here, there = serve(redis_url=redis.url), serve(redis_url=redis.url)
    wait_until(lambda: redis.subscribers() == 2)
    for number in range(20):
        token = access(ann, sid=f"{ann}-{number}")
        assert (here.status(token), there.status(token)) == (200, 200)
        here.ends(SESSION_REVOKED, of_session(f"{ann}-{number}"))
        assert here.status(token) == 401
        wait_until(lambda token=token: there.status(token) == 401)  # type: ignore[misc]


def test_of_many_at_once_no_process_misses_one(serve: Serve, ann: str) -> None:
    apis = [serve(), serve(), serve()]
    tokens = [access(ann, sid=f"{ann}-{number}") for number in range(60)]
    assert {api.status(tokens[0]) for api in apis} == {200}
    with ThreadPoolExecutor(12) as pool:
        ends = [
            pool.submit(apis[number % 3].ends, SESSION_REVOKED, of_session(f"{ann}-{number}")) for number in range(60)
        ]
        for each in ends:
            each.result()
    for api in apis:
        wait_until(lambda api=api: api.status(tokens[0]) == 401)  # type: ignore[misc]
        time.sleep(SECONDS_FRESH)
        assert {api.status(token) for token in tokens} == {401}


def test_no_request_asks_for_revocations(serve: Serve, database_url: str, ann: str) -> None:
    with tapped(database_url) as wire:
        api = serve(database_url=wire.url, migrate_on_start=False)
        with api.client(access(ann)) as client:
            client.get("/api/me")
            queries, reads, began = len(wire.queries), wire.reads, time.monotonic()
            for _ in range(200):
                assert client.get("/api/me").status_code == 200
            assert len(wire.queries) == queries
            assert wire.reads - reads <= time.monotonic() - began + 1


def test_where_nobody_can_know_nobody_is_let_in(serve: Serve, database_url: str, ann: str) -> None:
    with tapped(database_url) as wire:
        api = serve(database_url=wire.url, migrate_on_start=False, db_wait_seconds=0.5)
        assert api.status(access(ann)) == 200
        wire.unplug()
        wire.cut_clients()
        wait_until(lambda: api.status(access(ann)) == 503)
        wire.plug_in()
        wait_until(lambda: api.status(access(ann)) == 200)


class Slow(Database):
    """A database whose answers take a while to come."""

    delay = 0.0

    async def run_as_keeper(self, statement: str, /, *, repeatable: bool = False, **values: Any) -> Rows:
        rows = await super().run_as_keeper(statement, repeatable=repeatable, **values)
        await asyncio.sleep(self.delay)
        return rows


async def test_a_read_that_began_before_the_event_lets_nobody_in(database_url: str, db: Database, ann: str) -> None:
    slow = Slow(database_url, pool_size=1, wait_seconds=5)
    fast = Database(database_url, pool_size=1, wait_seconds=5)
    stalled, other = Revocations(3600), Revocations(3600)
    claims = Claims(ann, time.time() + 900, issued_at=time.time(), session_id=ann)
    async with stalled.running(slow, None), other.running(fast, None):
        await stalled.check(claims)
        slow.delay = 2 * SECONDS_FRESH
        await asyncio.sleep(SECONDS_FRESH)  # a read has begun by now, and its answer is to come
        await other.add(db, issuer="x", jti=ann, issued_at=time.time(), session_id=ann)
        await asyncio.sleep(SECONDS_FRESH)
        with pytest.raises(Problem, match="session has ended"):
            await stalled.check(claims)


def test_a_table_that_is_locked_is_a_503_that_leaves_nobody_waiting(
    serve: Serve, empty_database: str, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "backend.database.AS_KEEPER", AS_KEEPER.replace("lock_timeout = '4s'", "lock_timeout = '200ms'")
    )
    migrations.upgrade(empty_database, wait_seconds=5)
    api = serve(database_url=empty_database, migrate_on_start=False)
    with closing(psycopg2.connect(empty_database)) as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLE revocation")
        assert api.status(access(ann)) == 503
        assert api.tell(event(SESSION_REVOKED, of_user(ann))).status_code == 503
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        wait_until(lambda: execute(empty_database, waiting) == [(0,)])
    assert api.status(access(ann)) == 200


def test_requests_with_a_revoked_token_are_counted_as_their_users(serve: Serve, ann: str) -> None:
    api = serve(rate_limit="3 per 100 years")
    api.ends(SESSION_REVOKED, of_user(ann))
    assert [api.status(access(ann)) for _ in range(5)] == [401, 401, 401, 429, 429]


# --- Until when.


async def test_a_revocation_goes_when_no_token_that_it_is_about_can_be_alive(
    serve: Serve, database_url: str, db: Database, ann: str
) -> None:
    api = serve(max_token_seconds=3600)
    now = int(time.time())
    api.ends(SESSION_REVOKED, of_user(ann), iat=now - 1)
    kept = "SELECT extract(epoch FROM ends_at) FROM revocation WHERE user_id = %s"
    assert execute(database_url, kept, ann) == [(now - 1 + 3600 + 60,)]
    api.ends(SESSION_REVOKED, of_session(ann), iat=now - 500)
    [(ends_at,)] = execute(database_url, kept.replace("user_id", "session_id"), ann)
    assert now <= ends_at - 3600 - 60 - 600 <= time.time()  # a session's tokens may be issued later
    await retention.forget(db, db)
    assert execute(database_url, kept, ann)
    execute(database_url, "UPDATE revocation SET ends_at = now() - interval '1 second' WHERE user_id = %s", ann)
    await retention.forget(db, db)
    assert execute(database_url, kept, ann) == []
    assert serve().status(access(ann)) == 200


def test_a_process_forgets_too(serve: Serve, ann: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.revocation.LEEWAY_SECONDS", 0)
    monkeypatch.setattr("backend.revocation.MAX_CACHE_SECONDS", 0)
    monkeypatch.setattr("backend.revocation.SECONDS_BETWEEN_SWEEPS", 0)
    api = serve(max_token_seconds=60)
    now = int(time.time())
    api.ends(SESSION_REVOKED, of_user(ann), iat=now - 57)
    token = access(ann, iat=ABSENT, exp=now + 30)
    assert api.status(token) == 401
    wait_until(lambda: api.status(token) == 200)
    assert time.time() >= now + 3


# --- Who may send one, and what.

BAD: dict[str, tuple[str, dict[str, Any]]] = {
    "by a stranger": ("invalid_key", {"key": STRANGER}),
    "of another issuer": ("invalid_issuer", {"iss": "https://other.example"}),
    "of an issuer whose name begins alike": ("invalid_issuer", {"iss": f"{ISSUER}/api"}),
    "of no issuer": ("invalid_issuer", {"iss": ABSENT}),
    "of a list of issuers": ("invalid_issuer", {"iss": [ISSUER]}),
    "for another audience": ("invalid_audience", {"aud": "https://other.example"}),
    "for no audience": ("invalid_audience", {"aud": ABSENT}),
    "without a type": ("invalid_request", {"header": {}}),
    "of the type of a token": ("invalid_request", {"header": {"typ": "JWT"}}),
    "of the type of an OAuth token": ("invalid_request", {"header": {"typ": "at+jwt"}}),
    "of a type in another case": ("invalid_request", {"header": {"typ": "SECEVENT+JWT"}}),
    "without iat": ("invalid_request", {"iat": ABSENT}),
    "too old": ("invalid_request", {"iat": int(time.time()) - 100_000}),
    "of the future": ("invalid_request", {"iat": int(time.time()) + 100_000}),
    "with an iat in words": ("invalid_request", {"iat": "now"}),
    "that has expired": ("invalid_request", {"exp": int(time.time()) - 60}),
    "without jti": ("invalid_request", {"jti": ABSENT}),
    "with a jti that is no text": ("invalid_request", {"jti": 1}),
    "with a jti of 256 characters": ("invalid_request", {"jti": "a" * 256}),
    "with a jti of NUL": ("invalid_request", {"jti": "\0"}),
    "with a sub": ("invalid_request", {"sub": "ann"}),
    "without events": ("invalid_request", {"events": ABSENT}),
    "with no events": ("invalid_request", {"events": {}}),
    "with events in a list": ("invalid_request", {"events": [SESSION_REVOKED]}),
    "with an event that is no object": ("invalid_request", {"events": {SESSION_REVOKED: None}}),
    "with an event that nobody knows": ("invalid_request", {"events": {"https://example.test/event": {}}}),
    "about nobody": ("invalid_request", {"about": ABSENT}),
    "about a name": ("invalid_request", {"about": "ann"}),
    "about nothing of a user": ("invalid_request", {"about": {"format": "iss_sub", "iss": ISSUER}}),
    "about a user of another issuer": ("invalid_request", {"about": of_user("ann", "https://other.example")}),
    "about a user in another format": ("invalid_request", {"about": {"format": "email", "email": "ann@example.test"}}),
    "about a session without a name": ("invalid_request", {"about": of_session("")}),
    "about a session that is no text": ("invalid_request", {"about": {"format": "opaque", "id": 1}}),
    "of a session that is an account": ("invalid_request", {"kind": ACCOUNT_PURGED, "about": of_session("ann")}),
    "of a session and of an account": (
        "invalid_request",
        {"events": {SESSION_REVOKED: {}, ACCOUNT_DISABLED: {}}, "about": of_session("ann")},
    ),
}


def test_a_bad_event_says_what_is_wrong_and_costs_no_statement(serve: Serve, database_url: str, log: Log) -> None:
    with tapped(database_url) as wire:
        api = serve(database_url=wire.url, migrate_on_start=False)
        api.status(access("ann"))
        ready = len(wire.queries)
        for name, (err, changes) in BAD.items():
            token = event(**({"about": of_user("ann")} | changes))
            answer = api.tell(token)
            assert (answer.status_code, answer.json()["err"]) == (400, err), name
            assert answer.json().keys() == {"err", "description"}
            assert answer.headers["Content-Type"] == "application/json"
            assert answer.headers["Content-Language"] == "en"
        good = event(about=of_user("ann"))
        altered = good[:-8] + ("A" if good[-8] != "A" else "B") + good[-7:]
        assert api.tell(altered).json()["err"] == "authentication_failed"
        for nothing in (b"", b"a.b.c", b"\xff", good.encode() + b".", b"{}", b"[" * 10_000, b"a" * 9000):
            assert api.tell(nothing).json()["err"] == "invalid_request"
        for _ in range(2000):
            assert api.tell(altered).status_code == 400
        assert wire.queries[ready:] == []
        assert "eyJ" not in log.getvalue()
        assert execute(database_url, "SELECT FROM revocation WHERE user_id = 'ann'") == []


def test_an_event_is_no_access_token_and_an_access_token_is_no_event(api: Api, ann: str) -> None:
    good = {"exp": int(time.time()) + 900, "iat": int(time.time())}
    both = {**good, "jti": "1", "events": {SESSION_REVOKED: {}}, "sub_id": of_user(ann)}
    assert api.code(event(about=of_user(ann))) == "INVALID_TOKEN"
    assert api.code(by(KEYS["EdDSA"], None, CAPTION, sub=ann, **both)) == "INVALID_TOKEN"
    for header in ({}, {"typ": "JWT"}, {"typ": "at+jwt"}):
        token = by(KEYS["EdDSA"], None, header, sub=ann, **both)
        assert api.tell(token).json()["err"] == "invalid_request"
    assert api.tell(sign({"sub": ann, **both})).json()["err"] == "invalid_request"
    unsigned = event(about=of_user(ann)).rpartition(".")[0]
    assert api.tell(f"{unsigned}.AAAA").json()["err"] == "authentication_failed"
    assert api.status(access(ann)) == 200


def test_an_event_is_sent_as_what_it_is(api: Api, ann: str) -> None:
    for media_type in ("application/json", "application/jwt", "text/plain", "application/secevent+jwtx", ""):
        assert_problem(api.tell(event(about=of_user(ann)), media_type), 415, "UNSUPPORTED_MEDIA_TYPE")
    assert_problem(api.tell(b"a" * 100_000), 413, "BODY_TOO_LARGE")
    assert api.status(access(ann)) == 200
    assert api.tell(event(about=of_user(ann)), f"Application/{TYPE}; charset=utf-8").status_code == 202
    assert api.status(access(ann)) == 401


def test_whoever_sends_bad_events_is_told_to_wait(serve: Serve, ann: str) -> None:
    api = serve(auth_failure_limit="3/day")
    assert [api.tell(b"x").status_code for _ in range(5)] == [400, 400, 400, 429, 429]
    api.ends(SESSION_REVOKED, of_user(ann))


# --- Erasure.


def rows_of(database_url: str, user_id: str) -> dict[str, int]:
    tables = ("task", "tag", "change")
    return {
        table: execute(database_url, f"SELECT count(*) FROM {table} WHERE user_id = %s", user_id)[0][0]
        for table in tables
    }


@contextmanager
def filled(api: Api, user_id: str) -> Iterator[httpx.Client]:
    with api.client(access(user_id, sid=user_id)) as client:
        for number in range(3):
            task = create(client, title=str(number), tags=["home"])
            client.patch(f"/api/tasks/{task['id']}", json={"title": "changed"}).raise_for_status()
        client.put("/api/tags/home", json={"color": "#123456"}).raise_for_status()
        yield client


NOTHING = {"task": 0, "tag": 0, "change": 0}


def test_a_user_erases_all_of_it_and_nothing_of_anybody_else(api: Api, database_url: str, ann: str) -> None:
    bob = f"{ann}-bob"
    with filled(api, ann) as client, filled(api, bob):
        before = rows_of(database_url, bob)
        with stream(client) as events:
            events.next()
            for _ in range(2):
                assert client.delete("/api/me", headers={"Confirm": ann}).status_code == 204
                assert rows_of(database_url, ann) == {**NOTHING, "change": 1}
            assert events.change() == {"event": "end", "data": {"reason": "changes_not_kept"}}
        assert rows_of(database_url, bob) == before
        since = last = int(client.get("/api/changes").json()["seq"])
        for _ in range(20):
            assert create(client)["version"] == 1  # the account is still there
        for since in range(last - 1):
            assert client.get(f"/api/changes?since={since}").status_code == 410


def test_nobody_erases_by_accident(api: Api, database_url: str, ann: str) -> None:
    with filled(api, ann) as client:
        before = rows_of(database_url, ann)
        for said in ({}, {"Confirm": ""}, {"Confirm": "yes"}, {"Confirm": f"{ann}x"}, {"Confirm": ann.upper()}):
            assert_problem(client.delete("/api/me", headers=said), 428, "CONFIRMATION_REQUIRED")
        assert rows_of(database_url, ann) == before


@pytest.mark.parametrize("said", ["Zoë 100%", "Zo%C3%AB%20100%25"])
def test_an_id_that_is_not_ascii_is_confirmed_as_it_is_or_percent_encoded(api: Api, said: str) -> None:
    with api.client(access("Zoë 100%")) as client:
        assert client.delete("/api/me", headers=[(b"confirm", said.encode())]).status_code == 204


def test_a_purged_account_leaves_nothing_but_its_revocation(api: Api, database_url: str, ann: str) -> None:
    with filled(api, ann) as client:
        api.ends(ACCOUNT_PURGED, of_user(ann))
        assert rows_of(database_url, ann) == NOTHING
        assert_problem(client.get("/api/tasks"), 401, "TOKEN_REVOKED")
    assert execute(database_url, "SELECT erases FROM revocation WHERE user_id = %s", ann) == [(False,)]


def test_what_another_process_let_in_before_it_knew_is_erased_too(
    serve: Serve, database_url: str, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.revocation.SECONDS_BETWEEN_READS", 3600)
    monkeypatch.setattr("backend.revocation.SECONDS_FRESH", 3600)
    monkeypatch.setattr("backend.revocation.SECONDS_UNTIL_ALL_KNOW", 2)
    here, there = serve(), serve()
    with filled(there, ann) as client:
        here.ends(ACCOUNT_PURGED, of_user(ann))
        create(client)
    assert rows_of(database_url, ann) != NOTHING
    wait_until(lambda: rows_of(database_url, ann) == NOTHING)


def test_a_write_that_is_under_way_when_its_token_ends_is_not_done(api: Api, database_url: str, ann: str) -> None:
    asked, told = threading.Event(), threading.Event()

    def body() -> Iterator[bytes]:
        yield b'{"title": '
        asked.set()
        told.wait()
        yield b'"x"}'

    def end() -> None:
        asked.wait()
        api.ends(ACCOUNT_PURGED, of_user(ann))
        told.set()

    with api.client(access(ann)) as client, ThreadPoolExecutor(1) as pool:
        ending = pool.submit(end)
        answer = client.post("/api/tasks", content=body(), headers={"Content-Type": "application/json"})
        ending.result()
    assert_problem(answer, 401, "TOKEN_REVOKED")
    assert rows_of(database_url, ann) == NOTHING


def test_writes_that_wait_for_their_turn_are_not_done_after_a_purge(api: Api, database_url: str, ann: str) -> None:
    with ThreadPoolExecutor(20) as pool, api.client(access(ann)) as client:
        writes = [pool.submit(client.post, "/api/tasks", json={"title": str(number)}) for number in range(200)]
        api.ends(ACCOUNT_PURGED, of_user(ann))
        assert {write.result().status_code for write in writes} <= {201, 401}
    assert rows_of(database_url, ann) == NOTHING


def test_an_export_ends_with_its_token(api: Api, ann: str) -> None:
    with api.client(access(ann, sid=ann)) as client, api.client(access(ann, sid="other")) as other:
        rows = [{"id": str(uuid.uuid4()), "title": "x" * 200, "description": "y" * 1000} for _ in range(5000)]
        other.post("/api/import", json={"version": 1, "tasks": rows}).raise_for_status()
        with client.stream("GET", "/api/export") as answer:
            parts = answer.iter_raw(1024)
            next(parts)
            api.ends(SESSION_REVOKED, of_session(ann))
            with pytest.raises(httpx.RemoteProtocolError):
                list(parts)


def test_many_erasures_take_few_connections(api: Api, database_url: str, ann: str) -> None:
    used = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    with ThreadPoolExecutor(20) as pool, api.client(access(ann)) as client:
        [(before,)] = execute(database_url, used)
        erasing = [pool.submit(client.delete, "/api/me", headers={"Confirm": ann}) for _ in range(100)]
        most = 0
        while not all(each.done() for each in erasing):
            most = max(most, execute(database_url, used)[0][0])
        assert {each.result().status_code for each in erasing} <= {204, 503}
    assert most < before + 10


@pytest.mark.parametrize("by_keeper", [False, True])
async def test_an_erasure_that_could_not_be_done_is_done_later(
    api: Api, database_url: str, db: Database, ann: str, by_keeper: bool
) -> None:
    with filled(api, ann):
        pass
    blocker = await Connection.open(database_url)
    await blocker.execute("BEGIN")
    await blocker.execute("SELECT FROM task WHERE user_id = %(user_id)s FOR UPDATE", values={"user_id": ann})
    token = event(ACCOUNT_PURGED, of_user(ann), iat=int(time.time()) - (301 if by_keeper else 0))
    assert_problem(api.tell(token), 503, "DATABASE_UNAVAILABLE")
    await blocker.execute("ROLLBACK")
    blocker.close()
    if by_keeper:  # this one, or that of another API on this database
        await retention.forget(db, db)
    else:
        assert rows_of(database_url, ann) != NOTHING
        assert api.tell(token).status_code == 202
    assert rows_of(database_url, ann) == NOTHING


async def test_an_erasure_that_fails_keeps_no_other_from_being_done(
    api: Api, database_url: str, db: Database, ann: str
) -> None:
    users = [f"{ann}-{number}" for number in range(3)]
    for user_id in users:
        with filled(api, user_id):
            pass
        purged = "INSERT INTO revocation (issuer, jti, user_id, issued_before, ends_at, erases)"
        ago, ends = "now() - interval '1 hour'", "now() + interval '1 hour'"
        execute(database_url, f"{purged} VALUES ('x', %s, %s, {ago}, {ends}, true)", user_id, user_id)
    blocker = await Connection.open(database_url)
    await blocker.execute("BEGIN")
    await blocker.execute("SELECT FROM task WHERE user_id = %(user_id)s FOR UPDATE", values={"user_id": users[0]})
    await retention.forget(db, db)
    assert [rows_of(database_url, user_id) == NOTHING for user_id in users] == [False, True, True]
    await blocker.execute("ROLLBACK")
    blocker.close()


def test_every_table_with_an_owner_is_erased(database_url: str) -> None:
    erased = "; ".join(erasure._statement(purged=True).statements)
    owners = execute(database_url, "SELECT table_name FROM information_schema.columns WHERE column_name = 'user_id'")
    for (table,) in owners:
        assert f"DELETE FROM {table} WHERE" in erased or table == "revocation"
    assert len(owners) == 4
