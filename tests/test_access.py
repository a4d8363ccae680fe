"""Tokens and certificates: made, kept, read back and refused."""

import ssl
import stat
from pathlib import Path

import pytest

from edgetvm.access import KnownTokens, ServerIdentity, Token
from edgetvm.errors import UsageError


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> ServerIdentity:
    return ServerIdentity.of_this_machine(tmp_path_factory.mktemp("config"))


def test_an_identity_is_made_once_and_only_its_user_can_read_it(tmp_path: Path) -> None:
    first = ServerIdentity.of_this_machine(tmp_path)
    assert ServerIdentity.of_this_machine(tmp_path) == first
    assert stat.S_IMODE((tmp_path / "server.json").stat().st_mode) == 0o600
    assert ServerIdentity.of_this_machine(tmp_path / "other").secret != first.secret


def test_a_token_is_read_as_it_was_printed(identity: ServerIdentity) -> None:
    printed = str(identity.token)
    assert len(printed.replace("-", "")) == 48
    for text in (printed, printed.upper(), printed.replace("-", ""), f" {printed}\n"):
        assert Token.parse(text) == identity.token


@pytest.mark.parametrize("text", ["", "abc", "1" * 48, "a" * 47, "a" * 56, "ä" * 48])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not one that a server printed"):
        Token.parse(text)


def test_a_token_does_not_show_in_logs(identity: ServerIdentity) -> None:
    assert identity.secret not in repr(identity.token)
    assert str(identity.token) not in f"{identity.token!r}"


def test_a_token_knows_its_secret_and_its_certificate(identity: ServerIdentity) -> None:
    token = identity.token
    assert token.is_secret(bytes.fromhex(identity.secret))
    assert not token.is_secret(b"x" * 15)
    assert not token.is_secret(b"")
    der = ssl.PEM_cert_to_DER_cert(identity.certificate)
    assert token.is_certificate(der)
    assert not token.is_certificate(der + b"x")


def test_a_client_keeps_tokens_by_host(tmp_path: Path, identity: ServerIdentity) -> None:
    assert KnownTokens.read(tmp_path).of("pi.local") is None
    KnownTokens.read(tmp_path).store("pi.local", identity.token, tmp_path)
    assert KnownTokens.read(tmp_path).of("pi.local") == identity.token
    assert KnownTokens.read(tmp_path).of("other.local") is None
    assert stat.S_IMODE((tmp_path / "tokens.json").stat().st_mode) == 0o600


def test_faulty_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "tokens.json").write_text("{")
    with pytest.raises(UsageError, match=r"tokens\.json"):
        KnownTokens.read(tmp_path)
    (tmp_path / "server.json").write_text("{}")
    with pytest.raises(UsageError, match=r"server\.json"):
        ServerIdentity.of_this_machine(tmp_path)
