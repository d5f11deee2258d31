"""SHA-2 by Python's own code, without the cryptography library.

``hashlib`` loads OpenSSL: loading and relocating a library of 6 MB takes longer under emulation than all that a first
boot hashes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import sha256, sha512
else:
    try:
        from _sha2 import sha256, sha512
    except ImportError:
        try:  # before Python 3.12
            from _sha256 import sha256
            from _sha512 import sha512
        except ImportError:  # built without its own
            from hashlib import sha256, sha512

__all__ = ["sha256", "sha512"]
