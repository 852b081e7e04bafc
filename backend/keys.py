"""The keys that verify tokens: the shared secret, and the JWKS, kept fresh and usable through an outage."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.hashes import SHA256
from jose import jwk
from jose.backends import RSAKey
from jose.backends.base import Key
from jose.utils import base64url_decode

FETCH_TIMEOUT_SECONDS = 2
FRESH_SECONDS = 10 * 60
STALE_SECONDS = 24 * 60 * 60
RETRY_SECONDS = 5  # if nobody asks for a key
SECONDS_BETWEEN_FETCHES = 1  # from start to start
MAX_WAITING = 1000
MAX_ANSWER_BYTES = 256 * 1024
MAX_KEYS = 1000  # reading as many empty ones as there is room for would hold up everybody for seconds
# no-cache: what a cache in between has kept may be older than a key.
REQUEST_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "Cache-Control": "no-cache"}
RSA_BITS = range(2048, 8192 + 1)
RSA_ALGORITHMS = ("RS256", "PS256")
ALGORITHM_OF_CURVE = {("OKP", "Ed25519"): "EdDSA", ("EC", "P-256"): "ES256", ("EC", "P-521"): "ES512"}
# With this curve, EdDSA is called Ed25519 since RFC 9864. A JWK and its tokens may each use either name.
NAMES = {"EdDSA": ("EdDSA", "Ed25519")}
JWKS_ALGORITHMS = (*ALGORITHM_OF_CURVE.values(), *RSA_ALGORITHMS, "Ed25519")
# The members of private and symmetric keys: RFC 7518, sections 6.2.2, 6.3.2 and 6.4.1; RFC 8037, section 2.
SECRET_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"}
# The field of Ed25519 and the d of its curve, -x² + y² = 1 + dx²y² (RFC 8032, section 5.1).
P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
# An RSA modulus that ROCA factors (CVE-2017-15361) is a power of 65537 modulo each of these primes. Of others, one in
# 2^27 is.
ROCA_PRIMES = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)

log = structlog.get_logger()


def _is_ed25519_key(encoded: bytes) -> bool:
    """Return whether 32 bytes encode, in the one right way, a point that can be a public key (RFC 8032, section 5.1.3).

    Anybody can sign for a point whose order divides 8, and `cryptography` takes such points.
    """
    y = int.from_bytes(encoded, "little") % 2**255  # the highest bit is the sign of x
    x_squared = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    is_on_curve = pow(x_squared, (P - 1) // 2, P) == 1  # a square that is not 0: with x = 0, the order is 1 or 2
    # The order is 4 where y = 0, and 8 where doubling the point leads there: its y is then (y² + x²) over something.
    return y < P and is_on_curve and y * (y * y + x_squared) % P != 0


def _is_rsa_modulus(n: int) -> bool:
    """Return whether an RSA modulus is of a good size, and not of a kind that is known to be easy to factor."""
    is_roca = all(n % prime in {pow(65537, exponent, prime) for exponent in range(prime)} for prime in ROCA_PRIMES)
    return n.bit_length() in RSA_BITS and n % 2 == 1 and not is_roca


class EdDSAKey(Key):  # type: ignore[misc]
    """An Ed25519 public key for python-jose, which does not know EdDSA (RFC 8037)."""

    def __init__(self, key: Mapping[str, str], algorithm: str) -> None:
        encoded = base64url_decode(key["x"].encode())
        if not _is_ed25519_key(encoded):
            raise ValueError("not a public key")
        self._public_key = Ed25519PublicKey.from_public_bytes(encoded)

    def verify(self, msg: bytes, sig: bytes) -> bool:
        try:
            self._public_key.verify(sig, msg)
        except InvalidSignature:
            return False
        return True


class PS256Key(RSAKey):  # type: ignore[misc]
    """An RSA public key for PSS signatures (RFC 7518, section 3.5); python-jose knows only PKCS #1 v1.5."""

    def __init__(self, key: Mapping[str, str], algorithm: str) -> None:
        super().__init__(key, "RS256")

    def verify(self, msg: bytes, sig: bytes) -> bool:
        try:
            self.prepared_key.verify(sig, msg, PSS(mgf=MGF1(SHA256()), salt_length=SHA256.digest_size), SHA256())
        except InvalidSignature:
            return False
        return True


jwk.register_key("EdDSA", EdDSAKey)
jwk.register_key("PS256", PS256Key)


@dataclass(frozen=True)
class VerificationKey:
    """A key and the only algorithm that it may be used with."""

    algorithm: str
    key: Key

    @property
    def names(self) -> tuple[str, ...]:
        """What a JWK or a token may call the algorithm."""
        return NAMES.get(self.algorithm, (self.algorithm,))


def shared_secret(secret: str) -> VerificationKey:
    """Return the key that Better Auth's `jwt.sign` recipe signs with: the UTF-8 bytes of its secret."""
    return VerificationKey("HS256", jwk.construct(secret.encode(), "HS256"))


class KeySetError(Exception):
    """The JWKS cannot be fetched or must not be used; the message says why."""


def _verification_key(member: Mapping[str, Any]) -> VerificationKey | None:
    """Return the key if this API can use it (a public signing key with a supported algorithm), else None."""
    algorithm = ALGORITHM_OF_CURVE.get((member.get("kty"), member.get("crv")))  # type: ignore[arg-type]
    if member.get("kty") == "RSA" and member.get("alg") in RSA_ALGORITHMS:
        algorithm = member["alg"]
    if algorithm is None or member.get("use", "sig") != "sig":
        return None
    operations = member.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    key = VerificationKey(algorithm, jwk.construct(dict(member), algorithm))
    if member.get("alg", algorithm) not in key.names:
        return None
    if member["kty"] == "RSA" and not _is_rsa_modulus(key.key.prepared_key.public_numbers().n):
        return None
    return key


def parse_key_set(body: bytes) -> dict[str, VerificationKey]:
    """Return the usable keys of a JWKS (RFC 7517, section 5) by their kid; raise KeySetError.

    A key of an unknown kind is skipped. A private or symmetric key, or two keys with one kid, mean that
    the publisher cannot be trusted: then the whole set is refused.
    """
    try:
        members = json.loads(body.decode())["keys"]
        if not isinstance(members, list):
            raise TypeError
        kids = [member.get("kid") for member in members]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise KeySetError("the answer is not a JSON Web Key Set") from None
    if len(members) > MAX_KEYS:
        raise KeySetError(f"the set has more than {MAX_KEYS} keys")
    if any(member.get("kty") == "oct" or SECRET_MEMBERS & member.keys() for member in members):
        raise KeySetError("the set holds a private or symmetric key")
    named = [kid for kid in kids if kid is not None]
    if not all(isinstance(kid, str) for kid in named) or len(set(named)) < len(named):
        raise KeySetError("two kids in the set are alike, or a kid is not a string")
    keys = {}
    for kid, member in zip(kids, members, strict=True):
        try:
            key = _verification_key(member) if kid else None
        except Exception:  # a damaged key can make a library raise anything
            key = None
        if key:
            keys[kid] = key
        else:
            log.warning("jwks_key_ignored", kty=str(member.get("kty"))[:20], alg=str(member.get("alg"))[:20])
    return keys


class KeySet:
    """The keys of a JWKS endpoint. A request waits for a fetch only if its kid is unknown."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._keys: dict[str, VerificationKey] = {}
        self._body = b""
        self._fetched_at = -float("inf")
        self._began_at = -float("inf")
        self._begun = self._ended = 0  # how many fetches have
        self._fetch: asyncio.Task[None] | None = None
        self._waiting = 0
        self.error: str | None = None

    @property
    def age(self) -> float:
        """Seconds since the set was last fetched; infinite if it never was."""
        return time.monotonic() - self._fetched_at

    @property
    def usable(self) -> bool:
        return self.age < STALE_SECONDS

    @property
    def keys(self) -> dict[str, VerificationKey]:
        """The keys by kid, from the last successful fetch; empty if that was too long ago."""
        return self._keys if self.usable else {}

    async def refresh(self, kid: str | None = None) -> bool:
        """Wait for a fetch that begins after this call, or until `kid` is known; return False if the fetch failed.

        A fetch in progress can bring a new key, but not prove that there is none: it may have asked before the key
        was published. All who wait share the next fetch. If too many wait, the answer is False at once.
        """
        if self._waiting >= MAX_WAITING:
            return False
        own = self._begun + 1
        self._waiting += 1
        try:
            while self._ended < own and kid not in self.keys:
                if self._fetch is None or self._fetch.done():
                    self._fetch = asyncio.create_task(self._replace())
                await asyncio.shield(self._fetch)  # a cancelled caller must not cancel it for the others
        finally:
            self._waiting -= 1
        return self.error is None

    async def keep_fresh(self) -> None:
        """Fetch now, and again whenever the set is no longer fresh; never returns."""
        while True:
            await self.refresh()
            await asyncio.sleep(max(FRESH_SECONDS - self.age, RETRY_SECONDS))

    async def _replace(self) -> None:
        await asyncio.sleep(self._began_at + SECONDS_BETWEEN_FETCHES - time.monotonic())
        self._began_at = time.monotonic()
        self._begun += 1
        try:
            body = await self._download()
            if body != self._body:  # else keep the same object: a new one empties VerifiedTokens
                self._keys, self._body = parse_key_set(body), body
            self._fetched_at = time.monotonic()
            self.error = None
        except KeySetError as error:
            self.error = str(error)
            log.warning("jwks_fetch_failed", reason=self.error)
        finally:
            self._ended = self._begun

    async def _download(self) -> bytes:
        import httpx  # here: a start with only the shared secret does not need it

        body = b""
        try:
            async with (
                asyncio.timeout(FETCH_TIMEOUT_SECONDS),
                httpx.AsyncClient(follow_redirects=False) as client,
                client.stream("GET", self.url, headers=REQUEST_HEADERS) as response,
            ):
                if response.status_code != 200:
                    raise KeySetError(f"the endpoint answered {response.status_code}")
                async for chunk in response.aiter_raw():  # raw: a compressed answer could grow past any bound
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        raise KeySetError(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
        except TimeoutError:
            raise KeySetError(f"no answer within {FETCH_TIMEOUT_SECONDS} s") from None
        except KeySetError:
            raise
        except Exception as error:  # from httpx, or from proxy and certificate settings in the environment
            raise KeySetError(f"no connection ({type(error).__name__})") from None
        return body
