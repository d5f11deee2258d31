"""Public keys and hashes of passwords in ``variant: buildos``: what could let nobody in is refused at its line."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firstboot.config.checks.logins import check_logins
from firstboot.config.located import render
from firstboot.config.models import Passwd, User
from tests.support.guest import Guest
from tests.support.logins import HASH, KEY
from tests.support.variant import HEAD, Read

pytestmark = pytest.mark.unit

Config = Callable[..., Read]
NO_HASH = "this is no hash of a password, so nobody could log in with it"
NOT_WHOLE = "this key is not whole"
NO_KEY = "this is no public key"
OTHER_TYPE = "this key is of another type than the word before it says"
ENCODED = KEY.split()[1]


def public_key(kind: str, *fields: bytes, after: bytes = b"") -> str:
    """A key as RFC 4253 and OpenSSH's PROTOCOL files put it together."""
    blob = b"".join(len(each).to_bytes(4, "big") + each for each in (kind.encode(), *fields)) + after
    return f"{kind} {base64.b64encode(blob).decode()}"


RSA = public_key("ssh-rsa", b"\1\0\1", b"\0" + b"\xa5" * 256)
# serial and type are numbers, and the strings after them begin where a list of strings would not have them
CERTIFICATE = public_key(
    "ssh-ed25519-cert-v01@openssh.com", b"n" * 32, b"k" * 32, after=bytes(11) + b"\1" + b"\0\0\0\2id" + bytes(40)
)
GOOD_KEYS = [
    KEY,
    f"{KEY} ops@example.org, of the night shift",
    f"  \t{KEY}\r",
    RSA,
    RSA.replace("ssh-rsa ", "rsa-sha2-512 "),
    public_key("ecdsa-sha2-nistp256", b"nistp256", b"\4" + b"p" * 64),
    public_key("sk-ssh-ed25519@openssh.com", b"k" * 32, b"ssh:"),
    public_key("sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", b"\4" + b"p" * 64, b"ssh:"),
    CERTIFICATE,
    f"restrict {KEY}",
    f"cert-authority {RSA}",
    f"no-pty,no-agent-forwarding   {KEY}",
    f'restrict,command="echo \\"ssh-rsa AAAA\\" {NO_KEY}",from="10.0.0.0/8" {KEY} me',
    f"# two of them\n\n{KEY}\n{RSA}\n",
    "# none yet",
    "",
]
BAD_KEYS = [
    (KEY[:-4], NOT_WHOLE),
    (KEY[:-3], NOT_WHOLE),
    (f"restrict {KEY[:-4]} me", NOT_WHOLE),
    (f"{KEY}\n{RSA[:-4]}", NOT_WHOLE),
    (KEY + "AAAA", NOT_WHOLE),
    (f"{KEY[:40]} {KEY[40:]}", NOT_WHOLE),
    (f"ssh-rsa {ENCODED}", OTHER_TYPE),
    (ENCODED, NO_KEY),
    ("ssh-ed25519", NO_KEY),
    ("ssh-ed25519 café", NO_KEY),
    (f'command="never closed {KEY}', NO_KEY),
    ("-----BEGIN OPENSSH PRIVATE KEY-----", NO_KEY),
    ("~/.ssh/id_ed25519.pub", NO_KEY),
]
GOOD_HASHES = [
    HASH,
    "$1$salt$qJH7.N4xYta3aEG/dfqo/0",
    "$5$rounds=5000$salt$Rs6yeRl7SA1iLDm9dTSKZlGT8gzZEeVn0IGvQKXQ.P5",
    "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7",
    "$gy$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7",
    "$7$CU..../....2Q9obwLhin8qvQl6sisAO/$E1HizYWxBmnIH4sdPkd1UOML9t62Gf.wvNTnt5XFzs8",
    "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
    "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
    "$2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
    "$6$$the-salt-may-be-empty",
    "$sha1$40000$jtNX3nZ2$hBNaIXkt4wBI2o5rsi8KejSjNqIq",
    "$3$$8846f7eaee8fb117ad06bdd830b7586c",
    "ab01FAX.bQRSU",
    "_J9..CCCCXBrJUJV154M",
    "!",
    "!!",
    "*",
    "!*",
    f"!{HASH}",
    "",
]
BAD_HASHES = [
    "hunter2",
    "correct horse",
    "$6$",
    "$6$salt$",
    "$6$topsecret",
    "$ecret$",
    f"{HASH}\n",
    f"{HASH}:0",
    "locked",
]


def of_user(setting: str, value: object) -> str:
    return f"passwd:\n  users:\n    - name: core\n      {setting}: {json.dumps(value)}\n"


@pytest.mark.parametrize("key", GOOD_KEYS)
def test_what_sshd_reads_as_a_key_is_taken(config: Config, key: str) -> None:
    assert config(of_user("ssh_authorized_keys", [key])).said == []


@pytest.mark.parametrize(("key", "message"), BAD_KEYS)
def test_a_key_with_which_nobody_could_log_in_is_an_error_at_its_line(config: Config, key: str, message: str) -> None:
    found = config(f"passwd:\n  users:\n    - ssh_authorized_keys:\n        - {KEY}\n        - {json.dumps(key)}\n")
    assert found.said == [f"7 passwd.users.0.ssh_authorized_keys.1: {message}"]
    assert found.document.config is None


@pytest.mark.parametrize("text", GOOD_HASHES)
def test_what_crypt_and_shadow_know_is_taken_as_a_hash(config: Config, text: str) -> None:
    groups = f"  groups: [{{name: ops, password_hash: {json.dumps(text)}}}]\n"
    assert config(of_user("password_hash", text) + groups).said == []


@pytest.mark.parametrize("text", BAD_HASHES)
def test_a_password_in_place_of_its_hash_is_an_error_and_not_shown(config: Config, text: str) -> None:
    groups = f"  groups: [{{name: ops, password_hash: {json.dumps(text)}}}]\n"
    found = config(of_user("password_hash", text) + groups)
    assert sorted(found.said) == [
        f"6 passwd.users.0.password_hash: {NO_HASH}",
        f"7 passwd.groups.0.password_hash: {NO_HASH}",
    ]
    shown = render(found.document.located, found.document.problems)
    assert text.strip() not in shown


def test_a_password_that_comes_from_a_secret_is_an_error_where_it_is_used_and_not_shown(config: Config) -> None:
    text = "secrets: [{name: a, env: A}]\n" + of_user("password_hash", "${secrets.a}")
    found = config(text, environment={"A": "hunter2"})
    assert found.said == [f"7 passwd.users.0.password_hash: {NO_HASH}"]
    assert "hunter2" not in render(found.document.located, found.document.problems)


def test_a_secret_that_is_not_there_is_told_and_not_judged(config: Config) -> None:
    text = "secrets: [{name: a, env: A}]\n" + of_user("password_hash", "${secrets.a}")
    assert not any(NO_HASH in each for each in config(text).said)


def test_a_file_of_keys_beside_a_config_is_judged_too(config: Config, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# ours\n{KEY}\n{KEY[:-4]}\n")
    assert config(of_user("ssh_authorized_keys_local", ["keys"])).said == [
        f"6 passwd.users.0.ssh_authorized_keys_local.0: {NOT_WHOLE}"
    ]


@pytest.mark.parametrize("variant", ["variant: fcos\nversion: 1.5.0\n", "variant: flatcar\nversion: 1.0.0\n"])
def test_other_languages_take_any_text_also_as_a_fragment_of_ours(config: Config, tmp_path: Path, variant: str) -> None:
    (tmp_path / "theirs").write_text(variant + of_user("password_hash", "hunter2"))
    (tmp_path / "ours").write_text(HEAD + of_user("password_hash", "hunter2"))
    own = of_user("ssh_authorized_keys", [KEY])
    assert config(f"include: [theirs]\n{own}").said == []
    assert config(f"include: [ours]\n{own}").said == [f"3 include.0: ours:6:22: {NO_HASH}"]
    own = of_user("ssh_authorized_keys", [KEY[:-4]])
    assert config(f"include: [theirs]\n{own}").said == [f"7 passwd.users.0.ssh_authorized_keys.0: {NOT_WHOLE}"]


def test_a_machine_refuses_it_before_anything_is_done(accounts: Path, programs: Any) -> None:
    guest = Guest(accounts, programs)
    guest.give(HEAD + of_user("password_hash", "hunter2"))
    assert guest.boot() != 0
    assert NO_HASH in guest.console()
    assert "hunter2" not in guest.console() + guest.log
    assert not guest.marker.exists()


@pytest.mark.parametrize(
    "user",
    [
        User(name="core", ssh_authorized_keys=('"' * 2_000_000,)),
        User(name="core", ssh_authorized_keys=("ssh-rsa " + base64.b64encode(bytes(1_500_000)).decode(),)),
        User(name="core", password_hash="$a" + "$" * 2_000_000),
    ],
    ids=["quotes", "empty-strings", "dollars"],
)
def test_megabytes_of_nonsense_are_judged_in_a_moment(user: User) -> None:
    begin = time.process_time()
    assert len(list(check_logins(Passwd(users=(user,))))) == 1
    assert time.process_time() - begin < 5
