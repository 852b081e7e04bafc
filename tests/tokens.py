"""Key sets, signing keys and tokens, good and forged."""

import hmac
import json
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from hypothesis import strategies as st

from tests.conftest import SECRET

YEAR_2096 = 4_000_000_000
FOREVER = 10_000_000_000  # the MAX_TOKEN_SECONDS of tests whose tokens are always the same


def base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def compact(header: bytes, payload: bytes, sign: Callable[[bytes], bytes]) -> str:
    """Return a JWS of these very bytes, with the signature that `sign` makes."""
    message = f"{base64url(header)}.{base64url(payload)}"
    return f"{message}.{base64url(sign(message.encode()))}"


@dataclass(frozen=True)
class SigningKey:
    """A key pair of the issuer."""

    algorithm: str
    kid: str
    private: Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key as Better Auth publishes it."""
        if isinstance(self.private, Ed25519PrivateKey):
            x = self.private.public_key().public_bytes_raw()
            key = {"kty": "OKP", "crv": "Ed25519", "x": base64url(x)}
        elif isinstance(self.private, RSAPrivateKey):
            public = self.private.public_key().public_numbers()
            n, e = public.n.to_bytes(self.private.key_size // 8, "big"), public.e.to_bytes(3, "big")
            key = {"kty": "RSA", "n": base64url(n), "e": base64url(e)}
        else:
            size, point = self._size, self.private.public_key().public_numbers()
            x, y = point.x.to_bytes(size, "big"), point.y.to_bytes(size, "big")
            key = {"kty": "EC", "crv": f"P-{self.private.key_size}", "x": base64url(x), "y": base64url(y)}
        return {**key, "alg": self.algorithm, "kid": self.kid}

    @property
    def _size(self) -> int:
        return (self.private.key_size + 7) // 8 if isinstance(self.private, EllipticCurvePrivateKey) else 0

    def sign(self, message: bytes) -> bytes:
        if isinstance(self.private, Ed25519PrivateKey):
            return self.private.sign(message)
        if isinstance(self.private, RSAPrivateKey):
            pss = padding.PSS(padding.MGF1(SHA256()), SHA256.digest_size)
            return self.private.sign(message, pss if self.algorithm == "PS256" else padding.PKCS1v15(), SHA256())
        hash_ = SHA512() if self.algorithm == "ES512" else SHA256()
        r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(hash_)))
        return r.to_bytes(self._size, "big") + s.to_bytes(self._size, "big")

    def token(self, **claims: Any) -> str:
        header, claims = {"alg": self.algorithm, "kid": self.kid}, {"sub": "ann", "exp": YEAR_2096, **claims}
        return compact(json.dumps(header).encode(), json.dumps(claims).encode(), self.sign)


RSA = rsa.generate_private_key(65537, 2048)
_GENERATE: dict[str, Callable[[], Any]] = {
    "EdDSA": Ed25519PrivateKey.generate,
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "RS256": lambda: RSA,  # making one is slow
    "PS256": lambda: RSA,
}


def key_pair(kid: str, algorithm: str = "EdDSA") -> SigningKey:
    return SigningKey(algorithm, kid, _GENERATE[algorithm]())


def jwks(*members: object) -> bytes:
    return json.dumps({"keys": members}).encode()


@dataclass
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class _Handler(BaseHTTPRequestHandler):
    server: "Endpoint"

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.server.request_headers.append(self.headers)
        self.server.times.append(time.monotonic())
        self.server.at_once.append(len(self.server.times) - len(self.server.ended))
        answer = self.server.answer
        with suppress(ConnectionError):  # of a client that has heard enough
            while self.server.dripping and not self.server.gate.wait(0.01):
                self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" if self.server.dripping == 1 else b" ")
                self.server.dripping += 1
            self.server.gate.wait()
            self.server.ended.append(self.path)  # before the client can know
            if answer is None:
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        pass


class Endpoint(ThreadingHTTPServer):
    """A JWKS endpoint that does what a test wants: the `answer` as it is when a request comes (None: hang up), and only
    when `gate` is open. It notes what came, when, and how many requests were open then.
    """

    daemon_threads = False  # so that the end waits for every answer
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler, bind_and_activate=False)
        self.server_bind()  # from here on the port is its own, and refuses connections until the start
        self.url = f"http://127.0.0.1:{self.server_port}/jwks"
        self.answer: Answer | None = Answer()
        self.paths: list[str] = []
        self.request_headers: list[Message] = []
        self.times: list[float] = []
        self.at_once: list[int] = []
        self.ended: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.dripping = 0
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    @property
    def fetches(self) -> int:
        return len(self.paths)

    def publish(self, *keys: SigningKey) -> None:
        self.answer = Answer(jwks(*(key.jwk for key in keys)))

    def start(self) -> None:
        self.server_activate()
        self._thread.start()

    def stop(self) -> None:
        self.gate.set()
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        self.server_close()


@contextmanager
def publishing(*keys: SigningKey) -> Iterator[Endpoint]:
    """Run an endpoint that publishes these keys."""
    endpoint = Endpoint()
    endpoint.publish(*keys)
    endpoint.start()
    try:
        yield endpoint
    finally:
        endpoint.stop()


class Clock:
    """The time as the key set sees it; it stands still until a test moves it."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


ISSUER = "https://app.example.test"
YEAR_2023, YEAR_2033 = 1_700_000_000, 2_000_000_000
HEADER = {"alg": "HS256"}
CLAIMS = {"sub": "ann", "iss": ISSUER, "aud": ISSUER, "iat": YEAR_2023, "exp": YEAR_2096}
ABSENT = object()
KEYS = {name: key_pair(f"key of {name}", name) for name in ("EdDSA", "ES256", "ES512", "RS256", "PS256")}
Sign = Callable[[bytes], bytes]


def hmac_with(secret: bytes | str, digest: str = "sha256") -> Sign:
    key = secret.encode() if isinstance(secret, str) else secret
    return lambda message: hmac.digest(key, message, digest)


shared = hmac_with(SECRET)


def merged(base: dict[str, Any], changes: dict[str, Any]) -> bytes:
    return json.dumps({name: value for name, value in {**base, **changes}.items() if value is not ABSENT}).encode()


def raw(header: bytes = merged(HEADER, {}), payload: bytes = merged(CLAIMS, {}), sign: Sign = shared) -> str:
    """Return a token of these very bytes, well signed."""
    return compact(header, payload, sign)


def claiming(**changes: Any) -> str:
    """Return a token that is good but for these claims."""
    return raw(payload=merged(CLAIMS, changes))


def by(key: SigningKey, sign: Sign | None = None, header: dict[str, Any] | None = None, /, **claims: Any) -> str:
    """Return a token that is signed with a key pair, as Better Auth does it."""
    own = {"alg": key.algorithm, "kid": key.kid}
    return raw(merged(own, header or {}), merged(CLAIMS, claims), sign or key.sign)


ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([ISSUER, "ann", "HS256"]),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=3),
    max_leaves=5,
)
