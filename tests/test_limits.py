"""How often a user may ask, and an address be wrong: in one process, or in Redis for several."""

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from backend import limits
from tests.conftest import Log, serving, settings, sign
from tests.helpers import BAD, THREE, assert_problem, user
from tests.project import Copy, free_port, wait_until
from tests.servers import Redis

SECONDS = 100 * 12 * 30 * 24 * 3600

Serve = Callable[..., httpx.Client]


@pytest.fixture
def serve(database_url: str) -> Iterator[Serve]:
    """Runs an API with these settings and returns a client of it, without a token."""
    with ExitStack() as stack:

        def run(**values: Any) -> httpx.Client:
            url = stack.enter_context(serving(settings(database_url=database_url, **values)))
            return stack.enter_context(httpx.Client(base_url=url))

        yield run


def statuses(client: httpx.Client, headers: dict[str, str], times: int) -> list[int]:
    return [client.get("/api/me", headers=headers).status_code for _ in range(times)]


def test_a_user_may_ask_so_often_and_is_then_told_how_long_to_wait(serve: Serve) -> None:
    client, ann, bob = serve(rate_limit=THREE), user(), user()
    for left in (2, 1, 0):
        answer = client.get("/api/me", headers=ann)
        assert answer.status_code == 200
        assert answer.headers["RateLimit-Policy"] == f'"user";q=3;w={SECONDS}'
        assert answer.headers["RateLimit"].startswith(f'"user";r={left};t=')
    answer = client.get("/api/me", headers=ann)
    assert_problem(answer, 429, "RATE_LIMIT_EXCEEDED")
    assert answer.headers["RateLimit"] == f'"user";r=0;t={answer.headers["Retry-After"]}'
    assert 0 < int(answer.headers["Retry-After"]) <= SECONDS
    assert f"Try again in {answer.headers['Retry-After']} s." in answer.json()["detail"]
    assert statuses(client, bob, 4) == [200, 200, 200, 429]


def test_every_answer_that_was_counted_says_what_is_left(serve: Serve) -> None:
    client, ann = serve(rate_limit="100 per 100 years", max_body_bytes=1024), user()
    answers = [
        client.post("/api/tasks", json={"title": "x"}, headers=ann),
        client.get(f"/api/tasks/{uuid.uuid4()}", headers=ann),
        client.get("/api/tasks?typo=1", headers=ann),
        client.post("/api/tasks", content=b"{", headers=ann),
        client.post("/api/tasks", json={"title": "x" * 2000}, headers=ann),
        client.get("/api/v1/export", headers=ann),
    ]
    assert [answer.status_code for answer in answers] == [201, 404, 422, 415, 413, 200]
    remaining = [answer.headers["RateLimit"].split(";")[1] for answer in answers if answer.status_code != 413]
    assert remaining == ["r=99", "r=98", "r=97", "r=96", "r=95"]
    for path in ("/health", "/ready", "/nowhere", "/docs"):
        assert "RateLimit" not in client.get(path, headers=ann).headers


def test_a_window_ends_when_it_said(serve: Serve) -> None:
    client, ann = serve(rate_limit="1/second"), user()
    wait_until(lambda: client.get("/api/me", headers=ann).status_code == 429)
    assert client.get("/health").status_code == 200
    wait_until(lambda: client.get("/api/me", headers=ann).status_code == 200)


def test_without_a_limit_nothing_is_counted(serve: Serve) -> None:
    client = serve(rate_limit="", auth_failure_limit="")
    assert statuses(client, BAD, 50) == [401] * 50
    assert "RateLimit" not in client.get("/api/me", headers=user()).headers


def test_a_flood_of_bad_tokens_is_refused_and_never_locks_a_good_one_out(serve: Serve) -> None:
    client, ann = serve(auth_failure_limit=THREE), user()
    first = client.get("/api/me", headers=BAD)
    assert first.headers["RateLimit-Policy"] == f'"invalid-tokens";q=3;w={SECONDS}'
    assert first.headers["RateLimit"].startswith('"invalid-tokens";r=2;t=')
    assert statuses(client, BAD, 3) == [401, 401, 429]
    with ThreadPoolExecutor(8) as pool:
        flood = pool.map(lambda n: client.get("/api/me", headers={"Authorization": f"Bearer bad{n}"}), range(200))
        good = [client.get("/api/tasks", headers=ann) for _ in range(20)]
    assert {answer.status_code for answer in flood} == {429}
    assert {answer.status_code for answer in good} == {200}
    refused = client.get("/api/me", headers=BAD)
    assert_problem(refused, 429, "RATE_LIMIT_EXCEEDED")
    assert refused.headers["Retry-After"]
    assert "address" in refused.json()["detail"]


def test_a_missing_or_an_expired_token_is_no_failure(serve: Serve) -> None:
    client = serve(auth_failure_limit=THREE)
    expired = {"Authorization": f"Bearer {sign({'sub': 'ann', 'exp': 1})}"}
    assert statuses(client, {}, 10) == statuses(client, expired, 10) == [401] * 10
    assert "RateLimit" not in client.get("/api/me", headers=expired).headers
    assert statuses(client, BAD, 4) == [401, 401, 401, 429]
    assert_problem(client.get("/api/me", headers=expired), 401, "TOKEN_EXPIRED")
    assert_problem(client.get("/api/me"), 401, "MISSING_TOKEN")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1:2", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("x" * 1000, "unknown"),
    ],
)
def test_an_address_of_ipv6_stands_for_its_network(address: str, network: str) -> None:
    assert limits._network((address, 1)) == network
    assert limits._network(None) == "unknown"


@pytest.mark.parametrize(("proxy", "after"), [("127.0.0.1", 401), ("192.0.2.1", 429)], ids=["its proxy", "another"])
def test_addresses_are_taken_from_the_configured_proxies_alone(copy: Copy, proxy: str, after: int) -> None:
    with copy.serving("main.py", FORWARDED_ALLOW_IPS=proxy, AUTH_FAILURE_LIMIT=THREE) as (_, url):
        for n in range(3):
            answer = httpx.get(f"{url}/api/me", headers={**BAD, "X-Forwarded-For": f"198.51.100.{n}, 203.0.113.1"})
            assert answer.status_code == 401
        another = httpx.get(f"{url}/api/me", headers={**BAD, "X-Forwarded-For": "203.0.113.2"})
        assert another.status_code == after
        same = httpx.get(f"{url}/api/me", headers={**BAD, "X-Forwarded-For": "203.0.113.1"})
        assert same.status_code == 429


def test_processes_with_one_redis_count_together(serve: Serve, redis: Redis) -> None:
    ann, network = user(), {"rate_limit": THREE, "auth_failure_limit": THREE, "redis_url": redis.url}
    clients = [serve(**network), serve(**network)]
    counted = [client.get("/api/me", headers=ann) for client in clients * 2]
    assert [answer.status_code for answer in counted] == [200, 200, 200, 429]
    assert [answer.headers["RateLimit"].split(";")[1] for answer in counted] == ["r=2", "r=1", "r=0", "r=0"]
    assert [client.get("/api/me", headers=BAD).status_code for client in clients * 2] == [401, 401, 401, 429]


def test_many_at_once_are_counted_one_by_one(serve: Serve, redis: Redis) -> None:
    client, ann = serve(rate_limit="100 per 100 years", redis_url=redis.url), user()
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: client.get("/api/me", headers=ann).status_code, range(150)))
    assert (answers.count(200), answers.count(429)) == (100, 50)


def test_a_redis_that_goes_and_comes_back_fails_no_request(
    serve: Serve, redis: Redis, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SECONDS_BETWEEN_TRIES", 0.05)
    client, ann = serve(rate_limit=THREE, redis_url=redis.url), user()
    assert client.get("/api/me", headers=ann).headers["RateLimit"].startswith('"user";r=2;')
    redis.stop()
    assert statuses(client, ann, 4) == [200, 200, 200, 429]  # counted anew, by this process
    ready = client.get("/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert ready.json()["checks"]["redis"]["status"] == "degraded"
    assert client.get("/health/redis").status_code == 503
    redis.start()
    wait_until(lambda: client.get("/api/me", headers=ann).status_code == 200)  # Redis has nothing kept
    assert client.get("/health/redis").status_code == 200
    assert client.get("/ready").json()["checks"]["redis"]["status"] == "ok"
    [line] = log.lines("redis_unreachable")
    assert line["level"] == "warning"
    assert len(log.lines("redis_back")) == 1
    assert "hunter2" not in log.getvalue()


def test_a_redis_that_does_not_answer_holds_up_one_request_in_a_while(
    serve: Serve, redis: Redis, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REDIS_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(limits, "SECONDS_BETWEEN_TRIES", 3600)
    client, ann = serve(rate_limit="100 per 100 years", redis_url=redis.url), user()
    client.get("/api/me", headers=ann)
    redis.freeze()
    assert statuses(client, ann, 20) == [200] * 20
    slow = [line["duration_ms"] for line in log.lines("request") if line["duration_ms"] > 90]
    assert len(slow) == 1
    assert len(log.lines("redis_unreachable")) == 1


def test_without_redis_nothing_is_amiss(serve: Serve) -> None:
    client = serve()
    assert client.get("/health/redis").json()["status"] == "ok"
    assert "redis" not in client.get("/ready").json()["checks"]


def test_doctor_tells_of_redis(copy: Copy, redis: Redis) -> None:
    secret = {"BETTER_AUTH_SECRET": "x" * 32}
    assert "redis" not in copy.run("main.py", "doctor", **secret).stdout
    found = copy.run("main.py", "doctor", REDIS_URL=redis.url, **secret)
    assert "ok    redis" in found.stdout
    missed = copy.run("main.py", "doctor", REDIS_URL=f"redis://:hunter2@127.0.0.1:{free_port()}", **secret)
    assert missed.returncode == 1
    assert "FAIL  redis" in missed.stdout
    wrong = copy.run("main.py", "doctor", REDIS_URL=redis.url.replace("hunter2", "hunter3"), **secret)
    assert "FAIL  redis" in wrong.stdout
    assert "hunter" not in missed.stdout + wrong.stdout + missed.stderr + wrong.stderr
