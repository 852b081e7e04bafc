"""The key set of an issuer that rotates, breaks, hangs and lies, fetched from a real HTTP server."""

import asyncio
import gzip
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import prod
from threading import Event
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from backend.keys import MAX_ANSWER_BYTES, SECONDS_BETWEEN_FETCHES, STALE_SECONDS, KeySet
from tests.conftest import serving, settings, sign
from tests.helpers import assert_problem
from tests.project import PATIENCE_SECONDS
from tests.tokens import (
    _GENERATE,
    FOREVER,
    RSA,
    Answer,
    Clock,
    Endpoint,
    SigningKey,
    base64url,
    by,
    jwks,
    key_pair,
    publishing,
)


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.keys.FETCH_TIMEOUT_SECONDS", PATIENCE_SECONDS)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("backend.keys.time", clock)
    return clock


@pytest.fixture
def old() -> SigningKey:
    return key_pair("old")


@pytest.fixture
def new() -> SigningKey:
    return key_pair("new", "ES256")


@pytest.fixture
def endpoint(old: SigningKey) -> Iterator[Endpoint]:
    with publishing(old) as endpoint:
        yield endpoint


@contextmanager
def api_for(endpoint: Endpoint, database_url: str, secret: str | None = None) -> Iterator[httpx.Client]:
    """Run the API with this endpoint's keys, and yield a client of it."""
    configuration = settings(
        database_url=database_url, better_auth_secret=secret, jwks_url=endpoint.url, max_token_seconds=FOREVER
    )
    with serving(configuration) as url, httpx.Client(base_url=url, timeout=PATIENCE_SECONDS) as client:
        yield client


@pytest.fixture
def client(endpoint: Endpoint, database_url: str, clock: Clock, old: SigningKey) -> Iterator[httpx.Client]:
    """A client of an API whose key set holds the old key, and whose clock stands still."""
    with api_for(endpoint, database_url) as client:
        assert ask(client, old.token()).status_code == 200
        yield client


def ask(client: httpx.Client, token: str) -> httpx.Response:
    return client.get("/api/me", headers={"Authorization": f"Bearer {token}"})


def assert_unavailable(answer: httpx.Response) -> None:
    assert_problem(answer, 503, "AUTH_KEYS_UNAVAILABLE")
    assert int(answer.headers["Retry-After"]) > 0
    assert "WWW-Authenticate" not in answer.headers


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)


async def fetch_has_begun(endpoint: Endpoint, number: int) -> None:
    await asyncio.to_thread(eventually, lambda: endpoint.fetches == number)


def fetched(endpoint: Endpoint) -> KeySet:
    key_set = KeySet(endpoint.url)
    asyncio.run(key_set.refresh())
    return key_set


def test_the_set_is_fetched_at_the_start_before_anyone_asks(endpoint: Endpoint, database_url: str) -> None:
    with api_for(endpoint, database_url):
        eventually(lambda: endpoint.fetches == 1)


def test_a_known_key_never_makes_a_fetch(
    client: httpx.Client, endpoint: Endpoint, clock: Clock, old: SigningKey
) -> None:
    for _ in range(3):
        assert ask(client, old.token()).json()["user_id"] == "ann"
        clock.now += SECONDS_BETWEEN_FETCHES
    assert endpoint.paths == ["/jwks"]


def test_an_unknown_kid_fetches_at_once_so_that_a_new_key_works_unannounced(
    client: httpx.Client, endpoint: Endpoint, clock: Clock, old: SigningKey, new: SigningKey
) -> None:
    endpoint.publish(old, new)
    clock.now += SECONDS_BETWEEN_FETCHES
    assert ask(client, new.token()).status_code == 200
    assert ask(client, old.token()).status_code == 200
    assert endpoint.fetches == 2
    assert endpoint.request_headers[1]["Cache-Control"] == "no-cache"


def test_a_kid_that_a_new_fetch_does_not_bring_is_a_401(
    client: httpx.Client, endpoint: Endpoint, clock: Clock, new: SigningKey
) -> None:
    clock.now += SECONDS_BETWEEN_FETCHES
    assert_problem(ask(client, new.token()), 401, "INVALID_TOKEN")
    assert endpoint.fetches == 2


def test_in_a_flood_of_unknown_kids_a_key_made_just_now_is_taken_and_fetches_are_a_second_apart(
    endpoint: Endpoint, database_url: str, old: SigningKey
) -> None:
    floods, over = 50, Event()

    def flood(client: httpx.Client, number: int) -> Counter[int]:
        codes: Counter[int] = Counter()
        while not over.is_set():
            codes[ask(client, key_pair(f"made up {number} {codes.total()}").token()).status_code] += 1
        return codes

    started = time.monotonic()
    with api_for(endpoint, database_url) as client, ThreadPoolExecutor(floods) as pool:
        floods_codes = [pool.submit(flood, client, number) for number in range(floods)]
        try:
            for number in range(5):
                new = key_pair(f"new {number}")
                endpoint.publish(old, new)
                assert ask(client, new.token()).status_code == 200
                assert ask(client, old.token()).status_code == 200
        finally:
            over.set()
        assert {code for codes in floods_codes for code in codes.result()} == {401}
    # A busy machine can only make them come later.
    assert all(at - started > number - 0.1 for number, at in enumerate(endpoint.times))
    assert set(endpoint.at_once) == {1}


def test_a_fetch_in_progress_can_bring_a_key_but_not_say_that_there_is_none(
    endpoint: Endpoint, clock: Clock, old: SigningKey, new: SigningKey
) -> None:
    async def scenario() -> None:
        key_set = KeySet(endpoint.url)
        endpoint.gate.clear()
        first = asyncio.create_task(key_set.refresh())
        await fetch_has_begun(endpoint, 1)
        endpoint.publish(old, new)
        brought, *waiting = [asyncio.create_task(key_set.refresh(kid)) for kid in ("old", "new", "none", None)]
        clock.now += SECONDS_BETWEEN_FETCHES
        await asyncio.sleep(0)
        endpoint.gate.set()
        assert await first
        assert await brought
        assert set(key_set.keys) == {"old"}
        assert not any(task.done() for task in waiting)
        assert await asyncio.gather(*waiting) == [True, True, True]
        assert set(key_set.keys) == {"old", "new"}

    asyncio.run(scenario())
    assert endpoint.at_once == [1, 1]


def test_all_who_wait_share_the_next_fetch_and_one_who_leaves_does_not_end_it(endpoint: Endpoint, clock: Clock) -> None:
    async def scenario() -> None:
        key_set = KeySet(endpoint.url)
        for fetches in (1, 2):
            endpoint.gate.clear()
            first, *others = [asyncio.create_task(key_set.refresh()) for _ in range(50)]
            await fetch_has_begun(endpoint, fetches)
            first.cancel()
            await asyncio.wait([first])
            assert first.cancelled()
            assert not any(task.done() for task in others)
            clock.now += SECONDS_BETWEEN_FETCHES
            endpoint.gate.set()
            assert await asyncio.gather(*others) == [True] * 49

    asyncio.run(scenario())
    assert endpoint.at_once == [1, 1]


def test_only_so_many_may_wait_for_a_fetch(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        key_set = KeySet(endpoint.url)
        endpoint.gate.clear()
        waiting = [asyncio.create_task(key_set.refresh("old")) for _ in range(3)]
        await fetch_has_begun(endpoint, 1)
        assert not await key_set.refresh("old")
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        waiting[0] = asyncio.create_task(key_set.refresh("old"))  # in the place of the one who left
        await asyncio.sleep(0)
        assert not await key_set.refresh("old")
        endpoint.gate.set()
        assert await asyncio.gather(*waiting) == [True, True, True]
        assert await key_set.refresh("old")

    monkeypatch.setattr("backend.keys.MAX_WAITING", 3)
    asyncio.run(scenario())


def test_where_too_many_wait_an_unknown_kid_is_a_503_at_once_and_a_known_one_is_taken(
    client: httpx.Client, endpoint: Endpoint, old: SigningKey, new: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.keys.MAX_WAITING", 0)
    assert_unavailable(ask(client, new.token()))
    assert ask(client, old.token()).status_code == 200
    assert endpoint.fetches == 1


def test_a_slow_endpoint_slows_nobody_whose_key_is_known(
    client: httpx.Client, endpoint: Endpoint, clock: Clock, old: SigningKey, new: SigningKey
) -> None:
    endpoint.publish(old, new)
    clock.now += SECONDS_BETWEEN_FETCHES
    endpoint.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, client, new.token())
        eventually(lambda: endpoint.fetches == 2)
        assert ask(client, old.token()).status_code == 200
        assert not waiting.done()
        endpoint.gate.set()
        assert waiting.result().status_code == 200


def test_a_key_that_was_taken_out_of_the_set_is_refused_after_the_next_fetch(
    client: httpx.Client, endpoint: Endpoint, clock: Clock, old: SigningKey, new: SigningKey
) -> None:
    endpoint.publish(new)
    clock.now += SECONDS_BETWEEN_FETCHES
    assert ask(client, old.token()).status_code == 200  # nobody has looked yet
    assert ask(client, new.token()).status_code == 200
    clock.now += SECONDS_BETWEEN_FETCHES
    assert_problem(ask(client, old.token()), 401, "INVALID_TOKEN")


def test_a_set_that_is_no_longer_fresh_is_fetched_without_being_asked(
    endpoint: Endpoint, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.keys.FRESH_SECONDS", 0.01)
    monkeypatch.setattr("backend.keys.SECONDS_BETWEEN_FETCHES", 0)
    monkeypatch.setattr("backend.keys.RETRY_SECONDS", 0)
    with api_for(endpoint, database_url):
        eventually(lambda: endpoint.fetches >= 2)
        for broken in (None, Answer(status=500), Answer(b"<html>")):  # and goes on being fetched
            endpoint.answer, before = broken, endpoint.fetches
            eventually(lambda before=before: endpoint.fetches >= before + 2)  # type: ignore[misc]


def test_while_the_endpoint_is_down_known_keys_serve_for_a_day_and_others_are_a_503(
    client: httpx.Client, endpoint: Endpoint, clock: Clock, old: SigningKey, new: SigningKey
) -> None:
    endpoint.answer = None
    clock.now += STALE_SECONDS - 1
    assert_unavailable(ask(client, new.token()))
    assert endpoint.fetches == 2
    assert ask(client, old.token()).status_code == 200

    clock.now += SECONDS_BETWEEN_FETCHES
    assert_unavailable(ask(client, old.token()))

    endpoint.publish(old, new)
    clock.now += SECONDS_BETWEEN_FETCHES
    assert ask(client, new.token()).status_code == 200
    assert ask(client, old.token()).status_code == 200


@pytest.mark.parametrize("secret", [None, "a secret of 32 characters or more"])
def test_an_endpoint_down_since_the_start_is_a_503_and_not_a_401_until_it_is_there(
    database_url: str, old: SigningKey, monkeypatch: pytest.MonkeyPatch, secret: str | None
) -> None:
    monkeypatch.setattr("backend.keys.SECONDS_BETWEEN_FETCHES", 0.01)
    endpoint = Endpoint()
    try:
        with api_for(endpoint, database_url, secret) as client:
            for token in (old.token(), old.token(exp=0)):
                assert_unavailable(ask(client, token))
            shared = ask(client, sign({"sub": "ann"}, secret=secret or "x" * 32))
            assert shared.status_code == (200 if secret else 401)
            endpoint.publish(old)
            endpoint.start()
            eventually(lambda: ask(client, old.token()).status_code == 200)
    finally:
        endpoint.stop()


@pytest.mark.parametrize("cold", [True, False])
@pytest.mark.parametrize("dripping", [False, True], ids=["silent", "dripping"])
def test_an_endpoint_that_never_ends_its_answer_is_given_up(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, clock: Clock, cold: bool, dripping: bool
) -> None:
    key_set = KeySet(endpoint.url) if cold else fetched(endpoint)
    clock.now += SECONDS_BETWEEN_FETCHES
    monkeypatch.setattr("backend.keys.FETCH_TIMEOUT_SECONDS", 0.2)
    endpoint.dripping = int(dripping)
    endpoint.gate.clear()
    asyncio.run(key_set.refresh())
    assert "no answer" in str(key_set.error)
    assert set(key_set.keys) == (set() if cold else {"old"})


NEXT = key_pair("next")  # is in every answer that must be refused as a whole

REFUSED_ANSWERS: dict[str, tuple[Answer | None, str]] = {
    "hung up": (None, "no connection"),
    "half": (Answer(jwks(NEXT.jwk), headers={"Content-Length": "9999"}), "no connection"),
    "500": (Answer(jwks(NEXT.jwk), 500), "answered 500"),
    "404": (Answer(jwks(NEXT.jwk), 404), "answered 404"),
    "204": (Answer(status=204), "answered 204"),
    "redirect": (Answer(jwks(NEXT.jwk), 302, {"Location": "/elsewhere"}), "answered 302"),
    "permanent redirect": (Answer(jwks(NEXT.jwk), 308, {"Location": "/elsewhere"}), "answered 308"),
    "too large": (Answer(jwks(NEXT.jwk).ljust(MAX_ANSWER_BYTES + 1)), "larger"),
    "too large, zipped": (Answer(gzip.compress(jwks(NEXT.jwk).ljust(2**24)), 200, {"Content-Encoding": "gzip"}), ""),
    "too many keys": (Answer(jwks(NEXT.jwk, *[{}] * 1000)), "more than 1000 keys"),
    "HTML": (Answer(b"<!doctype html><title>Sign in</title>", headers={"Content-Type": "text/html"}), "JSON"),
    "nothing": (Answer(), "JSON"),
    "not UTF-8": (Answer(jwks(NEXT.jwk, {"kid": "\xff"}).replace(b"\\u00ff", b"\xff")), "JSON"),
    "a list": (Answer(b"[]"), "JSON"),
    "null": (Answer(b"null"), "JSON"),
    "one key, no set": (Answer(json.dumps(NEXT.jwk).encode()), "JSON"),
    "no keys": (Answer(b"{}"), "JSON"),
    "keys: null": (Answer(b'{"keys": null}'), "JSON"),
    "keys: an object": (Answer(b'{"keys": {}}'), "JSON"),
    "keys: a string": (Answer(b'{"keys": ""}'), "JSON"),
    "keys: by name": (Answer(json.dumps({"keys": {"next": NEXT.jwk}}).encode()), "JSON"),
    "a key that is a string": (Answer(jwks(NEXT.jwk, "key")), "JSON"),
    "a key that is null": (Answer(jwks(NEXT.jwk, None)), "JSON"),
    "too deep": (Answer(b'{"keys": ' + b"[" * 100_000), "JSON"),
    "a number of 5000 digits": (Answer(b'{"keys": [' + b"9" * 5000 + b"]}"), "JSON"),
    "a kid twice": (Answer(jwks(NEXT.jwk, key_pair("next", "ES256").jwk)), "alike"),
    "a kid twice, once unusable": (Answer(jwks(NEXT.jwk, {"kty": "AKP", "kid": "next"})), "alike"),
    "a kid that is a number": (Answer(jwks(NEXT.jwk, {**NEXT.jwk, "kid": 1})), "alike"),
    "a kid that is a list": (Answer(jwks(NEXT.jwk, {**NEXT.jwk, "kid": ["next"]})), "alike"),
    "a symmetric key": (Answer(jwks(NEXT.jwk, {"kty": "oct", "k": "c2VjcmV0", "kid": "s", "alg": "HS256"})), "private"),
    "a symmetric key without its k": (Answer(jwks(NEXT.jwk, {"kty": "oct", "kid": "s"})), "private"),
    **{
        f"a private {name}": (Answer(jwks(NEXT.jwk, {**key_pair("leak", algorithm).jwk, name: "AQAB"})), "private")
        for name, algorithm in [
            ("d", "EdDSA"),
            ("d", "ES512"),
            *((name, "RS256") for name in ("d", "p", "q", "dp", "dq", "qi", "oth")),
            ("k", "ES256"),
        ]
    },
}


@pytest.mark.parametrize(("answer", "error"), REFUSED_ANSWERS.values(), ids=REFUSED_ANSWERS)
def test_an_answer_that_cannot_be_trusted_is_refused_whole_and_the_old_keys_stay(
    endpoint: Endpoint, clock: Clock, answer: Answer | None, error: str
) -> None:
    key_set = fetched(endpoint)
    clock.now += SECONDS_BETWEEN_FETCHES
    endpoint.answer = answer
    asyncio.run(key_set.refresh())
    assert set(key_set.keys) == {"old"}
    assert error in (key_set.error or "accepted")
    assert endpoint.paths == ["/jwks", "/jwks"]

    endpoint.publish(NEXT)
    clock.now += SECONDS_BETWEEN_FETCHES
    asyncio.run(key_set.refresh())
    assert set(key_set.keys) == {"next"}
    assert key_set.error is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [("ALL_PROXY", "socks5://127.0.0.1:9"), ("HTTP_PROXY", "ftp://127.0.0.1:9"), ("SSL_CERT_FILE", "/no/such/file")],
)
def test_an_environment_that_httpx_cannot_work_with_is_one_more_failed_fetch(
    endpoint: Endpoint, clock: Clock, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    key_set = fetched(endpoint)
    clock.now += SECONDS_BETWEEN_FETCHES
    monkeypatch.setenv(variable, value)
    asyncio.run(key_set.refresh())
    assert set(key_set.keys) == {"old"}
    assert key_set.error is not None


def test_the_largest_answer_that_is_taken_is_256_kib_and_1000_keys(endpoint: Endpoint, old: SigningKey) -> None:
    endpoint.answer = Answer(jwks(old.jwk, *[{}] * 999).ljust(256 * 1024))
    assert set(fetched(endpoint).keys) == {"old"}


def changed(algorithm: str, **members: Any) -> dict[str, Any]:
    """Return a public key that is good but for these members; one that is None is left out."""
    key = {**key_pair("bad", algorithm).jwk, **members}
    return {name: value for name, value in key.items() if value is not None}


def integer(number: int) -> str:
    return base64url(number.to_bytes((number.bit_length() + 7) // 8 or 1, "big"))


PRODUCT = prod(number for number in range(2, 702) if all(number % divisor for divisor in range(2, number)))
NO_RSA_MODULI = {
    "2047 bits": 2**2047 - 1,
    "8193 bits": 2**8192 + 1,
    "200,000 bits": 2**200_000 - 1,
    "an even n": RSA.public_key().public_numbers().n + 1,
    # Two primes as a faulty smart card makes them: k·M + 65537^a mod M, where M is the product of the first 126 primes.
    "an n that ROCA factors": prod(6925650131069390 * PRODUCT + pow(65537, a, PRODUCT) for a in (27, 37)),
}
# The points whose order divides 8, in each of their encodings; and what encodes no point, or not in the one right way.
NO_ED25519_KEYS = {
    "order 1": "01" + 31 * "00",
    "order 1 and a sign": "01" + 30 * "00" + "80",
    "order 1 and y = p + 1": "ee" + 30 * "ff" + "7f",
    "order 1, y = p + 1 and a sign": "ee" + 31 * "ff",
    "order 2": "ec" + 30 * "ff" + "7f",
    "order 2 and a sign": "ec" + 31 * "ff",
    "order 4": 32 * "00",
    "order 4 and a sign": 31 * "00" + "80",
    "order 4 and y = p": "ed" + 30 * "ff" + "7f",
    "order 4, y = p and a sign": "ed" + 31 * "ff",
    "order 8": "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "order 8 and a sign": "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "order 8 and the other y": "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "order 8, the other y and a sign": "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "y = p + 3": "f0" + 30 * "ff" + "7f",
    "no point": "02" + 31 * "00",
}

UNUSABLE_KEYS: dict[str, dict[str, Any]] = {
    "an unknown kty": {"kty": "AKP", "kid": "bad", "alg": "ML-DSA-44", "pub": "AA"},
    "no kty": changed("EdDSA", kty=None),
    "a kty that is a list": changed("EdDSA", kty=["OKP"]),
    "a kty in lower case": changed("ES256", kty="ec"),
    "a crv that is an object": changed("EdDSA", crv={}),
    "X25519": changed("EdDSA", crv="X25519", alg=None),
    "Ed448": changed("EdDSA", crv="Ed448", alg=None, x=base64url(bytes(range(57)))),
    "P-384": {**SigningKey("ES384", "bad", ec.generate_private_key(ec.SECP384R1())).jwk},
    "the crv of another kty": changed("ES256", kty="OKP"),
    "RSA of 1024 bits": SigningKey("RS256", "bad", rsa.generate_private_key(65537, 1024)).jwk,  # noqa: S505
    **{f"RSA with {name}": changed("PS256", n=integer(n)) for name, n in NO_RSA_MODULI.items()},
    "RSA without alg": changed("RS256", alg=None),
    **{f"RSA with {name}": changed("RS256", alg=name) for name in ("RS384", "RS512", "PS512", "HS256", "none", "")},
    "RSA without n": changed("PS256", n=None),
    **{f"RSA with e = {e}": changed("PS256", e=integer(e)) for e in (0, 1, 2, 4, 65536)},
    **{f"EdDSA with {name}": changed("EdDSA", alg=name) for name in ("ES256", "HS256", "Ed448", "ed25519", "")},
    "P-256 with ES512": changed("ES256", alg="ES512"),
    "P-521 with ES256": changed("ES512", alg="ES256"),
    **{f"P-256 with {name}": changed("ES256", alg=name) for name in ("RS256", "EdDSA", "Ed25519")},
    "an alg that is a list": changed("EdDSA", alg=["EdDSA"]),
    "use enc": changed("EdDSA", use="enc"),
    "a use that is a list": changed("EdDSA", use=["sig"]),
    "key_ops to encrypt": changed("ES256", key_ops=["encrypt"]),
    **{f"key_ops {value!r}": changed("ES256", key_ops=value) for value in (5, "verify", {"verify": 1}, ["sign"])},
    "no kid": changed("EdDSA", kid=None),
    "an empty kid": changed("EdDSA", kid=""),
    "EdDSA without x": changed("EdDSA", x=None),
    "EdDSA with a short x": changed("EdDSA", x=base64url(b"\x03".ljust(31, b"\0"))),
    "EdDSA with a long x": changed("EdDSA", x=base64url(b"\x03".ljust(33, b"\0"))),
    "EdDSA with an x that is a number": changed("EdDSA", x=1),
    "EdDSA with an x that is not base64url": changed("EdDSA", x="é" * 43),
    **{f"EdDSA with {name}": changed("EdDSA", x=base64url(bytes.fromhex(x))) for name, x in NO_ED25519_KEYS.items()},
    "EC off its curve": changed("ES256", x=base64url(bytes(32))),
    "EC at 0, 0": changed("ES512", x=base64url(bytes(66)), y=base64url(bytes(66))),
    "EC without y": changed("ES512", y=None),
}


@pytest.mark.parametrize("bad", UNUSABLE_KEYS.values(), ids=UNUSABLE_KEYS)
def test_a_key_that_cannot_be_used_is_passed_over_and_the_others_serve(endpoint: Endpoint, bad: dict[str, Any]) -> None:
    endpoint.answer = Answer(jwks(key_pair("before", "ES512").jwk, bad, key_pair("after").jwk))
    key_set = fetched(endpoint)
    assert key_set.error is None
    assert {kid: key.algorithm for kid, key in key_set.keys.items()} == {"before": "ES512", "after": "EdDSA"}


def test_no_good_key_is_taken_for_one_that_cannot_be_used(endpoint: Endpoint) -> None:
    largest = {"kty": "RSA", "kid": "largest", "alg": "RS256", "n": integer(2**8192 - 1), "e": "Aw"}
    smallest = {**largest, "kid": "smallest", "n": integer(2**2047 + 1)}
    small_y = {"kty": "OKP", "crv": "Ed25519", "kid": "y = 3", "x": base64url(b"\x03".ljust(32, b"\0"))}
    keys = [key_pair(f"{algorithm} {n}", algorithm).jwk for algorithm in _GENERATE for n in range(100)]
    endpoint.answer = Answer(jwks(largest, smallest, small_y, *keys))
    assert len(fetched(endpoint).keys) == 3 + len(keys)


@pytest.mark.parametrize("algorithm", _GENERATE)
def test_a_key_may_say_more_or_less_about_itself(endpoint: Endpoint, algorithm: str) -> None:
    key = {**changed(algorithm), "use": "sig", "key_ops": ["verify"], "x5t": "AA", "expiresAt": None}
    if algorithm not in ("RS256", "PS256"):  # whose one algorithm their type does not tell
        del key["alg"]
    endpoint.answer = Answer(jwks(key))
    assert {kid: key.algorithm for kid, key in fetched(endpoint).keys.items()} == {"bad": algorithm}


@pytest.mark.parametrize("published", ["EdDSA", "Ed25519", None])
def test_eddsa_goes_by_either_of_its_names(endpoint: Endpoint, database_url: str, published: str | None) -> None:
    key, other = key_pair("bad"), key_pair("other", "ES256")
    endpoint.answer = Answer(jwks({**changed("EdDSA", alg=published), "x": key.jwk["x"]}, other.jwk))
    with api_for(endpoint, database_url) as client:
        for name in ("EdDSA", "Ed25519"):
            assert ask(client, by(key, None, {"alg": name})).status_code == 200
            for token in (by(key, other.sign, {"alg": name}), by(other, None, {"alg": name})):
                assert_problem(ask(client, token), 401, "INVALID_TOKEN")
        for name in ("Ed448", "ed25519", "ES256"):
            assert_problem(ask(client, by(key, None, {"alg": name})), 401, "INVALID_TOKEN")
