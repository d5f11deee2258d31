"""Keys in a token, SoftHSM's: their private parts are in no file, and repositories and images are signed with them."""

from __future__ import annotations

import datetime
import json
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509 import load_pem_x509_certificate
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
RSA = ("--key-type", "rsa:2048", "--id", "05", "--label", "secure-boot")
# What a publisher would have as a program on the path: pkcs11-tool itself, which here is in a tree of its own.
SIGN = """\
import hashlib, sys
from pathlib import Path
from builder.core.console import QuietConsole
from builder.core.tools import Tools
tools = Tools(Path(sys.argv[1]), QuietConsole(), {"SOFTHSM2_CONF": sys.argv[2]})
role, file = sys.argv[3:]
if role == "secure-boot":
    tools.run("pkcs11-tool", *%r, "--sign", "--mechanism", "SHA256-RSA-PKCS", "--id", "05",
              "--input-file", file, "--output-file", file + ".signature")
    sys.stdout.buffer.write(Path(file + ".signature").read_bytes())
    sys.exit(Path(file + ".signature").unlink())
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
    tools.run("pkcs11-tool", *PIN, "--keypairgen", *RSA)
    script = tmp_path / "sign.py"
    script.write_text(SIGN % (PIN, PIN))
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


def make_certificate(tools: Tools, path: Path) -> None:
    """A certificate of the token's RSA key."""
    tools.run("pkcs11-tool", *PIN, "--read-object", "--type", "pubkey", "--id", "05", "-o", "secure-boot.der")
    public = load_der_public_key(Path("secure-boot.der").read_bytes())
    assert isinstance(public, rsa.RSAPublicKey)
    # One for the same key that somebody else signed: who signed a certificate is nothing that firmware asks.
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "token")])
    now = datetime.datetime.now(datetime.UTC)
    issuer = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    builder = x509.CertificateBuilder(name, name, public, x509.random_serial_number(), now, now.replace(year=2037))
    path.write_bytes(builder.sign(issuer, SHA256()).public_bytes(Encoding.PEM))


def test_an_image_is_signed_by_a_key_that_no_file_has(
    token: tuple[Tools, str], store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its programs verify by sbsigntool, and its policy and root hash by the certificate's key."""
    tools, command = token
    command = command.replace("{role}", "secure-boot")
    make_certificate(tools, tmp_path / "secure-boot.crt")
    (tmp_path / "os.yaml").write_text('name: sealed\nversion: "1"\nfeatures: [base]\nstate: {encryption: tpm2}\n')
    signing = ("--sign-command", command, "--sign-certificate", "secure-boot.crt")
    for wrong, what in (
        ("/gone/sign {file}", "cannot start the signing command /gone/sign"),
        ("false {file}", "has signed nothing for Secure Boot"),
        ("echo {file}", "is no signature of the certificate"),
    ):
        refused = run_command(capsys, "build", "--sign-command", wrong, "--sign-certificate", "secure-boot.crt")
        assert (refused.status, what in refused.err) == (2, True), refused.err
    assert not Path("out/build.json").exists()
    built = run_command(capsys, "build", *signing)
    assert built.status == 0, built.err
    certificate = load_pem_x509_certificate(Path("secure-boot.crt").read_bytes())
    manifest = json.loads(Path("out/build.json").read_text())
    assert manifest["signed_by"] == certificate.fingerprint(SHA256()).hex()
    programs = open_programs(store, "bash", "sbsigntool")
    uki = Path("out", manifest["artifacts"]["uki"]["path"])
    assert "Signature verification OK" in programs.run(
        "sbverify", "--cert", tmp_path / "secure-boot.crt", uki.absolute()
    )
    # With the same key the same bits, whoever holds it for whom.
    before = uki.read_bytes()
    shutil.rmtree("out")
    assert run_command(capsys, "build", *signing).status == 0
    assert uki.read_bytes() == before
    assert run_command(capsys, "plan", *signing).status == 0
