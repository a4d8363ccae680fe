"""Who may use a device: its certificate and token, and the tokens that a client keeps.

Whoever may open a session can run code on the device. So a server that listens on a network shows
a certificate of its own and asks for a token. The token carries the certificate's fingerprint: one
text, copied once from the board's screen, tells the client whom to trust and the board whom to
serve. Both sides keep what they need below :func:`config_folder`, readable by their user alone.
"""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import msgspec
import platformdirs

from edgetvm.errors import UsageError
from edgetvm.files import read_json, replacing

SECRET_BYTES = 15
FINGERPRINT_BYTES = 15
"""120 bits each: multiples of five bytes need no padding in base 32."""

VALID_FOR = timedelta(days=20 * 365)
"""A board may not know the date; who is trusted is a matter of the fingerprint alone."""


def config_folder() -> Path:
    """Return where identities and tokens are kept, such as ``~/.config/edgetvm``."""
    return platformdirs.user_config_path("edgetvm")


@dataclass(frozen=True)
class Token:
    """What a client needs to know of a server, written as 48 letters and digits.

    Attributes
    ----------
    secret : proves that the client may connect.
    fingerprint : start of the SHA-256 of the server's certificate.
    """

    secret: bytes
    fingerprint: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a token as a server printed it; dashes, spaces and case do not matter.

        Raises
        ------
        UsageError
            It is none.
        """
        digits = "".join(text.split()).replace("-", "").upper()
        with suppress(binascii.Error, ValueError):
            content = base64.b32decode(digits)
            if len(content) == SECRET_BYTES + FINGERPRINT_BYTES:
                return cls(content[:SECRET_BYTES], content[SECRET_BYTES:])
        raise UsageError(
            "The token is not one that a server printed (48 letters and digits): copy it from the "
            "output of python -m edgetvm.serve on the device."
        )

    def __str__(self) -> str:
        digits = base64.b32encode(self.secret + self.fingerprint).decode().lower()
        return "-".join(digits[place : place + 8] for place in range(0, len(digits), 8))

    def __repr__(self) -> str:
        return "Token(…)"

    def is_secret(self, offered: bytes) -> bool:
        """Compare in a time that does not depend on where the two differ."""
        return hmac.compare_digest(self.secret, offered)

    def is_certificate(self, der: bytes) -> bool:
        """Whether the certificate `der` is the one that the token was printed with."""
        return hmac.compare_digest(self.fingerprint, _fingerprint(der))


class ServerIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """A server's certificate and key, PEM, and the secret of its token, hexadecimal."""

    certificate: str
    key: str
    secret: str

    @classmethod
    def of_this_machine(cls, folder: Path | None = None) -> Self:
        """Read this machine's identity below `folder`; the first time one is made.

        Raises
        ------
        UsageError
            Its file cannot be read.
        """
        path = (folder or config_folder()) / "server.json"
        if path.is_file():
            return read_json(path, cls)
        certificate, key = _make_certificate()
        identity = cls(certificate=certificate, key=key, secret=secrets.token_hex(SECRET_BYTES))
        _write_private(path, identity)
        return identity

    @property
    def token(self) -> Token:
        """What a client must have."""
        der = ssl.PEM_cert_to_DER_cert(self.certificate)
        return Token(bytes.fromhex(self.secret), _fingerprint(der))

    def tls(self) -> ssl.SSLContext:
        """Return the server's side of TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        # ssl reads keys from files only; this one is in memory and gone with its descriptor.
        file = os.memfd_create("edgetvm-identity")
        with open(file, "w") as pem:  # noqa: PTH123 - a descriptor has no path
            pem.write(self.key + self.certificate)
            pem.flush()
            context.load_cert_chain(f"/proc/self/fd/{file}")
        return context


def client_tls() -> ssl.SSLContext:
    """Return the client's side of TLS; the caller compares the certificate with its token."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class KnownTokens(msgspec.Struct):
    """A client's tokens by host, as :func:`config_folder` keeps them."""

    by_host: dict[str, str] = {}

    @classmethod
    def read(cls, folder: Path | None = None) -> Self:
        """Read the tokens below `folder`; none if there is no file.

        Raises
        ------
        UsageError
            The file cannot be read.
        """
        path = _tokens_path(folder)
        return read_json(path, cls) if path.is_file() else cls()

    def of(self, host: str) -> Token | None:
        """Return the token of `host`, if one was stored."""
        text = self.by_host.get(host)
        return None if text is None else Token.parse(text)

    def store(self, host: str, token: Token, folder: Path | None = None) -> None:
        """Keep the token of `host` for later runs."""
        self.by_host[host] = str(token)
        _write_private(_tokens_path(folder), self)


def _tokens_path(folder: Path | None) -> Path:
    return (folder or config_folder()) / "tokens.json"


def _write_private(path: Path, value: msgspec.Struct) -> None:
    with replacing(path, mode=0o600) as temporary:
        temporary.write_bytes(msgspec.json.encode(value))


def _fingerprint(der: bytes) -> bytes:
    return hashlib.sha256(der).digest()[:FINGERPRINT_BYTES]


def _make_certificate() -> tuple[str, str]:
    """Make a self-signed certificate and its key, both PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "edgetvm")])
    start = datetime(2020, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + VALID_FOR)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()
