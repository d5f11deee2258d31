"""Trust: the system's certificate authorities and the config's, and what to say when there is none."""

from __future__ import annotations

import ssl
import time

from firstboot.fetch.errors import FetchError, Temporary

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_CONFIG_HINT = "is the URL right, and is its certificate authority in ignition.security.tls.certificateAuthorities?"
_NAME_HINT = "use a name in the URL that the certificate has"
# By X509_STORE_CTX_get_error(3): what is wrong with the certificate, and what to do.
_REFUSALS = {
    9: ("is not valid yet", "set the clock if it is wrong"),
    10: ("has expired", "renew it, or set the clock if it is wrong"),
    18: ("is self-signed, and not one that this machine trusts", _CONFIG_HINT),
    19: ("is signed by an authority that this machine does not trust", _CONFIG_HINT),
    20: ("is signed by an authority that this machine does not trust", _CONFIG_HINT),
    62: ("is for another host", _NAME_HINT),
    64: ("is for another host", _NAME_HINT),
}


def require_certificates(data: bytes, name: str) -> str:
    """The text of a PEM bundle (RFC 7468). Text between certificates is a comment; after the last it is an error.

    Raises:
        FetchError: it has no certificate, something comes after the last one, or one is damaged.
    """
    text = data.decode("ascii", "replace")
    if _BEGIN not in text or _END not in text:
        raise FetchError(f"{name} has no certificate in PEM form", f"a bundle has lines '{_BEGIN}'")
    if text.rpartition(_END)[2].strip("\r\n"):
        raise FetchError(f"{name} has text after its last certificate")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=_only_certificates(text))
    except (ssl.SSLError, ValueError) as error:
        raise FetchError(f"{name} has a certificate that cannot be read: {_reason(error)}") from None
    return text


def _only_certificates(text: str) -> str:
    parts = [part.partition(_END)[0] for part in text.split(_BEGIN)[1:]]
    return "\n".join(f"{_BEGIN}{part}{_END}" for part in parts)


def make_client_context(authorities: tuple[str, ...]) -> ssl.SSLContext:
    """How servers are verified: by the system's authorities and these (PEM)."""
    context = ssl.create_default_context()
    for text in authorities:
        context.load_verify_locations(cadata=_only_certificates(text))
    return context


def explain_refusal(host: str, error: ssl.SSLError | ssl.CertificateError) -> FetchError:
    """What a failed handshake means to whoever set the machine up.

    A certificate that is not accepted now is not accepted in a minute: such an error is final, unlike
    Ignition's, which tries again for ever.
    """
    if not isinstance(error, ssl.SSLCertVerificationError):
        return Temporary(f"the TLS handshake with {host} failed: {_reason(error)}")
    other = (f"is not accepted: {error.verify_message}", _CONFIG_HINT)
    what, hint = _REFUSALS.get(error.verify_code, other)
    clock = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return FetchError(f"the certificate of {host} {what}; this machine's clock says {clock}", hint)


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error).lower().replace("_", " ")
