"""First-boot configs: compile, check, plan, apply, merge and convert them.

  build-os config compile --pretty --files-dir files machine.yaml > machine.ign
  build-os config check --json *.yaml
  build-os config check --image out/build.json machine.yaml
  build-os config plan --image out/build.json machine.yaml
  build-os config apply --root DIR machine.yaml
  build-os config merge base.yaml machine.yaml > machine.ign
  build-os config compile --set name=web-1 --output web-1.ign machine.yaml
  build-os config convert machine.ign > machine.yaml

Ignition JSON, Butane YAML and variant: buildos are told apart by their contents; - is standard input.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.config_apply import apply
from builder.cli.config_apply import plan as plan_for_root
from builder.cli.config_image import add_image, plan
from builder.cli.config_image import check as check_against
from builder.cli.values import add_values, read_values
from builder.core.console import Console
from builder.core.errors import InputError
from builder.core.files import write_file

if TYPE_CHECKING:
    from firstboot.config.loaded import Document

HELP = "compile, check, plan, apply, merge and convert first-boot configs"


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    compile_ = actions.add_parser("compile", help="make Ignition JSON of a config")
    compile_.add_argument("file", type=Path, metavar="FILE", help="the config")
    compile_.add_argument("--strict", action="store_true", help="warnings are errors")
    check = actions.add_parser("check", help="say what is wrong with configs, each by its own rules")
    check.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a config")
    check.add_argument("--json", action="store_true", help="one JSON object a file, on standard output")
    check.add_argument("--strict", action="store_true", help="warnings are errors")
    add_image(check, text="also against the image of this build: units, users, paths, ports, programs it has")
    plan = actions.add_parser("plan", help="say what a first boot would do with a config, step by step")
    plan.add_argument("file", type=Path, metavar="FILE", help="the config")
    which = plan.add_mutually_exclusive_group(required=True)
    add_image(which, text="the image of this build")
    which.add_argument("--root", type=Path, metavar="DIR", help="what would be done to this directory instead")
    plan.add_argument("--json", action="store_true", help="one JSON object, on standard output")
    apply = actions.add_parser("apply", help="carry a config out on a directory: for containers and tests")
    apply.add_argument("file", type=Path, metavar="FILE", help="the config")
    apply.add_argument("--root", type=Path, metavar="DIR", required=True, help="the directory to take for /")
    apply.add_argument("--json", action="store_true", help="one JSON object, on standard output")
    merge = actions.add_parser("merge", help="make one Ignition config of several")
    merge.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a config; later ones win")
    merge.add_argument(
        "--version",
        default="lowest",
        metavar="VERSION",
        help="of Ignition: 3.4.0, ... (default: lowest, the first that can say all of it)",
    )
    convert = actions.add_parser("convert", help="Ignition JSON to Butane YAML, or the other way")
    convert.add_argument("file", type=Path, metavar="FILE", help="the config")
    convert.add_argument(
        "--variant",
        choices=("fcos", "flatcar", "r4e", "fiot", "buildos"),
        default="fcos",
        help="the variant of YAML (default: fcos)",
    )
    actions.add_parser("reference", help="print the reference page of all settings")
    actions.add_parser("schema", help="print the JSON Schema of first-boot configs, for editors")
    for action in (compile_, check, plan, apply, merge, convert):
        add_values(action)
        action.add_argument("--files-dir", "-d", type=Path, metavar="DIR", help="where the config's local files are")
    for action in (compile_, merge, convert):
        action.add_argument("--pretty", "-p", action="store_true", help="JSON with line breaks")
        action.add_argument("--output", "-o", type=Path, metavar="FILE", help="write it there, for nobody else to read")
        action.add_argument("--show-secrets", action="store_true", help="print a config that has secrets in it")


def run(args: argparse.Namespace, console: Console) -> int:
    """Do what is asked; results are on standard output."""
    match args.action:
        case "compile":
            return _compile(args, console)
        case "check":
            return _check(args) if args.image is None else check_against(args, console)
        case "plan":
            return plan(args, console) if args.root is None else plan_for_root(args, console)
        case "apply":
            return apply(args, console)
        case "merge":
            return _merge(args, console)
        case "convert":
            return _convert(args, console)
        case "reference":
            from builder.provisioning.reference import render_reference

            sys.stdout.write(render_reference())
            return 0
        case "schema":
            from builder.provisioning.schema import make_schema_text

            sys.stdout.write(make_schema_text())
            return 0
        case _:
            raise InputError("say what to do with configs", hint="compile, check, plan, apply, merge or convert")


def _compile(args: argparse.Namespace, console: Console) -> int:
    from builder.provisioning.convert import format_json, format_yaml
    from builder.provisioning.reading import require_usable

    document = _read_one(args)
    for warning in require_usable(document, strict=args.strict):
        console.warn(warning)
    data = document.compile()
    text = format_json(data, pretty=args.pretty) if document.wrap is None else format_yaml(data)
    _write(args, text, document.secrets)
    return 0


def _read_one(args: argparse.Namespace) -> Document:
    from builder.provisioning.reading import read_document
    from builder.provisioning.values import require_declared

    values = read_values(args)
    document = read_document(args.file, args.files_dir, values)
    require_declared(values, [document.located])
    return document


def _write(args: argparse.Namespace, text: str, secrets: Iterable[str]) -> None:
    """Put a result where it is wanted. Secrets are never on a terminal, or in the log of a pipeline, by accident."""
    if args.output is not None:
        write_file(args.output, text.encode("utf-8", "surrogatepass"), mode=0o600, durable=True)
        return
    names = sorted(secrets)
    if names and not args.show_secrets:
        raise InputError(
            f"the result has secrets in it: {', '.join(names)}",
            hint="--output FILE writes it for you alone, --show-secrets prints it",
        )
    sys.stdout.write(text)


def _check(args: argparse.Namespace) -> int:
    from builder.provisioning.document_check import check_document
    from builder.provisioning.reading import choose_verdict, make_json_object
    from builder.provisioning.values import require_declared
    from firstboot.config.text import render

    failing = ("error", "warn") if args.strict else ("error",)
    status = 0
    values = read_values(args)
    checked = [(path, *check_document(path, args.files_dir, values)) for path in args.files]
    require_declared(values, [located for _, located, _ in checked])
    for path, located, problems in checked:
        verdict = choose_verdict(problems)
        if args.json:
            sys.stdout.write(json.dumps(make_json_object(str(path), located, problems)) + "\n")
        else:
            sys.stdout.write(f"{path}: {verdict}\n")
            sys.stderr.write(render(located, problems) + "\n" if problems else "")
        if verdict in failing:
            status = InputError.exit_code
    return status


def _merge(args: argparse.Namespace, console: Console) -> int:
    from builder.provisioning.convert import format_json
    from builder.provisioning.older_versions import convert_to_version
    from builder.provisioning.reading import merge_documents, read_document
    from builder.provisioning.values import require_declared

    values = read_values(args)
    documents = [read_document(path, args.files_dir, values) for path in args.files]
    require_declared(values, [document.located for document in documents])
    merged, warnings = merge_documents(documents)
    data = convert_to_version(merged, args.version)
    for warning in warnings:
        console.warn(warning)
    _write(args, format_json(data, pretty=args.pretty), {name for document in documents for name in document.secrets})
    return 0


def _convert(args: argparse.Namespace, console: Console) -> int:
    from builder.provisioning.convert import convert_to_butane, format_json
    from builder.provisioning.reading import require_usable

    document = _read_one(args)
    for warning in require_usable(document, strict=False):
        console.warn(warning)
    if document.variant == "ignition":
        assert document.config is not None
        text = convert_to_butane(document.config, document.version, args.variant)
    else:
        text = format_json(document.compile(), pretty=args.pretty)
    _write(args, text, document.secrets)
    return 0
