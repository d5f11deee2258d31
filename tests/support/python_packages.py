"""Python packages that many use and that have compiled parts, for proofs that take them all."""

from __future__ import annotations

# Requirement -> the module that it is imported by.
PACKAGES = {
    "numpy": "numpy", "pandas": "pandas", "cryptography": "cryptography.hazmat.bindings._rust", "lxml": "lxml.etree",
    "psycopg[binary]": "psycopg", "pydantic": "pydantic_core", "grpcio": "grpc", "uvloop": "uvloop",
    "orjson": "orjson", "pillow": "PIL._imaging", "pyyaml": "yaml._yaml", "markupsafe": "markupsafe._speedups",
    "cffi": "_cffi_backend", "aiohttp": "aiohttp._http_parser", "yarl": "yarl", "multidict": "multidict._multidict",
    "frozenlist": "frozenlist", "msgpack": "msgpack._cmsgpack", "protobuf": "google._upb._message",
    "greenlet": "greenlet._greenlet", "sqlalchemy": "sqlalchemy", "regex": "regex", "rpds-py": "rpds.rpds",
    "pyzmq": "zmq", "psutil": "psutil", "bcrypt": "bcrypt._bcrypt", "pynacl": "nacl._sodium",
    "httptools": "httptools.parser.parser", "watchfiles": "watchfiles._rust_notify",
    "websockets": "websockets.speedups",
    "tornado": "tornado.speedups", "wrapt": "wrapt._wrappers", "zstandard": "zstandard.backend_c", "lz4": "lz4.frame",
    "brotli": "_brotli", "kiwisolver": "kiwisolver", "scipy": "scipy.linalg", "scikit-learn": "sklearn.linear_model",
    "shapely": "shapely.lib", "charset-normalizer": "charset_normalizer.md",
}  # fmt: skip
