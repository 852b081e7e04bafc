"""Which tokens are let in: the verifier as a table of tokens, and what HTTP makes of its verdict."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from backend.auth import (
    ID_CLAIMS,
    MAX_DEPTH,
    Claims,
    TokenError,
    TokenExpiredError,
    UnknownKeyError,
    VerifiedTokens,
    Verifier,
    authenticate,
    verify,
)
from tests.conftest import SECRET, serving, settings, sign
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
    RSA,
    YEAR_2023,
    YEAR_2033,
    YEAR_2096,
    Endpoint,
    Sign,
    SigningKey,
    base64url,
    by,
    claiming,
    hmac_with,
    jwks,
    key_pair,
    merged,
    publishing,
    raw,
    shared,
)

STRANGERS = {name: key_pair("unknown", name) for name in ("EdDSA", "ES256", "ES512")}
STRANGERS |= {name: SigningKey(name, "unknown", rsa.generate_private_key(65537, 2048)) for name in ("RS256", "PS256")}


def heading(sign: Sign = shared, /, **changes: Any) -> str:
    """Return a token that is good but for these header parameters."""
    return raw(header=merged(HEADER, changes), sign=sign)


def writing(name: str, value: bytes) -> str:
    """Return a token with a claim whose value is written like this."""
    return raw(payload=merged(CLAIMS, {name: ABSENT})[:-1] + b', "%b": %b}' % (name.encode(), value))


def of_length(size: int) -> str:
    """Return a good token of so many bytes."""
    empty = raw(b'{"alg":"HS256"}', merged(CLAIMS, {"name": ""}))
    start = (size - len(empty)) * 3 // 4 - 3
    sized = (raw(b'{"alg":"HS256"}', merged(CLAIMS, {"name": "x" * n})) for n in count(start))
    return next(token for token in sized if len(token) == size)


OAUTH = {
    "iss": f"{ISSUER}/api/auth",
    "aud": [ISSUER, f"{ISSUER}/api/auth/oauth2/userinfo"],
    "client_id": "client-1",
    "azp": "client-1",
    "scope": "openid tasks:read",
}


def of_oauth(**changes: Any) -> str:
    """Return a token of Better Auth's OAuth provider that is good but for these claims."""
    return by(KEYS["EdDSA"], None, {"typ": "at+jwt"}, **(OAUTH | changes))


# --- Tokens that must be refused: name, reason, token. Each is good but for the one thing that its name says.

Table = list[tuple[str, str, str]]

STRUCTURE: Table = [
    *[(f"{text!r}", "structure", text) for text in ("", ".", "token", "a.b", "null", "undefined", "a.b.c.d", "....")],
    ("a signed cookie", "structure", "T9GGzzoPVkW5Vq1h0Mmqzhb0Tq2jT7sW.4pTTSUbNRB7Hj0f8iqfJg3bTCkLpXyyXJ1tMZVqkKpk%3D"),
    ("a JWE", "structure", raw(b'{"alg":"dir","enc":"A256GCM"}') + ".YQ.YQ"),
    ("a second token behind", "structure", f"{raw()}.{raw()}"),
    ("a dot in front", "structure", f".{raw()}"),
    ("a dot behind", "structure", f"{raw()}."),
]

TOO_LONG: Table = [
    ("over 8 KiB", "size", of_length(8193)),
    ("far over 8 KiB", "size", "a" * 100_000),
]

ALTERATIONS: dict[str, Callable[[str], str]] = {
    "padding": lambda part: part + "=" * (-len(part) % 4),
    "a lone =": lambda part: f"{part}=",
    "unused bits set": lambda part: part[:-1] + ALPHABET[ALPHABET.index(part[-1]) + 1],
    "the other alphabet": lambda part: part.replace("-", "+").replace("_", "/"),
    "a length of 1 mod 4": lambda part: part[: len(part) // 4 * 4] + "A",
    "a space": lambda part: f"{part[:4]} {part[4:]}",
    "a line break": lambda part: f"{part}\r\n",
    "a NUL": lambda part: f"{part}\0",
    "a percent escape": lambda part: f"%{ord(part[0]):x}{part[1:]}",
    "a letter beyond ASCII": lambda part: f"{part}é",
    "a digit beyond ASCII": lambda part: f"{part}\uff11",
    "a lone surrogate": lambda part: f"{part}\ud800",
    "nothing": lambda part: "",
}


def encodings() -> Iterator[tuple[str, str, str]]:
    # Every part of this token has unused bits and a character that the two alphabets write differently.
    for n in count():
        parts = raw(b'{"alg":"HS256", "x":"~~~~~"}', merged(CLAIMS, {"name": f"~~~~~{n:03}"})).split(".")
        if all(len(part) % 4 > 1 and set(part) & {"-", "_"} for part in parts):
            break
    for place, name in enumerate(("header", "payload", "signature")):
        for fault, alter in ALTERATIONS.items():
            altered = [alter(part) if i == place else part for i, part in enumerate(parts)]
            if name != "signature":  # it is the text that is signed, so the alteration is its only fault
                altered[2] = base64url(shared(f"{altered[0]}.{altered[1]}".encode("utf-8", "surrogatepass")))
            yield f"{fault} in the {name}", "encoding", ".".join(altered)


ANY_VALUES: list[Any] = ["https://evil.example/jwks", [], {"kty": "oct"}, None, False]
HEADERS: Table = [
    *[
        (f"header {name}", "json", raw(header=text))
        for name, text in {
            "that is no JSON": b"HS256",
            "cut short": b'{"alg":"HS256"',
            "with a comma too many": b'{"alg":"HS256",}',
            "with text behind": b'{"alg":"HS256"} {}',
            "in single quotes": b"{'alg':'HS256'}",
            "with a comment": b'{"alg":"HS256"/**/}',
            "that is a list": b'["HS256"]',
            "that is a string": b'"HS256"',
            "that is null": b"null",
            "with alg twice": b'{"alg":"HS256","alg":"HS256"}',
            "with alg twice, once none": b'{"alg":"none","alg":"HS256"}',
            "with alg twice, once escaped": b'{"alg":"HS256","\\u0061lg":"none"}',
            "with a name twice below": b'{"alg":"HS256","x":{"a":1,"a":2}}',
            "with a BOM": b'\xef\xbb\xbf{"alg":"HS256"}',
            "in UTF-16": '{"alg":"HS256"}'.encode("utf-16"),
            "in UTF-16 without a BOM": '{"alg":"HS256"}'.encode("utf-16-le"),
            "in broken UTF-8": b'{"alg":"HS256","x":"\xff"}',
            "with an overlong NUL": b'{"alg":"HS256","x":"\xc0\x80"}',
            "with a surrogate in UTF-8": b'{"alg":"HS256","x":"\xed\xa0\x80"}',
            "with a bare line break in a string": b'{"alg":"HS256","x":"\n"}',
            "with NaN": b'{"alg":"HS256","x":NaN}',
            "with -Infinity": b'{"alg":"HS256","x":-Infinity}',
            "that is too deep": b'{"alg":"HS256","x":' + b"[" * 1000,
        }.items()
    ],
    ("header of 1025 bytes", "header_size", raw(header=merged(HEADER, {}).ljust(1025))),
    ("header of 1025 bytes of nesting", "header_size", raw(header=b'{"x":' + b"[" * 1020)),
    ("header with an object", "header", heading(x={})),
    ("header with a list", "header", heading(x=[])),
    ("header with a deep list", "header", raw(header=b'{"alg":"HS256","x":' + b"[" * 400 + b"]" * 400 + b"}")),
    *[
        (f"{name} that is {value!r:.9}", "header", heading(**{name: value}))
        for name in ("crit", "jwk", "jku", "x5u", "x5c", "zip", "b64")
        for value in ANY_VALUES
    ],
    *[
        (f"typ {typ!r}", "type", heading(typ=typ))
        for typ in ("", "jwt", "JWT ", "JWE", "application/at+jwt", "id+jwt", "better-auth.session-cache+jwt", None, 1)
    ],
    *[
        (f"kid {kid!r}", "kid", heading(kid=kid))
        for kid in ("", "a\n", "a\0", "\x7f", "\u202e", "\ud800", None, 1, 1.5, True)
    ],
    ("kid that is a list", "header", heading(kid=["a"])),
]

ALGORITHMS: Table = [
    ("no alg", "algorithm", heading(alg=ABSENT)),
    *[
        (f"alg {alg!r}", "algorithm", heading(alg=alg))
        for alg in (
            *("none", "None", "NONE", "nOnE", "", "HS", "hs256", "HS256 ", " HS256", "HS257", "dir", "A128KW"),
            *("RS384", "RS512", "ES384", "ES256K", "PS384", "PS512", "Ed25519", None, True, 256),
        )
    ],
    *[(f"alg {alg!r}", "header", heading(alg=alg)) for alg in (["HS256"], {"alg": "HS256"})],
    ("alg none without a signature", "encoding", raw(b'{"alg":"none"}', sign=lambda _: b"")),
    ("alg HS384, well signed", "algorithm", heading(hmac_with(SECRET, "sha384"), alg="HS384")),
    ("alg HS512, well signed", "algorithm", heading(hmac_with(SECRET, "sha512"), alg="HS512")),
    *[(f"{name} without kid", "algorithm", heading(key.sign, alg=name)) for name, key in KEYS.items()],
    *[(f"{name} of an unknown kid", "unknown_kid", by(key)) for name, key in STRANGERS.items()],
    *[
        (f"{name} with the kid of {other}", "algorithm", by(KEYS[name], None, {"kid": f"key of {other}"}))
        for name in KEYS
        for other in KEYS
        if name != other
    ],
    *[
        (f"{name} and HS256 with its kid", "signature", by(key, None, {"alg": "HS256"}))  # its own good signature
        for name, key in KEYS.items()
    ],
]


def spliced(token: str, other: str) -> str:
    """Return `token` with the signature of another one."""
    return f"{token.rpartition('.')[0]}.{other.rpartition('.')[2]}"


def in_der(message: bytes) -> bytes:
    signature = KEYS["ES256"].sign(message)
    return encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))


def with_long_salt(message: bytes) -> bytes:
    return RSA.sign(message, padding.PSS(padding.MGF1(SHA256()), padding.PSS.MAX_LENGTH), SHA256())


def forgeries(key: SigningKey) -> dict[str, Sign]:
    return {
        "by a key of the same kind": STRANGERS[key.algorithm].sign,
        "of zeros": lambda message: bytes(len(key.sign(message))),
        "of one byte": lambda _: b"\0",
        "cut": lambda message: key.sign(message)[:-1],
        "and more": lambda message: key.sign(message) + b"\0",
        "turned around": lambda message: key.sign(message)[::-1],
        "of the payload alone": lambda message: key.sign(message.partition(b".")[2]),
        "by the shared secret": shared,
    }


def public_forms(key: SigningKey) -> dict[str, bytes]:
    """Return what an attacker, who has the public key, may hope that the verifier takes for a secret."""
    public = key.private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {
        "PEM": pem,
        "PEM without its last line break": pem.strip(),
        "DER": der,
        "DER in base64": b64encode(der),
        "JWK": json.dumps(key.jwk).encode(),
        "JWK without spaces": json.dumps(key.jwk, separators=(",", ":")).encode(),
        "JWKS": jwks(*(key.jwk for key in KEYS.values())),
        "x or n": str(key.jwk.get("x", key.jwk.get("n"))).encode(),
        "kid": key.kid.encode(),
    }


SIGNATURES: Table = [
    *[
        (f"HS256 with {name}", "signature", raw(sign=hmac_with(secret)))
        for name, secret in {
            "another secret": f"{SECRET}!",
            "the secret in capitals": SECRET.upper(),
            "the secret in base64": b64encode(SECRET.encode()).decode(),
            "no secret": "",
            "Better Auth's default secret": "better-auth-secret-12345678901234567890",
        }.items()
    ],
    ("HS256, half a signature", "signature", raw(sign=lambda message: shared(message)[:16])),
    ("HS256, a signature and more", "signature", raw(sign=lambda message: shared(message) + b"\0")),
    ("HS256, a signature in hexadecimal", "signature", raw(sign=lambda message: shared(message).hex().encode())),
    ("HS256, another payload", "signature", spliced(claiming(sub="bob"), raw())),
    ("HS256, another header", "signature", spliced(heading(typ="JWT"), raw())),
    ("EdDSA, another payload", "signature", spliced(by(KEYS["EdDSA"], sub="bob"), by(KEYS["EdDSA"]))),
    *[
        (f"{name}, a signature {fault}", "signature", by(key, forge))
        for name, key in KEYS.items()
        for fault, forge in forgeries(key).items()
    ],
    ("ES256 in DER", "signature", by(KEYS["ES256"], in_der)),
    ("RS256 by PSS", "signature", by(KEYS["RS256"], KEYS["PS256"].sign)),
    ("PS256 by PKCS #1 v1.5", "signature", by(KEYS["PS256"], KEYS["RS256"].sign)),
    ("PS256 with a long salt", "signature", by(KEYS["PS256"], with_long_salt)),
    *[
        (f"{alg} with the {form} of {name} as its secret", "signature", by(key, hmac_with(secret), {"alg": alg}))
        for name, key in KEYS.items()
        for form, secret in public_forms(key).items()
        for alg in ("HS256", name)
    ],
]

PAYLOADS: Table = [
    (f"payload {name}", "json", raw(payload=text))
    for name, text in {
        "that is no JSON": b"ann",
        "cut short": merged(CLAIMS, {})[:-1],
        "with text behind": merged(CLAIMS, {}) + b"{}",
        "that is a list": b"[" + merged(CLAIMS, {}) + b"]",
        "that is a string": b'"ann"',
        "that is a number": b"1",
        "that is null": b"null",
        "with a BOM": b"\xef\xbb\xbf" + merged(CLAIMS, {}),
        "in UTF-16": merged(CLAIMS, {}).decode().encode("utf-16"),
        "in broken UTF-8": merged(CLAIMS, {})[:-1] + b', "name": "\xff"}',
        "with sub twice": merged(CLAIMS, {})[:-1] + b', "sub": "bob"}',
        "with sub twice, the same": merged(CLAIMS, {})[:-1] + b', "sub": "ann"}',
        "with sub twice, once escaped": merged(CLAIMS, {})[:-1] + b', "\\u0073ub": "bob"}',
        "with exp twice": merged(CLAIMS, {})[:-1] + b', "exp": 4000000001}',
        "with a name twice below": merged(CLAIMS, {})[:-1] + b', "x": [{"a": 1, "a": 1}]}',
        "with NaN": merged(CLAIMS, {"x": float("nan")}),
        "with Infinity": merged(CLAIMS, {"x": float("inf")}),
        "with -Infinity below": merged(CLAIMS, {"x": [{"y": float("-inf")}]}),
        "with a hexadecimal number": merged(CLAIMS, {})[:-1] + b', "x": 0x10}',
        "with a bare tab in a string": merged(CLAIMS, {})[:-1] + b', "x": "\t"}',
        "with a number of 5000 digits": merged(CLAIMS, {})[:-1] + b', "x": %b}' % (b"9" * 5000),
        "that is too deep": merged(CLAIMS, {})[:-1] + b', "x": ' + b"[" * 5000,
        "that is too deep and well formed": b'{"x":' * 1000 + b"1" + b"}" * 1000,
    }.items()
]

TIMES: Table = [
    ("no exp", "exp", claiming(exp=ABSENT)),
    *[
        (f"{name} of {value:.20}", name, writing(name, value.encode()))
        for name in ("exp", "nbf", "iat")
        for value in (
            *("null", "true", "false", '"4000000000"', '""', "[4000000000]", "{}"),
            *("1e400", "-1e400", "1" + "0" * 400, "-1" + "0" * 400),
        )
    ],
    *[(f"{name} in the future", name, claiming(**{name: YEAR_2096 - 1})) for name in ("nbf", "iat")],
    *[(f"{name} in milliseconds", name, claiming(**{name: YEAR_2023 * 1000})) for name in ("nbf", "iat")],
    ("exp in milliseconds", "lifetime", claiming(exp=YEAR_2096 * 1000)),
    ("the last finite exp", "lifetime", writing("exp", b"1e299")),
    ("an iat before all time", "lifetime", claiming(iat=-1e299)),
]

EXPIRED: Table = [
    *[
        (f"exp of {value.decode():.20}", "expired", writing("exp", value))
        for value in (
            b"1700000000",
            b"1700000000.5",
            b"1",
            b"0",
            b"-0",
            b"-1",
            b"-1e299",
            b"-1" + b"0" * 299,
            b"1e-400",
        )
    ],
    *[(f"{name} expired", "expired", by(key, exp=YEAR_2023)) for name, key in KEYS.items()],
]

# Expired and more: what is wrong besides is not for the bearer of an old token to find out.
EXPIRED_AND_WRONG: Table = [
    ("expired, another secret", "signature", spliced(claiming(exp=YEAR_2023), raw())),
    ("expired, another audience", "audience", claiming(exp=YEAR_2023, aud="https://other.example")),
    ("expired, without a user", "subject_missing", claiming(exp=YEAR_2023, sub=ABSENT)),
    ("expired and not yet begun", "nbf", claiming(exp=YEAR_2023, nbf=YEAR_2096)),
]

OTHER_NAMES = (f"{ISSUER}/", f"{ISSUER}/api/auth", f"{ISSUER}.evil.example", ISSUER.upper(), ISSUER[:-1], f" {ISSUER}")
NAMES: Table = [
    ("no iss", "issuer", claiming(iss=ABSENT)),
    *[
        (f"iss {value!r}", "issuer", claiming(iss=value))
        for value in (*OTHER_NAMES, "", None, 1, True, [ISSUER], {ISSUER: ISSUER})
    ],
    ("no aud", "audience", claiming(aud=ABSENT)),
    *[
        (f"aud {value!r}", "audience", claiming(aud=value))
        for value in (*OTHER_NAMES, "", None, 1, True, [], [*OTHER_NAMES], [[ISSUER]], [None], {ISSUER: ISSUER})
    ],
    *[
        (f"type {value!r}", "type", claiming(type=value))
        for value in ("refresh", "id", "", "Access", "access ", None, True, 1, ["access"], {"access": 1})
    ],
]

USERS: Table = [
    ("no sub", "subject_missing", claiming(sub=ABSENT)),
    *[
        (f"no sub, but {name}", "subject_missing", claiming(sub=ABSENT, **{name: "ann"}))
        for name in ("userId", "id", "email", "user", "uid", "Sub", "sub ", "username", "client_id", "sid")
    ],
    *[
        (f"{name} {value!r:.20}", "subject", claiming(**{"sub": ABSENT, name: value}))
        for name in ("sub", "user_id")
        for value in (
            *("", " ", " ann", "ann ", "ann\n", "\tann", "\u00a0ann", "ann\u2003", "\u3000", "ann\u2028"),
            *("a\0nn", "a\nnn", "a\x1bnn", "a\x7fnn", "a\x85nn", "a\x9fnn", "a\ud800nn", "\udc00"),
            *("a" * 256, "名" * 256, None, 1, 1.5, True, [], ["ann"], {"id": "ann"}),
        )
    ],
    *[
        (f"sub {sub!r} and user_id {user_id!r}", "subject_ambiguous", claiming(sub=sub, user_id=user_id))
        for sub, user_id in [
            ("ann", "bob"),
            ("ann", ""),
            ("", "ann"),
            ("ann", None),
            (None, "ann"),
            ("1", 1),
            ("a", ["a"]),
        ]
    ],
    ("sub and user_id of one number", "subject", claiming(sub=1, user_id=True)),
]

# What Better Auth signs with the same secret or keys for other ends.
SESSION = {"session": {"userId": "ann", "token": "T9GG"}, "user": {"id": "ann"}, "version": "1", "exp": YEAR_2096}
NO_ACCESS_TOKENS: Table = [
    ("a session cookie", "issuer", raw(payload=merged(SESSION, {}))),
    ("a session cookie of this origin", "subject_missing", claiming(**SESSION, sub=ABSENT)),
    (
        "a mail link",
        "issuer",
        raw(payload=merged({"email": "ann@example.test", "userId": "ann", "exp": YEAR_2096}, {})),
    ),
    ("a mail link of this origin", "subject_missing", claiming(sub=ABSENT, email="ann@example.test", userId="ann")),
    (
        "a session cookie of the key set",
        "type",
        by(KEYS["EdDSA"], None, {"typ": "better-auth.session-cache+jwt"}, aud="better-auth:session-cache", sid="T9GG"),
    ),
    ("an ID token for another client", "audience", by(KEYS["EdDSA"], None, {"typ": "JWT"}, aud="client-1")),
    ("an ID token of the OAuth provider", "issuer", by(KEYS["EdDSA"], iss=OAUTH["iss"], aud="client-1")),
    ("an ID token for a client of this API's name", "issuer", by(KEYS["EdDSA"], iss=OAUTH["iss"], aud=ISSUER)),
    *[
        (f"an ID token with {name}, where the issuer counts", "type", claiming(**{name: "x"}))
        for name in sorted(ID_CLAIMS)
    ],
    ("a security event", "type", by(KEYS["EdDSA"], None, {"typ": "secevent+jwt"})),
]

OAUTH_TOKENS: Table = [
    ("at+jwt of /token's issuer", "issuer", of_oauth(iss=ISSUER)),
    *[
        (f"at+jwt of iss {value!r}", "issuer", of_oauth(iss=value))
        for value in (f"{OAUTH['iss']}/", f"{ISSUER}/api", None)
    ],
    ("at+jwt for the user info alone", "audience", of_oauth(aud=[f"{ISSUER}/api/auth/oauth2/userinfo"])),
    ("at+jwt for a resource whose name begins alike", "audience", of_oauth(aud=[f"{ISSUER}/api", f"{ISSUER}.evil"])),
    ("at+jwt without aud", "audience", of_oauth(aud=ABSENT)),
    ("at+jwt without iat", "iat", of_oauth(iat=ABSENT)),
    ("at+jwt without a client", "client", of_oauth(client_id=ABSENT)),
    *[
        (f"at+jwt of client {value!r}", "client", of_oauth(client_id=value))
        for value in (*("", " client-1", "a\n"), *(None, 1, ["client-1"]))
    ],
    ("at+jwt without a user", "subject_missing", of_oauth(sub=ABSENT)),
    ("at+jwt of a client itself", "no_user", of_oauth(sub="client-1")),
    ("a token of a client itself", "no_user", claiming(sub="client-1", client_id="client-1")),
    *[(f"sid {value!r}", "session", claiming(sid=value)) for value in ("", "a" * 256, " a", "a\0")],
    *[(f"sid {value!r}", "session", claiming(sid=value)) for value in (1, ["a"], {"a": 1})],
    *[
        (f"scope {value!r:.40}", "scope", of_oauth(scope=value))
        for value in (
            *(" ", " tasks:read", "tasks:read ", "tasks:read  tasks:write", "tasks:read\ttasks:write", "tasks:read\n"),
            *(
                "tasks:read\u00a0tasks:write",
                "tasks:read,\u200btasks:write",
                'tasks:"read"',
                "tasks\\:read",
                "tâches:read",
            ),
            *(None, 1, True, ["tasks:read"], ["tasks:read", "tasks:write"], [], {"tasks": "read"}),
        )
    ],
]

REFUSED: Table = [
    *(STRUCTURE + list(encodings()) + HEADERS + ALGORITHMS + SIGNATURES + PAYLOADS + TIMES + EXPIRED_AND_WRONG),
    *(NAMES + USERS + NO_ACCESS_TOKENS + OAUTH_TOKENS),
]

# Tokens that must be accepted: name, user, token.
ACCEPTED: Table = [
    ("HS256", "ann", raw()),
    *[(name, "ann", by(key)) for name, key in KEYS.items()],
    ("typ JWT", "ann", heading(typ="JWT")),
    ("a token of the OAuth provider", "ann", of_oauth()),
    ("a token of the OAuth provider for this API alone", "ann", of_oauth(aud=ISSUER)),
    ("a token of the OAuth provider for more", "ann", of_oauth(aud=["https://a.example", "https://b.example", ISSUER])),
    ("a token that says its client", "ann", claiming(client_id="client-1")),
    ("no session and no act", "ann", claiming(sid=None, act=None)),
    ("HS256 with a kid", "ann", heading(kid="any name, été")),
    ("HS256 with the kid of a public key", "ann", heading(kid=KEYS["EdDSA"].kid)),
    ("a header parameter that means nothing", "ann", heading(x5t="AA", cty=None)),
    ("a header of 1 KiB", "ann", raw(header=merged(HEADER, {}).ljust(1024))),
    ("a token of 8 KiB", "ann", of_length(8192)),
    ("white space and escapes", "ann", raw(payload=merged(CLAIMS, {}).replace(b'"sub": ', b'\n"\\u0073ub"\t:\r '))),
    ("aud in a list", "ann", claiming(aud=["https://other.example", ISSUER])),
    ("type access", "ann", claiming(type="access")),
    ("neither iat nor nbf", "ann", claiming(iat=ABSENT)),
    ("nbf in the past", "ann", claiming(nbf=YEAR_2023)),
    ("times with fractions", "ann", claiming(exp=YEAR_2096 + 0.5, iat=YEAR_2023 + 0.5, nbf=1e9)),
    ("sub and user_id alike", "ann", claiming(user_id="ann")),
    ("user_id alone", "bob", claiming(sub=ABSENT, user_id="bob")),
    (
        "no rest of Better Auth's claims counts",
        "ann",
        claiming(id="bob", userId="bob", email="bob", session={"userId": "b"}),
    ),
    *[
        (f"user {user!r:.30}", user, claiming(sub=user))
        for user in (
            "1",
            "a" * 255,
            "😀" * 255,
            "Zoë O'Brien; -- %s",
            "\u200bann",
            "null",
            "00000000-0000-0000-0000-000000000000",
        )
    ],
]


def parameters(table: Table) -> pytest.MarkDecorator:
    names, *_ = zip(*table, strict=True)
    assert len(set(names)) == len(names), "each case has a name of its own"
    return pytest.mark.parametrize(
        ("expected", "token"),
        [row[1:] for row in table],
        ids=[name.encode("unicode_escape").decode() for name in names],
    )


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with pytest.MonkeyPatch.context() as patch, publishing(*KEYS.values()) as endpoint:
        patch.setattr("backend.keys.FETCH_TIMEOUT_SECONDS", PATIENCE_SECONDS)
        yield endpoint


@pytest.fixture(scope="module")
def verifier(endpoint: Endpoint) -> Verifier:
    """One that knows the secret, every key, and the one issuer and audience."""
    verifier = Verifier.of(settings(better_auth_url=ISSUER, jwks_url=endpoint.url, max_token_seconds=FOREVER))
    assert verifier.key_set
    asyncio.run(verifier.key_set.refresh())
    assert len(verifier.key_set.keys) == len(KEYS), verifier.key_set.error
    return verifier


@parameters(ACCEPTED)
def test_a_good_token_names_its_user(verifier: Verifier, token: str, expected: str) -> None:
    assert verify(token, verifier).user_id == expected


@parameters(REFUSED + TOO_LONG)
def test_a_bad_token_is_refused_with_its_reason(verifier: Verifier, token: str, expected: str) -> None:
    with pytest.raises(TokenError) as caught:
        verify(token, verifier)
    assert caught.value.reason == expected
    assert not isinstance(caught.value, TokenExpiredError)
    assert isinstance(caught.value, UnknownKeyError) == (expected == "unknown_kid")


@parameters(EXPIRED)
def test_an_old_token_is_only_expired(verifier: Verifier, token: str, expected: str) -> None:
    with pytest.raises(TokenExpiredError) as caught:
        verify(token, verifier)
    assert caught.value.reason == expected


@pytest.mark.parametrize(
    ("claim", "offset", "reason"),
    [
        ("exp", -29, None),
        ("exp", -29.9, None),
        ("exp", -30, "expired"),
        ("exp", -31, "expired"),
        ("nbf", 30, None),
        ("nbf", 30.1, "nbf"),
        ("iat", 30, None),
        ("iat", 30.1, "iat"),
    ],
)
def test_clocks_may_differ_by_half_a_minute(
    verifier: Verifier, monkeypatch: pytest.MonkeyPatch, claim: str, offset: float, reason: str | None
) -> None:
    token = claiming(**{claim: YEAR_2033 + offset})
    monkeypatch.setattr("backend.auth.time.time", lambda: YEAR_2033)
    if reason is None:
        assert verify(token, verifier).user_id == "ann"
    else:
        with pytest.raises(TokenError) as caught:
            verify(token, verifier)
        assert caught.value.reason == reason


def test_the_claims_about_the_user_come_along_and_no_others(verifier: Verifier) -> None:
    claims = verify(claiming(email="ann@example.test", name="Ann 名", role="admin", id="x"), verifier)
    assert (claims.email, claims.name, claims.role) == ("ann@example.test", "Ann 名", "admin")
    assert claims.expires_at == YEAR_2096
    odd = verify(claiming(email=["ann@example.test"], name="\ud800", role=None), verifier)
    assert (odd.email, odd.name, odd.role) == (None, None, None)


SCOPES = [
    ("tasks:read", {"tasks:read"}),
    ("openid tasks:read tasks:read tasks:write", {"openid", "tasks:read", "tasks:write"}),
    (" ".join(["tasks:read"] * 400), {"tasks:read"}),
    ("TASKS:READ tasks:reader tasks:read,tasks:write *", {"TASKS:READ", "tasks:reader", "tasks:read,tasks:write", "*"}),
    ("", set()),
]


@pytest.mark.parametrize(("scope", "expected"), SCOPES)
def test_a_scope_is_what_the_token_says_word_by_word(verifier: Verifier, scope: str, expected: set[str]) -> None:
    for token in (claiming(scope=scope), of_oauth(scope=scope)):
        assert verify(token, verifier).scopes == frozenset(expected)


def test_without_a_scope_better_auths_own_token_may_do_all_and_an_oauth_token_nothing(verifier: Verifier) -> None:
    assert verify(claiming(), verifier).scopes is None
    assert verify(of_oauth(scope=ABSENT), verifier).scopes == frozenset()


@pytest.mark.parametrize(
    ("roles", "role", "expected"),
    [
        ("", "viewer", False),
        ("viewer", ABSENT, False),
        ("viewer", None, False),
        ("viewer", "viewer", True),
        ("viewer", "admin", False),
        ("viewer", "viewers", False),
        ("viewer, guest", "admin, guest", True),
        ("viewer", ["admin", "viewer"], True),
        ("viewer", ["admin"], False),
        ("viewer", {"name": "viewer"}, True),
        ("viewer", [1], True),
    ],
)
def test_a_role_that_is_named_may_only_read(verifier: Verifier, roles: str, role: object, expected: bool) -> None:
    names = settings(read_only_roles=roles).read_only_roles
    reader = replace(verifier, read_only_roles=frozenset(names))
    assert verify(claiming(role=role), reader).read_only is expected


@pytest.mark.parametrize(
    ("seconds", "iat", "exp", "taken"),
    [
        (3600, 0, 3600, True),
        (3600, 0, 3601, False),
        (3600, -3000, 600, True),
        (3600, -3000, 601, False),
        (3600, 30, 3630, True),
        (3600, None, 3630, True),
        (3600, None, 3631, False),
        (60, 0, 61, False),
        (86400, 0, YEAR_2033 * 1000, False),
    ],
)
def test_no_token_may_live_longer_than_is_set(
    verifier: Verifier, monkeypatch: pytest.MonkeyPatch, seconds: int, iat: int | None, exp: int, taken: bool
) -> None:
    monkeypatch.setattr("backend.auth.time.time", lambda: YEAR_2033)
    token = claiming(iat=ABSENT if iat is None else YEAR_2033 + iat, exp=YEAR_2033 + exp)
    bounded = replace(verifier, max_seconds=seconds)
    if taken:
        assert verify(token, bounded).user_id == "ann"
    else:
        with pytest.raises(TokenError, match=f"longer than {seconds} s") as caught:
            verify(token, bounded)
        assert caught.value.reason == "lifetime"


def test_several_issuers_and_audiences_count_and_none_whose_name_only_begins_alike(verifier: Verifier) -> None:
    own = settings(
        jwt_issuer=f"{ISSUER}, {ISSUER}/api/auth", jwt_audience=f"{ISSUER}/v1,client-0", max_token_seconds=FOREVER
    )
    several = replace(Verifier.of(own), key_set=verifier.key_set)
    for issuer in own.issuers:
        for audience in own.audiences:
            assert verify(claiming(iss=issuer, aud=audience), several).user_id == "ann"
            assert verify(of_oauth(iss=issuer, aud=["https://other.example", audience]), several).user_id == "ann"
    for issuer in (f"{ISSUER}/api", f"{ISSUER}/", ISSUER[:-1], f"{ISSUER}/api/auth/x", f"{ISSUER}, {ISSUER}/api/auth"):
        refuses(claiming(iss=issuer, aud="client-0"), several)
    others: list[Any] = [
        ISSUER,
        f"{ISSUER}/v",
        f"{ISSUER}/v1/",
        "client",
        "client-00",
        f"{ISSUER}/v1,client-0",
        ["client"],
    ]
    for audience in others:
        refuses(claiming(aud=audience), several)


def test_without_an_audience_no_token_of_an_oauth_provider_counts(verifier: Verifier) -> None:
    free = replace(verifier, issuers=(), oauth_issuers=(), audiences=())
    assert verify(claiming(aud="https://other.example"), free).user_id == "ann"
    with pytest.raises(TokenError, match="JWT_AUDIENCE"):
        verify(of_oauth(), free)


@pytest.mark.parametrize(("token", "has"), [(raw(), "secret"), *((by(key), "key_set") for key in KEYS.values())])
def test_a_source_of_keys_that_is_not_set_takes_no_tokens(verifier: Verifier, token: str, has: str) -> None:
    only = {"secret": replace(verifier, key_set=None), "key_set": replace(verifier, secret=None)}
    assert verify(token, only[has]).user_id == "ann"
    with pytest.raises(TokenError) as caught:
        verify(token, only["key_set" if has == "secret" else "secret"])
    assert caught.value.reason == "algorithm"


@pytest.mark.parametrize("name", ["jwt_issuer", "jwt_audience", "better_auth_url"])
def test_issuer_and_audience_are_both_checked_as_soon_as_one_is_known(name: str) -> None:
    verifier = Verifier.of(settings(**{name: ISSUER}, max_token_seconds=FOREVER))
    assert verify(raw(), verifier).user_id == "ann"
    for claim in ("iss", "aud"):
        with pytest.raises(TokenError):
            verify(claiming(**{claim: "https://other.example"}), verifier)


def test_issuer_and_audience_are_free_where_nothing_names_them() -> None:
    verifier = Verifier.of(settings(max_token_seconds=FOREVER))
    assert verify(claiming(iss="https://other.example", aud=ABSENT), verifier).user_id == "ann"


# --- Whatever a token holds: it is accepted, or it is a TokenError.

GOOD = [raw(), *(by(key) for key in KEYS.values())]


def refuses(token: str, verifier: Verifier) -> None:
    with pytest.raises(TokenError):
        verify(token, verifier)


@profile(deadline=None)
@given(token=st.text() | st.lists(st.text(ALPHABET), min_size=3, max_size=3).map(".".join))
def test_no_text_is_a_token_by_chance(verifier: Verifier, token: str) -> None:
    refuses(token, verifier)


@profile(deadline=None, max_examples=500)
@given(data=st.data(), good=st.sampled_from(GOOD))
def test_no_change_to_a_good_token_goes_unseen(verifier: Verifier, data: st.DataObject, good: str) -> None:
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, min(start + 3, len(good))))
    put = data.draw(st.text(ALPHABET + ".=+/ \n", max_size=3) | st.text(max_size=2) | st.just(good))
    changed = good[:start] + put + good[end:]
    if changed == good:
        assert verify(changed, verifier).user_id == "ann"
    else:
        refuses(changed, verifier)


def any_part(base: dict[str, Any], *names: str) -> st.SearchStrategy[bytes]:
    """Make the bytes of a header or payload: as they should be, with changes, or any."""
    changes = st.dictionaries(st.sampled_from(names) | st.text(), ANYTHING, max_size=6)
    return st.just(merged(base, {})) | changes.map(lambda drawn: merged(base, drawn)) | st.binary(max_size=50)


@profile(deadline=None, max_examples=500)
@given(
    header=any_part(HEADER, "alg", "typ", "kid", "crit"),
    payload=any_part(CLAIMS, *CLAIMS, "nbf", "type", "user_id", "email"),
)
def test_whatever_is_signed_is_accepted_for_its_own_user_or_refused(
    verifier: Verifier, header: bytes, payload: bytes
) -> None:
    try:
        claims = verify(raw(header, payload), verifier)
    except TokenError:
        return
    signed = json.loads(payload)
    assert claims.user_id in (signed.get("sub"), signed.get("user_id"))
    assert (signed["iss"], claims.expires_at) == (ISSUER, signed["exp"])


@pytest.mark.parametrize("names", [["iss"], ["aud"], ["sub"], ["type"], ["exp"], ["email"], ["sub", "user_id"]])
@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")], ids=["lists", "objects"])
def test_no_depth_of_nesting_raises_anything_else(
    verifier: Verifier, names: list[str], brackets: tuple[str, str]
) -> None:
    """The parser, a comparison or a message may each run out of stack, and each a little earlier or later."""
    for depth in (*range(MAX_DEPTH, MAX_DEPTH + 3), *range(600, 1020)):
        deep = f"{brackets[0] * depth}1{brackets[1] * depth}"
        payload = merged(CLAIMS, dict.fromkeys(names, "deep")).decode().replace('"deep"', deep)
        refuses(raw(payload=payload.encode()), verifier)


def test_claims_may_be_as_deep_as_any_that_mean_something(verifier: Verifier) -> None:
    deep = "[" * (MAX_DEPTH - 1) + "1" + "]" * (MAX_DEPTH - 1)
    assert verify(raw(payload=merged(CLAIMS, {})[:-1] + f', "x": {deep}}}'.encode()), verifier).user_id == CLAIMS["sub"]


# --- Tokens that come again.


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every token that was verified and not only looked up."""
    seen: list[str] = []

    def noting(token: str, verifier: Verifier) -> Claims:
        seen.append(token)
        return verify(token, verifier)

    monkeypatch.setattr("backend.auth.verify", noting)
    return seen


@pytest.fixture
def own(verifier: Verifier) -> Verifier:
    """A verifier that has seen nothing yet."""
    return replace(verifier, verified=VerifiedTokens())


async def test_a_token_that_comes_again_is_not_verified_again(own: Verifier, verified: list[str]) -> None:
    for token in (raw(), by(KEYS["EdDSA"])):
        claims = [await authenticate(token, own) for _ in range(3)]
        assert claims[0] == claims[1] == claims[2]
        assert verified.count(token) == 1


async def test_a_token_that_was_seen_ends_with_its_time(
    own: Verifier, verified: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = claiming(exp=YEAR_2033)
    for now, times in ((YEAR_2033 - 1, 1), (YEAR_2033 - 0.1, 1), (YEAR_2033 + 1, 2), (YEAR_2033 + 29, 3)):
        monkeypatch.setattr("backend.auth.time.time", lambda now=now: now)
        await authenticate(token, own)
        assert len(verified) == times
    monkeypatch.setattr("backend.auth.time.time", lambda: YEAR_2033 + 30)
    with pytest.raises(TokenExpiredError):
        await authenticate(token, own)


async def test_a_bad_token_is_verified_each_time(own: Verifier, verified: list[str]) -> None:
    token = raw(sign=hmac_with("another secret of 32 characters!"))
    for _ in range(3):
        with pytest.raises(TokenError):
            await authenticate(token, own)
    assert len(verified) == 3


def test_no_token_outlives_its_keys_or_a_bound(verifier: Verifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.auth.MAX_VERIFIED_TOKENS", 3)
    tokens, keys = VerifiedTokens(), object()
    claims = verify(raw(), verifier)
    for name in "abcd":
        tokens.get(name, keys)
        tokens.add(name, claims)
    assert [bool(tokens.get(name, keys)) for name in "abcd"] == [False, True, True, True]
    assert tokens.get("d", object()) is None
    assert tokens.get("d", keys) is None


# --- What HTTP makes of it.


@pytest.fixture(scope="module")
def strict(database_url: str, endpoint: Endpoint) -> Iterator[httpx.Client]:
    """A client of an API that verifies like `verifier`."""
    configuration = settings(
        database_url=database_url, better_auth_url=ISSUER, jwks_url=endpoint.url, max_token_seconds=FOREVER
    )
    with serving(configuration) as url, httpx.Client(base_url=url, timeout=PATIENCE_SECONDS) as client:
        yield client


@pytest.fixture
def client(api: str) -> Iterator[httpx.Client]:
    """A client without a token."""
    with httpx.Client(base_url=api, timeout=PATIENCE_SECONDS) as client:
        yield client


def ask(client: httpx.Client, *authorization: str | bytes) -> httpx.Response:
    values = [value.encode() if isinstance(value, str) else value for value in authorization]
    return client.get("/api/me", headers=[(b"Authorization", value) for value in values])


def assert_invalid(answer: httpx.Response) -> None:
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert body.pop("request_id") == answer.headers["X-Request-ID"]
    assert (answer.status_code, body) == (
        401,
        {
            "type": "about:blank",
            "title": "Invalid token",
            "status": 401,
            "detail": "The token is not valid for this API.",
            "code": "INVALID_TOKEN",
        },
    )


def test_no_token_is_a_bare_challenge(client: httpx.Client) -> None:
    answer = client.get("/api/me")
    assert_problem(answer, 401, "MISSING_TOKEN")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_every_good_token_is_let_in(strict: httpx.Client) -> None:
    for name, user, token in ACCEPTED:
        answer = ask(strict, f"Bearer {token}")
        assert (answer.status_code, answer.json().get("user_id")) == (200, user), name


def test_every_bad_token_gets_one_constant_answer(strict: httpx.Client) -> None:
    sent = [
        token.encode("utf-8", "replace")
        for _, _, token in REFUSED
        if token and token.replace("\ud800", "").isprintable()
    ]
    assert len(sent) > len(REFUSED) - 20  # a line break or a NUL is not for a header
    for token in sent:
        assert_invalid(ask(strict, b"Bearer " + token))


def test_an_old_token_is_told_so_and_only_if_it_was_good(strict: httpx.Client) -> None:
    for name, _, token in EXPIRED:
        answer = ask(strict, f"Bearer {token}")
        assert (answer.status_code, answer.json()["code"]) == (401, "TOKEN_EXPIRED"), name
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    for _, _, token in EXPIRED_AND_WRONG:
        assert_invalid(ask(strict, f"Bearer {token}"))


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEARER"])
def test_the_scheme_may_be_written_in_any_case(client: httpx.Client, scheme: str) -> None:
    assert ask(client, f"{scheme} {sign({'sub': 'ann'})}").json()["user_id"] == "ann"


@pytest.mark.parametrize(
    "values",
    [
        [""],
        ["Bearer"],
        ["Basic {}"],
        ["{}"],
        ["Token {}"],
        ["JWT {}"],
        ["Bearer{}"],
        ["Bearer:{}"],
        ["Bearer\t{}"],
        ["Bearer \t{}"],
        ["Bearer Bearer {}"],
        ["Bearer {} {}"],
        ["Bearer {},{}"],
        ["Bearer {}, Bearer {}"],
        ['Bearer "{}"'],
        ["Bearer token={}"],
        ["Bearer {}", "Bearer {}"],
        ["Bearer {}", "Basic eDp5"],
        ["Basic eDp5", "Bearer {}"],
        ["Bearer {}", ""],
        ["", "Bearer {}"],
    ],
)
def test_anything_but_one_bearer_token_in_one_header_is_refused(client: httpx.Client, values: list[str]) -> None:
    assert_invalid(ask(client, *(value.replace("{}", sign({"sub": "ann"})) for value in values)))


@pytest.mark.parametrize("place", ["query", "cookie", "body", "X-Authorization", "Proxy-Authorization"])
def test_a_token_anywhere_but_in_its_header_is_no_token(client: httpx.Client, place: str) -> None:
    token = sign({"sub": "ann"})
    places: dict[str, dict[str, Any]] = {
        "query": {"params": {"access_token": token, "token": token}},
        "cookie": {"headers": {"Cookie": f"access_token={token}; better-auth.session_token={token}"}},
        "body": {"data": {"access_token": token}},
    }
    sent = places.get(place, {"headers": {place: f"Bearer {token}"}})
    assert_problem(client.request("GET", "/api/me", **sent), 401, "MISSING_TOKEN")


@pytest.mark.parametrize("size", [8193, 20_000, 200_000])
def test_a_token_over_8_kib_is_refused_with_the_cure_and_one_of_8_kib_is_not(strict: httpx.Client, size: int) -> None:
    assert ask(strict, f"Bearer {of_length(8192)}").status_code == 200
    answer = ask(strict, f"Bearer {of_length(size)}")
    assert_problem(answer, 431, "TOKEN_TOO_LARGE")
    assert "definePayload" in answer.json()["detail"]


def test_a_token_that_is_too_long_does_not_count_as_a_failure_of_its_address(database_url: str) -> None:
    with serving(settings(database_url=database_url, auth_failure_limit="1/day")) as url:
        for _ in range(3):
            assert httpx.get(f"{url}/api/me", headers={"Authorization": f"Bearer {of_length(9000)}"}).status_code == 431


def test_the_log_has_the_reason_and_the_request_and_nothing_of_the_token(strict: httpx.Client) -> None:
    table = [*NAMES, *USERS, *SIGNATURES[:10], *EXPIRED]
    with capture_logs([merge_contextvars]) as lines:
        answers = [ask(strict, f"Bearer {token}") for _, _, token in table]
    failures = [line for line in lines if line["event"] == "authentication_failed"]
    assert [line["reason"] for line in failures] == [reason for _, reason, _ in table]
    assert [line["request_id"] for line in failures] == [answer.headers["X-Request-ID"] for answer in answers]
    assert "eyJ" not in str(lines)
    assert SECRET not in str(lines)


def test_no_token_at_all_is_no_failed_authentication(client: httpx.Client) -> None:
    with capture_logs() as lines:
        assert client.get("/api/me").status_code == 401
    assert "authentication_failed" not in [line["event"] for line in lines]
