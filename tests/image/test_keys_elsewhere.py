"""Keys in a token, SoftHSM's: their private parts are in no file, and a repository is signed with them all the same."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from securesystemslib.signer import SSlibKey

from builder.core.store import Store
from builder.core.tools import Tools
from builder.publishing.keys import read_root
from builder.publishing.repository import open_repository
from tests.image.test_publishing import build
from tests.support.command import Outcome, run_command
from tests.support.debian_programs import open_programs

pytestmark = pytest.mark.image

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PIN = ("--module", MODULE, "--login", "--pin", "1234", "--token-label", "fleet")
LABELS = ("root-1", "targets", "snapshot", "timestamp")
# What a publisher would have as a program on the path: pkcs11-tool itself, which here is in a tree of its own.
SIGN = """\
import hashlib, sys
from pathlib import Path
from builder.core.console import QuietConsole
from builder.core.tools import Tools
tools = Tools(Path(sys.argv[1]), QuietConsole(), {"SOFTHSM2_CONF": sys.argv[2]})
role, file = sys.argv[3:]
number = ["root", "targets", "snapshot", "timestamp"].index(role) + 1
target = file + ".signature"
Path(file).write_bytes(hashlib.sha256(Path(file).read_bytes()).digest())
tools.run("pkcs11-tool", *%r, "--sign", "--mechanism", "ECDSA", "--signature-format", "openssl",
          "--id", f"0{number}", "--input-file", file, "--output-file", target)
sys.stdout.buffer.write(Path(target).read_bytes())
Path(target).unlink()
"""


@pytest.fixture
def token(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Tools, str]:
    """A token with four keys, and the command that signs with them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tokens").mkdir()
    config = tmp_path / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {tmp_path}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    programs = open_programs(store, "bash", "opensc", "softhsm2")
    tools = Tools(programs.root, programs.console, {"SOFTHSM2_CONF": str(config)})
    tools.run(*("softhsm2-util", "--init-token", "--free", "--label", "fleet", "--so-pin", "1234", "--pin", "1234"))
    for number, label in enumerate(LABELS, 1):
        key = ("--key-type", "EC:prime256v1", "--id", f"0{number}", "--label", label)
        tools.run("pkcs11-tool", *PIN, "--keypairgen", *key)
        tools.run("pkcs11-tool", *PIN, "--read-object", "--type", "pubkey", "--label", label, "-o", f"{label}.der")
        public = load_der_public_key(Path(f"{label}.der").read_bytes())
        Path(f"{label}.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    script = tmp_path / "sign.py"
    script.write_text(SIGN % (PIN,))
    return tools, shlex.join([sys.executable, str(script), str(programs.root), str(config), "{role}", "{file}"])


def key(capsys: pytest.CaptureFixture[str], *arguments: str) -> Outcome:
    return run_command(capsys, "key", "update-keys", "--for", "updates", *arguments)


def test_a_repository_is_signed_by_keys_that_no_file_has(
    token: tuple[Tools, str], tools: Tools, capsys: pytest.CaptureFixture[str]
) -> None:
    _, command = token
    public = [word for label in LABELS for word in ("--public", f"{label}={label}.pem")]
    assert "add --sign-command" in key(capsys, *public).err
    assert not Path("update-keys/root.json").exists()
    made = key(capsys, *public, "--sign-command", command)
    assert (made.status, made.out.split()) == (0, ["update-keys/root.json"]), made.err
    build("1.0.0", tools)
    assert "--sign-command" in run_command(capsys, "publish", "repository").err
    published = run_command(capsys, "publish", "repository", "--sign-command", command)
    assert published.status == 0, published.err
    repository = open_repository(Path("repository"), Path("update-keys/root.json"))
    assert repository.timestamp.signed.version == 1
    root = read_root(Path("update-keys/root.json")).signed
    targets = SSlibKey.from_crypto(load_der_public_key(Path("targets.der").read_bytes()))
    assert root.roles["targets"].keyids == [targets.keyid]
    assert not list(Path("update-keys").glob("*.key"))
    # The root is signed anew by its key in the token, and the timestamp goes back to a file.
    assert key(capsys, "--rotate", "timestamp", "--sign-command", command).status == 0
    assert Path("update-keys/timestamp.key").exists()
    assert run_command(capsys, "publish", "repository", "--refresh", "--sign-command", command).status == 0
    assert open_repository(Path("repository"), Path("update-keys/root.json")).root.signed.version == 2


def test_a_command_that_signs_with_another_key_is_noticed_and_changes_nothing(
    token: tuple[Tools, str], tools: Tools, capsys: pytest.CaptureFixture[str]
) -> None:
    _, command = token
    assert key(capsys, "--public", "targets=targets.pem").status == 0
    build("1.0.0", tools)
    wrong = command.replace("{role}", "snapshot")
    refused = run_command(capsys, "publish", "repository", "--sign-command", wrong)
    assert refused.status == 2
    assert "no signature of the key that signs targets" in refused.err
    assert not (Path("repository") / "metadata").exists() or not list((Path("repository") / "metadata").iterdir())
    failed = run_command(capsys, "publish", "repository", "--sign-command", "false {file}")
    assert "has signed nothing for targets" in failed.err
    assert "does not say {file}" in run_command(capsys, "publish", "repository", "--sign-command", "true").err
    assert run_command(capsys, "publish", "repository", "--sign-command", command).status == 0
