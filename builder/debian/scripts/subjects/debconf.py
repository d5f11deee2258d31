"""debconf without a frontend: every question is answered by the definition, or by the template's default.

Source: debconf-devel(7), which also says what the commands return.
"""

from __future__ import annotations

import re

from builder.debian.control import ControlError, parse_stanza
from builder.debian.scripts.effects import EffectKind
from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.target_system import NotModelled

NOT_ASKED = 30  # db_input: the question is not shown


def read_templates(text: str) -> dict[str, dict[str, str]]:
    """The fields of each template by its name. What cannot be read is no template."""
    templates = {}
    for stanza in text.split("\n\n"):
        if stanza.strip():
            try:
                fields = parse_stanza(stanza.strip("\n") + "\n")
            except ControlError:
                continue
            if "Template" in fields:
                templates[fields["Template"]] = fields
    return templates


def _value(shell: Shell, question: str) -> str | None:
    answers = shell.records.answers
    if ("question", question) in shell.state.shared.unclear:
        raise NotModelled(f"what {question} asks depends on what only a running machine knows")
    if question in answers:
        return answers[question]
    installed = shell.system.installation.answers.get(question)
    if installed is not None:
        return installed
    template = shell.records.templates.get(question)
    if template is None:
        return None
    if shell.unasked and "Default" not in template and template.get("Type") != "boolean":
        raise NotModelled(
            f"what the package's config answers to {question} is not known; 'debconf' in the definition can answer it"
        )
    default = template.get("Default", "")
    return default or ("false" if template.get("Type") == "boolean" else "")


def db_get(shell: Shell, arguments: list[str]) -> Status:
    """``db_get question``: ``RET`` is its value; 10 if there is no such question."""
    value = _value(shell, arguments[0]) if arguments else None
    shell.assign("RET", value or "")
    return 10 if value is None else 0


def db_set(shell: Shell, arguments: list[str]) -> Status:
    """``db_set question value``."""
    if not arguments:
        return 20
    value = " ".join(arguments[1:])
    shell.records.answers[arguments[0]] = value
    shell.assign("RET", "value set")
    shell.system.record(EffectKind.ANSWER, arguments[0], value)
    return 0


def db_input(shell: Shell, arguments: list[str]) -> Status:
    """``db_input priority question``: nobody is asked; of what can be chosen, ``db_go`` takes the first."""
    shell.state.shared.asked.extend(arguments[1:2])
    return NOT_ASKED


def db_go(shell: Shell, arguments: list[str]) -> Status:
    """``db_go``: a question with choices, whose value is none of them, has the first from now on.

    Source: ``Debconf/Element/Noninteractive/Select.pm``.
    """
    for question in shell.state.shared.asked:
        template = shell.records.templates.get(question, {})
        if template.get("Type") == "select":
            choices = _choices(shell, question)
            if choices and _value(shell, question) not in choices:
                shell.records.answers[question] = choices[0]
    shell.state.shared.asked.clear()
    shell.assign("RET", "")
    return 0


def _choices(shell: Shell, question: str) -> list[str]:
    """What can be chosen; the values, not their translations."""
    template = shell.records.templates.get(question, {})
    text = _substituted(shell, question, template.get("Choices-C") or template.get("Choices", ""))
    return [choice for part in re.split(r"(?<!\\),", text) if (choice := part.strip().replace("\\,", ","))]


def _substituted(shell: Shell, question: str, text: str) -> str:
    return re.sub(r"\$\{([^}]+)\}", lambda match: shell.records.substitutions.get((question, match[1]), ""), text)


def db_subst(shell: Shell, arguments: list[str]) -> Status:
    """``db_subst question variable text``: for the texts and choices of a question."""
    if len(arguments) > 1:
        shell.records.substitutions[arguments[0], arguments[1]] = " ".join(arguments[2:])
    shell.assign("RET", "")
    return 0


def db_fget(shell: Shell, arguments: list[str]) -> Status:
    """``db_fget question flag``: nothing was seen before; other flags are as a script set them."""
    question, flag = arguments[:2] if len(arguments) > 1 else ("", "seen")
    shell.assign("RET", "false" if flag == "seen" else shell.records.flags.get((question, flag), "false"))
    return 0


def db_fset(shell: Shell, arguments: list[str]) -> Status:
    """``db_fset question flag value``."""
    if len(arguments) > 2:
        shell.records.flags[arguments[0], arguments[1]] = arguments[2]
    shell.assign("RET", "true")
    return 0


def db_metaget(shell: Shell, arguments: list[str]) -> Status:
    """``db_metaget question field``."""
    if len(arguments) < 2:
        return 20
    fields = {name.lower(): value for name, value in shell.records.templates.get(arguments[0], {}).items()}
    field = arguments[1].lower()
    if field == "owners":
        shell.assign("RET", shell.system.package if arguments[0] in shell.own_questions else "")
        return 0
    # "-c" asks for the text before translation (debconf-devel(7)), which is what the bare field has.
    text = fields.get(field, fields.get(field.removesuffix("-c"), ""))
    shell.assign("RET", _substituted(shell, arguments[0], text))
    return 0


def db_register(shell: Shell, arguments: list[str]) -> Status:
    """``db_register template question``."""
    if len(arguments) == 2 and arguments[0] in shell.records.templates:
        shell.records.templates[arguments[1]] = shell.records.templates[arguments[0]]
    return 0


def db_nothing(shell: Shell, arguments: list[str]) -> Status:
    """Commands that only matter to somebody who is asked."""
    shell.assign("RET", "")
    return 0


def debconf_show(shell: Shell, arguments: list[str]) -> Status:
    """``debconf-show package``: its questions with their answers, none of which was seen. debconf-show(1)."""
    if arguments != [shell.system.package]:
        raise NotModelled("debconf-show of another package")
    for question in sorted(shell.own_questions):
        value = _value(shell, question) or ""
        shell.say(f"  {question}:{' ' if value else ''}{value}\n")
    return 0


def debconf_communicate(shell: Shell, arguments: list[str]) -> Status:
    """Another package's questions by hand."""
    raise NotModelled("debconf-communicate")


COMMANDS = make_models({
    "db_get": db_get, "db_set": db_set, "db_input": db_input, "db_fget": db_fget, "db_fset": db_fset,
    "db_metaget": db_metaget, "db_register": db_register, "db_go": db_go, "db_subst": db_subst,
    "debconf-communicate": debconf_communicate, "debconf-show": debconf_show,
    **{f"db_{name}": db_nothing for name in (
        "version", "capb", "title", "settitle", "stop", "purge", "unregister", "reset",
        "beginblock", "endblock", "progress", "clear", "x_loadtemplatefile", "info", "data", "visible", "exist",
    )},
}, accept_unknown=("db_subst", "db_set"))  # fmt: skip
