"""What every machine must make for itself: secrets, and databases that have an identity.

A key that is made with an image is a key that all its machines share, and that everybody has who has the image. So
what these programs make is left to the machine
(:meth:`~builder.debian.scripts.target_system.TargetSystem.leave_to_machine`), if it is known which files that are; a
script that only reads the secret does what build-os does not model.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence

from builder.debian.scripts.effects import EffectKind
from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.machine_values import find_command, quote_for_machine
from builder.debian.scripts.subjects.options import read_options
from builder.debian.scripts.target_system import MAX_OWN, RANDOM, SWEPT, UNKNOWN, NotModelled
from builder.tree.node import Kind

# Programs that make a text of a text, and nothing else.
FILTERS = frozenset(
    ("tr", "cut", "head", "tail", "sed", "awk", "mawk", "base64", "base32", "md5sum", "sha1sum", "sha256sum",
     "sha512sum", "od", "xxd", "hexdump", "fold", "rev", "strings", "paste", "sort", "uniq", "openssl")
)  # fmt: skip
OPENSSL_FILTERS = {"base64", "enc", "dgst", "md5", "sha1", "sha256", "sha512", "passwd"}
SNAKEOIL = ("/etc/ssl/certs/ssl-cert-snakeoil.pem", "/etc/ssl/private/ssl-cert-snakeoil.key")


def secret(shell: Shell, arguments: list[str]) -> Status:
    """A program that makes keys and passwords, for somebody to read."""
    raise NotModelled("it makes a secret, and every machine of the image would share it")


def says(name: str) -> Callable[[Shell, list[str]], Status]:
    """A program that says what is different on each machine, or whenever it runs."""

    def run(shell: Shell, arguments: list[str]) -> Status:
        if any(UNKNOWN in argument for argument in arguments):
            raise NotModelled(f"an argument of {name} is only known on a running machine")
        shell.say(shell.system.ask_machine(shlex.join([name, *arguments])) + "\n")
        return 0

    return run


def hostname(shell: Shell, arguments: list[str]) -> Status:
    """``hostname [-f|-s|-d ...]``: the machine's name."""
    if any(not argument.startswith("-") for argument in arguments) or {"-F", "--file", "-b"} & {*arguments}:
        raise NotModelled("it gives the machine a name")
    return says("hostname")(shell, arguments)


def dd(shell: Shell, arguments: list[str]) -> Status:
    """``dd if=/dev/urandom [of=file] ...``: random bytes, each machine its own; ``dd if=file bs=n count=n``."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    if given.get("if") not in RANDOM:
        return _part_of(shell, given)
    if "of" in given:
        path = shell.resolve_path(given["of"])
        shell.system.leave_to_machine(shlex.join(["dd", *arguments]), path)
    else:
        shell.say(shell.system.ask_machine(shlex.join(["dd", *arguments])))
    return 0


def _part_of(shell: Shell, given: Mapping[str, str]) -> Status:
    """A part of a file, for somebody to read."""
    size = given.get("bs", "512")
    counts = [given.get(name, "0") for name in ("skip", "count")]
    if given.keys() - {"if", "bs", "skip", "count", "status"} or not all(n.isdigit() for n in (size, *counts)):
        raise NotModelled("dd")
    text = shell.system.read(shell.resolve_path(given["if"])) if "if" in given else shell.state.input
    if text is None:
        return 1
    if UNKNOWN in text or "count" not in given:
        raise NotModelled("dd")
    data = text.encode(errors="surrogateescape")[int(size) * int(counts[0]) :][: int(size) * int(counts[1])]
    shell.say(data.decode(errors="surrogateescape"))
    return 0


def certtool(shell: Shell, arguments: list[str]) -> Status:
    """``certtool --generate-dh-params`` and ``--generate-privkey``, into ``--outfile`` or for whom it says them."""
    options = read_options("certtool", arguments, "generate-dh-params generate-privkey rsa", "sec-param bits outfile")
    command = shlex.join(["certtool", *arguments])
    if "outfile" in options:
        shell.system.leave_to_machine(command, shell.resolve_path(options.given["outfile"]))
    else:
        shell.say(shell.system.ask_machine(command) + "\n")
    return 0


def mungekey(shell: Shell, arguments: list[str]) -> Status:
    """``mungekey [-c] [-f] [-k file]``: the key that machines of a cluster share. mungekey(8)."""
    options = read_options("mungekey", arguments, "c f v create force verbose", "k b keyfile bits")
    path = shell.resolve_path(options.get("k", "keyfile") or "/etc/munge/munge.key")
    shell.system.leave_to_machine(shlex.join(["mungekey", *arguments]), path)
    return 0


def nvme(shell: Shell, arguments: list[str]) -> Status:
    """``nvme gen-hostnqn``: the name of a machine among those that share storage."""
    if arguments not in (["gen-hostnqn"], ["show-hostnqn"]):
        raise NotModelled("nvme")
    return says("nvme")(shell, arguments)


def filtered(shell: Shell, words: Sequence[str]) -> bool:
    """Whether a filter got what only the machine says, and so says what is only known there, too."""
    name = words[0].rpartition("/")[2]
    if name not in FILTERS or (name == "openssl" and not {*words[1:2]} & OPENSSL_FILTERS):
        return False
    if {"-i", "--in-place"} & {*words}:
        return name == "sed" and _edited(shell, words)
    if {*words[1:]} & RANDOM:
        shell.say(shell.system.ask_machine(shlex.join(words)))
        return True
    spelled = [quote_for_machine(word) if UNKNOWN in word else shlex.quote(word) for word in words]
    files = [word for word in words[1:] if word.startswith("/") and UNKNOWN not in word and _is_file(shell, word)]
    text = shell.state.input or ""
    if None in spelled or (UNKNOWN not in text and not any(UNKNOWN in word for word in words)):
        return False
    call = " ".join(word for word in spelled if word is not None)
    if not files:
        command = find_command(text) if UNKNOWN in text else f"printf %s {shlex.quote(text)}"
        if command is None or len(text) > MAX_OWN:
            return False
        call = f"{command} | {call}"
    shell.say(shell.system.ask_machine(call, (text if not files else "") + "".join(words)))
    return True


def _edited(shell: Shell, words: Sequence[str]) -> bool:
    """Whether ``sed -i`` puts what only the machine knows into a file: the machine edits what is in it here."""
    files = [word for word in words[1:] if UNKNOWN not in word and _is_file(shell, shell.resolve_path(word))]
    spelled = [quote_for_machine(word) if UNKNOWN in word else shlex.quote(word) for word in words[1:]]
    if len(files) != 1 or None in spelled or not any(UNKNOWN in word for word in words):
        return False
    path = shell.resolve_path(files[0])
    text = shell.system.read(path) or ""
    source = find_command(text) if UNKNOWN in text else f"printf %s {shlex.quote(text)}"
    if source is None or len(text) > MAX_OWN:
        return False
    left_out = ("-i", "--in-place", shlex.quote(files[0]))
    program = " ".join(word for word in spelled if word is not None and word not in left_out)
    shell.system.write(path, shell.system.ask_machine(f"{source} | sed {program}", text + "".join(words)))
    return True


def _is_file(shell: Shell, path: str) -> bool:
    node = shell.system.get(path)
    return node is not None and node.kind is Kind.FILE


def openssl(shell: Shell, arguments: list[str]) -> Status:
    """``openssl rand|genrsa|genpkey|req|dhparam`` into files."""
    action = arguments[0] if arguments else ""
    if action not in ("rand", "genrsa", "genpkey", "req", "ecparam", "dhparam"):
        raise NotModelled(f"openssl {action}")
    made = [shell.resolve_path(arguments[i + 1]) for i, a in enumerate(arguments[:-1]) if a in ("-out", "-keyout")]
    if not made and action in ("rand", "dhparam", "genrsa", "genpkey", "ecparam"):
        return says("openssl")(shell, arguments)
    if not made or any(path.startswith("/dev/") for path in made):
        return secret(shell, arguments)
    shell.system.leave_to_machine(_command(shell, ["openssl", *arguments], made), *dict.fromkeys(made))
    return 0


def _command(shell: Shell, words: list[str], made: Sequence[str] = ()) -> str:
    """A command as the machine will run it, with its input.

    Raises:
        NotModelled: it reads what the machine will not have.
    """
    if gone := [word for word in words if SWEPT.match(word) and word not in made]:
        raise NotModelled(f"each machine must run it, and {gone[0]} will be gone by then")
    if not shell.state.input:
        return shlex.join(words)
    if UNKNOWN in shell.state.input:
        raise NotModelled("each machine must run it, and it reads what is only known there")
    return f"printf %s {shlex.quote(shell.state.input)} | {shlex.join(words)}"


def rndc_confgen(shell: Shell, arguments: list[str]) -> Status:
    """``rndc-confgen -a [-c file] [-u user]``: the key by which a name server is controlled. rndc-confgen(8)."""
    options = read_options("rndc-confgen", arguments, "a h q", "A b c k p r s t u")
    if "a" not in options:
        return secret(shell, arguments)
    path = shell.resolve_path(options.get("c") or "/etc/bind/rndc.key")
    shell.system.leave_to_machine(shlex.join(["rndc-confgen", *arguments]), path)
    return shell.call(["chown", options.given["u"], path]) if "u" in options else 0


def make_ssl_cert(shell: Shell, arguments: list[str]) -> Status:
    """``make-ssl-cert generate-default-snakeoil`` and ``make-ssl-cert template file``. make-ssl-cert(8)."""
    options = read_options("make-ssl-cert", arguments, "f n force-overwrite no-overwrite", "x expiration-days")
    command = _command(shell, ["make-ssl-cert", *arguments], options.operands[1:])
    if options.operands == ["generate-default-snakeoil"]:
        if shell.system.get(SNAKEOIL[1]) is not None:
            return 0
        shell.system.leave_to_machine(command, *SNAKEOIL)
        shell.call(["chmod", "0644", SNAKEOIL[0]])
        shell.call(["chgrp", "ssl-cert", SNAKEOIL[1]])
        return shell.call(["chmod", "0640", SNAKEOIL[1]])
    if len(options.operands) != 2:
        raise NotModelled("make-ssl-cert")
    shell.system.leave_to_machine(command, shell.resolve_path(options.operands[1]))
    return 0


def dropbearkey(shell: Shell, arguments: list[str]) -> Status:
    """``dropbearkey -t type -f file``: a key of a server; ``-y`` shows the public half to somebody."""
    options = read_options("dropbearkey", arguments, "y", "t f s C")
    if "y" not in options and "f" in options:
        shell.system.leave_to_machine(shlex.join(["dropbearkey", *arguments]), shell.resolve_path(options.given["f"]))
    return 0


def mariadb_install_db(shell: Shell, arguments: list[str]) -> Status:
    """``mariadb-install-db``: the databases of the server itself. mariadb-install-db(1)."""
    given = {name: value for name, _, value in (a.partition("=") for a in arguments if a.startswith("--"))}
    place = given.get("--datadir") or given.get("--ldata") or "/var/lib/mysql"
    user = given.get("--user")
    shell.system.leave_to_machine(shlex.join(["mariadb-install-db", *arguments]), f"{place}/mysql/", f"{place}/*")
    return shell.call(["chown", user, f"{place}/mysql"]) if user else 0


def munin_node_configure(shell: Shell, arguments: list[str]) -> Status:
    """``munin-node-configure --shell``: links into /usr for the plugins that fit the machine on which it runs.

    Which those are is not known, and it fails if one of them cannot say whether it fits: the links count.
    """
    if arguments != ["--shell"]:
        raise NotModelled("munin-node-configure")
    if not shell.system.list_children("/etc/munin/plugins"):
        shell.system.leave_to_machine(
            "munin-node-configure --shell | sh",
            "/etc/munin/plugins/*",
            "/var/lib/munin-node/plugin-state/*",
        )
    return 0


def saslpasswd2(shell: Shell, arguments: list[str]) -> Status:
    """``saslpasswd2 [-c] [-d] [-p] [-n] [-f FILE] USER``: what SASL knows of users, a database. saslpasswd2(8)."""
    options = read_options("saslpasswd2", arguments, "p c d n", "u f a")
    path = shell.resolve_path(options.get("f") or "/etc/sasldb2")
    made = shell.system.get(path)
    shell.system.leave_to_machine(_command(shell, ["saslpasswd2", *arguments]), path)
    if made is not None:  # the file is there; what the script gave it stays
        shell.system.change(path, EffectKind.MODE, "", mode=made.mode, uid=made.uid, gid=made.gid)
    return 0


def cf_key(shell: Shell, arguments: list[str]) -> Status:
    """``cf-key``: the key pair by which machines of CFEngine know each other. cf-key(8)."""
    if arguments:
        raise NotModelled(f"cf-key {arguments[0]}")
    keys = "/var/lib/cfengine3/ppkeys"
    shell.system.leave_to_machine("cf-key", f"{keys}/localhost.priv", f"{keys}/localhost.pub")
    return shell.call(["chmod", "0600", f"{keys}/localhost.priv", f"{keys}/localhost.pub"])


# What the packet filter has when a machine starts is what iptables-persistent keeps.
SAYING = (
    "iptables-save",
    "ip6tables-save",
    "dnsdomainname",
    "mcookie",
    "uuidgen",
    "pwgen",
    "makepasswd",
    "apg",
    "iscsi-iname",
)
COMMANDS = make_models({
    "openssl": openssl, "rndc-confgen": rndc_confgen, "make-ssl-cert": make_ssl_cert,
    "mariadb-install-db": mariadb_install_db, "mysql_install_db": mariadb_install_db,
    "munin-node-configure": munin_node_configure,
    "dropbearkey": dropbearkey,
    "hostname": hostname, "dd": dd, "nvme": nvme, "certtool": certtool, "mungekey": mungekey, "slappasswd": secret,
    "saslpasswd2": saslpasswd2, "cf-key": cf_key,
    **{name: says(name) for name in SAYING},
})  # fmt: skip
