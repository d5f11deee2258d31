"""A Tang server: it says which keys it has, and helps whoever asks with one of them (tang(8)); it keeps nothing.

The exchange is McCallum's and Relyea's: the client sends a point of the curve P-521, the server multiplies it with its
secret. The arithmetic is textbook, with no care for time or side channels: for tests.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets

from vm.fakes.web import HttpRequest, Reply, WebServer

# P-521 (FIPS 186-4, D.1.2.5): y^2 = x^3 - 3x + b
PRIME = 2**521 - 1
B = int(
    "0051953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109e156193951ec7e937b1652c0bd3bb1bf073573df883d2c34f1"
    "ef451fd46b503f00",
    16,
)
ORDER = int(
    "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47ae"
    "bb6fb71e91386409",
    16,
)
_BASE_X = (
    "00c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2ffa8de3348b3c1856a429b"
    "f97e7e31c2e5bd66"
)
_BASE_Y = (
    "011839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e662c97ee72995ef42640c550b9013fad0761353c7086a272c240"
    "88be94769fd16650"
)
_BYTES = 66

Point = tuple[int, int] | None  # None: the point at infinity
BASE: Point = (int(_BASE_X, 16), int(_BASE_Y, 16))


class Tang:
    """A server with a key to sign and one to exchange.

    Attributes:
        web: where it answers; ``die()`` and ``requests`` are as ever.
        thumbprint: of the key that signs.
    """

    def __init__(self, web: WebServer) -> None:
        self.web = web
        self._signing, self._exchange = (secrets.randbelow(ORDER - 1) + 1 for _ in range(2))
        signing = {**make_jwk(multiply_point(self._signing, BASE)), "alg": "ES512", "key_ops": ["verify"]}
        exchange = {**make_jwk(multiply_point(self._exchange, BASE)), "alg": "ECMR", "key_ops": ["deriveKey"]}
        self.thumbprint = compute_thumbprint(signing)
        advertisement = Reply(sign({"keys": [signing, exchange]}, self._signing))
        web.put("/adv", advertisement)
        web.put(f"/adv/{self.thumbprint}", advertisement)
        web.put(f"/rec/{compute_thumbprint(exchange)}", self._recover)

    def _recover(self, request: HttpRequest) -> Reply:
        if request.method != "POST":
            return Reply(status=405)
        asked = json.loads(request.body)
        point = (decode_number(asked["x"]), decode_number(asked["y"]))
        if not is_on_curve(point):
            return Reply(status=400)
        answer = {**make_jwk(multiply_point(self._exchange, point)), "alg": "ECMR", "key_ops": ["deriveKey"]}
        return Reply(json.dumps(answer).encode(), headers={"Content-Type": "application/jwk+json"})


def sign(payload: object, key: int) -> bytes:
    """A JWS of it (RFC 7515, 7.2.2), by ECDSA with SHA-512 (RFC 7518, 3.4)."""
    protected = encode_text(json.dumps({"alg": "ES512", "cty": "jwk-set+json"}).encode())
    body = encode_text(json.dumps(payload).encode())
    digest = int.from_bytes(hashlib.sha512(f"{protected}.{body}".encode()).digest())
    nonce = secrets.randbelow(ORDER - 1) + 1
    point = multiply_point(nonce, BASE)
    assert point is not None
    first = point[0] % ORDER
    second = pow(nonce, -1, ORDER) * (digest + first * key) % ORDER
    signature = encode_text(first.to_bytes(_BYTES) + second.to_bytes(_BYTES))
    return json.dumps({"payload": body, "protected": protected, "signature": signature}).encode()


def make_jwk(point: Point) -> dict[str, object]:
    """A point as a JSON Web Key (RFC 7518, 6.2.1)."""
    assert point is not None
    return {
        "crv": "P-521",
        "kty": "EC",
        "x": encode_text(point[0].to_bytes(_BYTES)),
        "y": encode_text(point[1].to_bytes(_BYTES)),
    }


def compute_thumbprint(key: dict[str, object]) -> str:
    """RFC 7638, with SHA-256."""
    members = {name: key[name] for name in ("crv", "kty", "x", "y")}
    return encode_text(hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest())


def encode_text(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_number(encoded: str) -> int:
    """What :func:`encode_text` encoded."""
    return int.from_bytes(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))


def is_on_curve(point: Point) -> bool:
    """Whether it is a point of P-521."""
    return point is None or (point[1] ** 2 - point[0] ** 3 + 3 * point[0] - B) % PRIME == 0


def multiply_point(factor: int, point: Point) -> Point:
    """``factor`` times a point."""
    result: Point = None
    while factor:
        if factor & 1:
            result = add_points(result, point)
        point = add_points(point, point)
        factor >>= 1
    return result


def add_points(one: Point, other: Point) -> Point:
    """The sum of two points."""
    if one is None or other is None:
        return one or other
    if one[0] == other[0]:
        if (one[1] + other[1]) % PRIME == 0:
            return None
        slope = (3 * one[0] ** 2 - 3) * pow(2 * one[1], -1, PRIME) % PRIME
    else:
        slope = (other[1] - one[1]) * pow(other[0] - one[0], -1, PRIME) % PRIME
    x = (slope**2 - one[0] - other[0]) % PRIME
    return x, (slope * (one[0] - x) - one[1]) % PRIME
