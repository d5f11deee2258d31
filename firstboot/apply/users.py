"""Groups and users, through the shadow package's programs; then the keys they may log in with.

Argument lists are upstream's: ``useradd`` for who is not there, ``usermod`` for who is, ``--root`` unless the
root is the running system. Programs do the locking, ``/etc/shadow``, ``/etc/subuid`` and the home from
``/etc/skel``.
"""

from __future__ import annotations

from collections.abc import Iterator

from firstboot.apply.accounts import Names
from firstboot.apply.action import Action, Machine, Refused
from firstboot.apply.allowed import check_writable
from firstboot.apply.keys import choose_config_keys_file, write_keys
from firstboot.apply.programs import Programs, explain_missing
from firstboot.apply.root import Root
from firstboot.config.explain import find_suggestion
from firstboot.config.models import Config, Group, User
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.text import Path, Problem

NO_PASSWORD = "*"  # nothing hashes to it: shadow(5)
ACCOUNT_FILES = ("/etc/passwd", "/etc/group")


class RunProgram(NamedTuple):
    """Create, change or delete a user or a group.

    ``home`` is a directory that the program is to create. The one above it is made first: ``useradd`` does
    not follow a link like ``/home -> var/home`` to a directory that is not there yet. ``secret`` is what another
    program, ``chpasswd`` or ``chgpasswd``, is to read afterwards.
    """

    at: Path
    what: str
    argv: tuple[str, ...]
    home: str | None = None
    secret: tuple[str, str] | None = None

    def describe(self) -> str:
        return self.what

    def perform(self, machine: Machine) -> None:
        if self.home is not None:
            machine.root.make_parents(self.home)
        machine.programs.run(self.argv)
        if self.secret is not None:
            program, line = self.secret
            machine.programs.run((program, "--encrypted"), f"{line}\n".encode())
        machine.names.forget()


class WriteKeys(NamedTuple):
    """Write the keys a user may log in with by ssh."""

    at: Path
    user: str
    keys: tuple[str, ...]

    def describe(self) -> str:
        return f"write {len(self.keys)} ssh {'key' if len(self.keys) == 1 else 'keys'} of user {self.user}"

    def perform(self, machine: Machine) -> None:
        account = machine.names.users.get(self.user)
        if account is None:
            raise Refused(f"there is no user '{self.user}'")
        data = "\n".join(self.keys).encode("utf-8", "surrogatepass") + b"\n"
        write_keys(machine.root, account, choose_config_keys_file(), data)


def plan(config: Config, root: Root, names: Names, programs: Programs) -> Iterator[Action | Problem]:
    """What to do for ``passwd``, groups before users, and which of the programs for it are missing."""
    missing: set[str] = set()
    for step in _accounts(config, root, names):
        yield step
        if isinstance(step, RunProgram):
            for program in (step.argv[0], *((step.secret[0],) if step.secret is not None else ())):
                if program not in missing and programs.find(program) is None:
                    yield explain_missing(program, step.at)
                missing.add(program)


def _accounts(config: Config, root: Root, names: Names) -> Iterator[Action | Problem]:
    passwd = config.passwd
    if not (passwd.users or passwd.groups):
        return
    for path in ACCOUNT_FILES:
        yield from check_writable(root.see(path), path, ("passwd",))
    for index, group in enumerate(passwd.groups):
        yield from _group(group, ("passwd", "groups", index), root, names)
    made = {group.name for group in passwd.groups if group.should_exist is not False}
    for index, user in enumerate(passwd.users):
        yield from _user(user, ("passwd", "users", index), root, names, made)


def _group(group: Group, at: Path, root: Root, names: Names) -> Iterator[Action | Problem]:
    yield from _name(group.name, "group", at)
    there = group.name in names.groups
    if group.should_exist is False:
        if there:
            yield RunProgram(at, f"delete group {group.name}", ("groupdel", *_root(root), group.name))
        return
    argv = [*_root(root), *_given("--gid", group.gid), *_given("--password", group.password_hash or None)]
    if there:
        if len(argv) > len(_root(root)):
            yield _run(root, at, f"change group {group.name}", ("groupmod", *argv, group.name))
        return
    if group.system:
        argv.append("--system")
    yield _run(root, at, f"create group {group.name}", ("groupadd", *argv, group.name))


def _user(user: User, at: Path, root: Root, names: Names, made: set[str]) -> Iterator[Action | Problem]:
    yield from _name(user.name, "user", at)
    there = user.name in names.users
    if user.should_exist is False:
        if there:
            yield RunProgram(at, f"delete user {user.name}", ("userdel", "--remove", *_root(root), user.name))
        return
    for index, name in enumerate(user.groups):
        yield from _known_group(name, (*at, "groups", index), names, made)
    if user.primary_group:
        yield from _known_group(user.primary_group, (*at, "primaryGroup"), names, made)
    options = _options(user)
    if there:
        home = ("--home", user.home_dir, "--move-home") if user.home_dir else ()
        argv = (*_root(root), *home, *_password(user, there=True), *options)
        if len(argv) > len(_root(root)):
            yield _run(root, at, f"change user {user.name}", ("usermod", *argv, user.name))
    else:
        argv = (*_root(root), *_creating(user), *_password(user, there=False), *options)
        yield _run(root, at, f"create user {user.name}", ("useradd", *argv, user.name), _home_to_make(user, root))
    if user.ssh_authorized_keys:
        if there:
            path = f"{names.users[user.name].home.rstrip('/')}/{choose_config_keys_file()}"
            yield from check_writable(root.see(path), path, (*at, "sshAuthorizedKeys"))
        yield WriteKeys((*at, "sshAuthorizedKeys"), user.name, user.ssh_authorized_keys)


def _run(root: Root, at: Path, what: str, argv: tuple[str, ...], home: str | None = None) -> RunProgram:
    """A program that gets no hash as an argument, on a running system: its journal keeps command lines, and others
    can see them. Elsewhere arguments are upstream's.
    """
    if not root.is_system or "--password" not in argv:
        return RunProgram(at, what, argv, home)
    position = argv.index("--password") + 1
    secret = argv[position]
    if secret == NO_PASSWORD or any(char in secret for char in ":\n"):  # the program itself refuses those
        return RunProgram(at, what, argv, home)
    program = "chgpasswd" if argv[0].startswith("group") else "chpasswd"
    public = (*argv[:position], NO_PASSWORD, *argv[position + 1 :])
    return RunProgram(at, what, public, home, (program, f"{argv[-1]}:{secret}"))


def _name(name: str, kind: str, at: Path) -> Iterator[Problem]:
    """Upstream lets the program fail; a name that would be an option must not get that far."""
    if not name:
        yield Problem((*at, "name"), f"a {kind} needs a name")
    elif name.startswith("-") or any(char in name for char in ":/\n"):
        yield Problem((*at, "name"), f"'{name}' cannot be the name of a {kind}")


def _known_group(name: str, at: Path, names: Names, made: set[str]) -> Iterator[Problem]:
    if name not in names.groups and name not in made and not name.isdigit():
        hint = find_suggestion(name, {*names.groups, *made}) or "add it to passwd.groups"
        yield Problem(at, f"there is no group '{name}'", hint)


def _creating(user: User) -> tuple[str, ...]:
    return (
        *_given("--home-dir", user.home_dir or None),
        "--no-create-home" if user.no_create_home else "--create-home",
        *(("--no-user-group",) if user.no_user_group else ()),
        *(("--system",) if user.system else ()),
        *(("--no-log-init",) if user.no_log_init else ()),
    )


def _password(user: User, *, there: bool) -> tuple[str, ...]:
    if user.password_hash is None and there:
        return ()
    return ("--password", user.password_hash or NO_PASSWORD)


def _options(user: User) -> tuple[str, ...]:
    return (
        *_given("--uid", user.uid),
        *_given("--comment", user.gecos or None),
        *_given("--gid", user.primary_group or None),
        *_given("--groups", ",".join(user.groups) or None),
        *_given("--shell", user.shell or None),
    )


def _given(option: str, value: object) -> tuple[str, ...]:
    return () if value is None else (option, str(value))


def _root(root: Root) -> tuple[str, ...]:
    return () if root.is_system else ("--root", root.directory)


def _home_to_make(user: User, root: Root) -> str | None:
    if user.no_create_home:
        return None
    return user.home_dir or f"{_homes(root)}/{user.name}"


def _homes(root: Root) -> str:
    """Where useradd makes homes: ``HOME=`` in ``/etc/default/useradd``."""
    try:
        text = root.read("/etc/default/useradd").decode("utf-8", "replace")
    except OSError:
        return "/home"
    homes = [line.partition("=")[2].strip() for line in text.splitlines() if line.startswith("HOME=")]
    return homes[-1] if homes and homes[-1].startswith("/") else "/home"
