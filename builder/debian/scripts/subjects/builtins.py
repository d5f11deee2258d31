"""What the shell itself does: POSIX.1-2024, "Shell Command Language" 2.15, and dash(1)."""

from __future__ import annotations

import re

from builder.debian.scripts.language.control_flow import Exit, Leave, Return, Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.target_system import UNKNOWN, NotModelled
from builder.tree.node import Kind

CONFMODULE = "/usr/share/debconf/confmodule"
# Libraries of shell functions whose functions are commands of ours.
LIBRARIES = frozenset((CONFMODULE, "/lib/lsb/init-functions", "/usr/lib/lsb/init-functions"))
_ESCAPE = re.compile(r"\\(0[0-7]{0,3}|[0-7]{1,3}|.)", re.S)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "a": "\a", "b": "\b", "f": "\f", "v": "\v", '"': '"', "'": "'"}
MAX_WIDTH = 10_000  # characters that printf pads to
_FORMAT = re.compile(r"%(-?[0-9]*(?:\.[0-9]+)?)([sdbciux%])")


def true(shell: Shell, arguments: list[str]) -> Status:
    """``true`` and ``:``."""
    return 0


def false(shell: Shell, arguments: list[str]) -> Status:
    """``false``."""
    return 1


def exit_(shell: Shell, arguments: list[str]) -> Status:
    """``exit [n]``."""
    raise Exit(_number(arguments[0]) if arguments else shell.status)


def return_(shell: Shell, arguments: list[str]) -> Status:
    """``return [n]``."""
    raise Return(_number(arguments[0]) if arguments else shell.status)


def break_(shell: Shell, arguments: list[str]) -> Status:
    """``break [n]``."""
    raise Leave(_number(arguments[0]) or 1 if arguments else 1, again=False)


def continue_(shell: Shell, arguments: list[str]) -> Status:
    """``continue [n]``."""
    raise Leave(_number(arguments[0]) or 1 if arguments else 1, again=True)


def _number(text: str) -> Status:
    return int(text) if text.isdigit() else None


def shift(shell: Shell, arguments: list[str]) -> Status:
    """``shift [n]``."""
    count = _number(arguments[0]) if arguments else 1
    if shell.state.arguments is None:
        raise NotModelled("how many arguments there are depends on what only a running machine knows")
    if count is None or count > len(shell.state.arguments):
        return 1
    del shell.state.arguments[:count]
    return 0


def set_(shell: Shell, arguments: list[str]) -> Status:
    """``set [-e] [+e] [-- word ...]``."""
    rest = list(arguments)
    while rest and rest[0][:1] in "-+" and rest[0] not in ("-", "--") and rest[0]:
        option = rest.pop(0)
        if option in ("-o", "+o"):
            name = rest.pop(0) if rest else ""
            if name == "errexit":
                shell.state.exit_on_error = option == "-o"
            elif name == "noglob":
                shell.state.no_glob = option == "-o"
            continue
        if "e" in option:
            shell.state.exit_on_error = option[0] == "-"
        if "f" in option:
            shell.state.no_glob = option[0] == "-"
    if rest:
        shell.state.arguments = rest[1:] if rest[0] in ("-", "--") else rest
    return 0


def export(shell: Shell, arguments: list[str]) -> Status:
    """``export``, ``readonly``: all variables are one to us."""
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals:
            shell.assign(name, value)
    return 0


def local(shell: Shell, arguments: list[str]) -> Status:
    """``local name[=value] ...``, ``typeset``, ``declare``."""
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not name.startswith("-"):
            if "-g" not in arguments:
                shell.state.make_local(name, is_bash=shell.is_bash)
            if any(re.fullmatch(r"-[a-z]*A[a-z]*", option) for option in arguments):
                shell.state.associative.add(name)
            if equals:
                shell.assign(name, value)
    return 0


def unset(shell: Shell, arguments: list[str]) -> Status:
    """``unset [-v|-f] name ...``."""
    for name in arguments:
        shell.state.unset(name)
        if "-f" in arguments:
            shell.state.functions.pop(name, None)
            shell.state.unclear.discard(name)
    return 0


def eval_(shell: Shell, arguments: list[str]) -> Status:
    """``eval word ...``."""
    if any(UNKNOWN in argument for argument in arguments):
        raise NotModelled("eval of what is only known on a running machine")
    return shell.run_text(" ".join(arguments))


def exec_(shell: Shell, arguments: list[str]) -> Status:
    """``exec``: redirections alone change nothing that we follow; a command ends the script."""
    if not arguments:
        return 0
    raise Exit(shell.call(arguments))


def command(shell: Shell, arguments: list[str]) -> Status:
    """``command [-v] name``."""
    if arguments and arguments[0] in ("-v", "-V", "-pv"):
        return which(shell, arguments[1:])
    if arguments and arguments[0] == "-p":
        arguments = arguments[1:]
    return shell.call(arguments) if arguments else 0


# Programs of Debian's packaging system, for which build-os stands whether they are in the image or not.
PACKAGING = frozenset(
    ("dpkg", "dpkg-query", "dpkg-divert", "dpkg-statoverride", "dpkg-trigger", "dpkg-maintscript-helper",
     "update-alternatives", "deb-systemd-helper", "deb-systemd-invoke", "update-rc.d", "invoke-rc.d")
)  # fmt: skip
# Of others, for which it stands where they are excluded: to a script they are installed.
OF_EXCLUDED = {"ucf": "ucf", "ucfr": "ucf", "ucfq": "ucf"}
_BUILTINS = frozenset(("test", "[", "echo", "printf", "cd", "read", "true", "false", "command", "eval", "exec"))


def find_program_path(shell: Shell, name: str) -> str | None:
    """Where ``PATH`` leads for a name."""
    if name in _BUILTINS or name in shell.state.functions:
        return name
    place = shell.find_program(name)
    if place is not None:
        return name if "/" in name else place
    short = name.rpartition("/")[2]
    if short in PACKAGING or OF_EXCLUDED.get(short, "") in shell.system.installation.excluded:
        return name if "/" in name else f"/usr/bin/{name}"
    return None


def which(shell: Shell, arguments: list[str]) -> Status:
    """``which`` and ``command -v``."""
    status = 0
    for name in arguments:
        if name.startswith("-"):
            continue
        if UNKNOWN in name:
            return None
        place = find_program_path(shell, name)
        if place is None:
            status = 1
        else:
            shell.say(place + "\n")
    return status


def type_(shell: Shell, arguments: list[str]) -> Status:
    """``type name``."""
    return which(shell, arguments)


def cd(shell: Shell, arguments: list[str]) -> Status:
    """``cd directory``."""
    path = shell.resolve_path(arguments[-1] if arguments else "/root")
    node = shell.system.get(path)
    if node is None or node.kind is not Kind.DIRECTORY:
        return 1
    shell.state.directory = path
    return 0


def pwd(shell: Shell, arguments: list[str]) -> Status:
    """``pwd``."""
    shell.say(shell.state.directory + "\n")
    return 0


def source(shell: Shell, arguments: list[str]) -> Status:
    """``. file``: a library of functions that are commands of ours, or a file of the tree."""
    if not arguments:
        return 2
    path = shell.resolve_path(arguments[0])
    if path in LIBRARIES:
        return 0
    text = shell.system.read(path)
    if text is None:
        return 1
    if UNKNOWN in text:
        raise NotModelled(f"{path} is only known on a running machine")
    try:
        return shell.run_text(text)
    except Return as leave:
        return leave.status


def echo(shell: Shell, arguments: list[str]) -> Status:
    """``echo`` as dash has it: backslashes are read."""
    newline = "\n"
    while arguments and arguments[0] in ("-n", "-e"):
        if arguments[0] == "-n":
            newline = ""
        arguments = arguments[1:]
    text = " ".join(arguments)
    if "\\c" in text:
        text, newline = text.partition("\\c")[0], ""
    shell.say(unescaped(text) + newline)
    return 0


def unescaped(text: str) -> str:
    """Backslash sequences read."""

    def one(match: re.Match[str]) -> str:
        escape = match[1]
        if escape[0] in "01234567":
            return chr(int(escape, 8))
        return _ESCAPES.get(escape, "\\" + escape)

    return _ESCAPE.sub(one, text) if "\\" in text else text


def printf(shell: Shell, arguments: list[str]) -> Status:
    """``printf format [argument ...]``."""
    if arguments and arguments[0] == "--":
        arguments = arguments[1:]
    if not arguments:
        return 2
    template, rest = unescaped(arguments[0]), arguments[1:]
    while True:
        text, used = _formatted(template, rest)
        shell.say(text)
        rest = rest[used:]
        if not used or not rest:
            return 0


def _formatted(template: str, values: list[str]) -> tuple[str, int]:
    """The template once, and how many values it took."""
    used = 0

    def one(match: re.Match[str]) -> str:
        nonlocal used
        width, kind = modest(match[1]), match[2]
        if kind == "%":
            return "%"
        value = values[used] if used < len(values) else ""
        used += 1
        if UNKNOWN in value:
            return value if kind == "s" and not width else UNKNOWN
        if kind in "diux":
            try:
                return f"%{width}{'x' if kind == 'x' else 'd'}" % int(value or "0", 0)
            except ValueError:
                raise NotModelled("printf of what is no number") from None
        return f"%{width}s" % (unescaped(value) if kind == "b" else value)

    return _FORMAT.sub(one, template), used


def modest(width: str) -> str:
    """Width and precision of a format, as they are.

    Raises:
        NotModelled: they ask for more characters than any line has: a script could fill the memory with a word.
    """
    if any(int(number) > MAX_WIDTH for number in re.findall("[0-9]+", width)):
        raise NotModelled(f"a field of {width} characters")
    return width


def read(shell: Shell, arguments: list[str]) -> Status:
    """``read [-r] name ...`` from the standard input."""
    names = [argument for argument in arguments if not argument.startswith("-")] or ["REPLY"]
    if shell.state.input is None or shell.state.input == "":
        for name in names:
            shell.assign(name, "")
        return 1
    if UNKNOWN in shell.state.input:
        raise NotModelled("it reads what is only known on a running machine")
    line, newline, shell.state.input = shell.state.input.partition("\n")
    separators = shell.get_value("IFS")
    if separators in (None, " \t\n"):
        fields = line.split(None, len(names) - 1)
        fields = [fields[0].strip(), *fields[1:]] if fields else []
    else:
        fields = re.split(f"[{re.escape(separators)}]", line, maxsplit=len(names) - 1) if separators else [line]
    for index, name in enumerate(names):
        shell.assign(name, fields[index].rstrip() if index < len(fields) else "")
    return 0 if newline or line else 1


def umask(shell: Shell, arguments: list[str]) -> Status:
    """``umask [octal]``."""
    if not arguments:
        shell.say(UNKNOWN if shell.state.umask is None else f"{shell.state.umask:04o}\n")
    elif re.fullmatch("[0-7]{1,4}", arguments[0]):
        shell.state.umask = int(arguments[0], 8)
    else:
        raise NotModelled("a umask in letters")
    return 0


_ASSIGNED = re.compile(r"\s*(\w+)\s*([-+*/%]?)=(?!=)\s*(.+)", re.S)
_STEPPED = re.compile(r"\s*(?:(\w+)\s*(\+\+|--)|(\+\+|--)\s*(\w+))\s*")


def let(shell: Shell, arguments: list[str]) -> Status:
    """``let expression ...``: a failure if the last one is 0. bash(1)."""
    value = "0"
    for argument in arguments:
        if match := _STEPPED.fullmatch(argument):
            name, sign = match[1] or match[4], (match[2] or match[3])[0]
            before = shell.expander.evaluate_arithmetic(name)
            value = shell.expander.evaluate_arithmetic(f"{before} {sign} 1")
            shell.assign(name, value)
            value = before if match[1] else value
        elif match := _ASSIGNED.fullmatch(argument):
            value = shell.expander.evaluate_arithmetic(f"{match[1]} {match[2]} ({match[3]})" if match[2] else match[3])
            shell.assign(match[1], value)
        else:
            value = shell.expander.evaluate_arithmetic(argument)
    return None if UNKNOWN in value else int(value == "0")


def alias(shell: Shell, arguments: list[str]) -> Status:
    """``alias name=value ...``."""
    for argument in arguments:
        name, _, value = argument.partition("=")
        shell.state.aliases[name] = value
        shell.state.unclear.discard(name)
    return 0


def getopts(shell: Shell, arguments: list[str]) -> Status:
    """``getopts letters name [argument ...]``; one letter at a time, ``OPTIND`` says where we are."""
    if len(arguments) < 2:
        return 2
    letters, name = arguments[:2]
    words = arguments[2:] or shell.get_arguments()
    if any(UNKNOWN in word for word in words):
        raise NotModelled("options that only a running machine knows")
    position = int(shell.get_value("OPTIND") or "1")
    inside = int(shell.get_value("_GETOPTS") or "1")  # which letter of a word like -ab
    word = words[position - 1] if position <= len(words) else ""
    if inside >= len(word) or not word.startswith("-") or word == "--":
        shell.assign("OPTIND", str(position + (word == "--")))
        shell.assign(name, "?")
        return 1
    letter = word[inside]
    last = inside == len(word) - 1
    following, inside = (position + 1, 1) if last else (position, inside + 1)
    shell.state.variables.pop("OPTARG", None)
    if letter not in letters.lstrip(":"):
        shell.assign(name, "?")
    elif letters.partition(letter)[2].startswith(":"):
        taken = word[inside:] if not last else words[position] if position < len(words) else ""
        shell.assign("OPTARG", taken)
        following, inside = position + 1 + last, 1
        shell.assign(name, letter)
    else:
        shell.assign(name, letter)
    shell.assign("OPTIND", str(following))
    shell.assign("_GETOPTS", str(inside))
    return 0


COMMANDS = make_models({
    "true": true, ":": true, "false": false, "exit": exit_, "return": return_, "break": break_, "continue": continue_,
    "shift": shift, "set": set_, "export": export, "readonly": export, "declare": local, "typeset": local,
    "local": local, "unset": unset, "eval": eval_, "exec": exec_, "command": command, "which": which, "type": type_,
    "alias": alias, "getopts": getopts, "let": let,
    "cd": cd, "pwd": pwd, ".": source, "source": source, "echo": echo, "printf": printf, "read": read,
    "umask": umask, "trap": true, "wait": true, "ulimit": true, "hash": true, "sleep": true, "sync": true,
    "shopt": true,
},
   accept_unknown=(
    "echo", "printf", "command", "which", "local", "export", "readonly", "set", "true", ":", "return", "exit", "eval",
))  # fmt: skip
