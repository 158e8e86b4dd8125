"""What all commands have in common: errors in one line, exit status, options with a config's defaults."""

from __future__ import annotations

import dataclasses
import io
import os
import re
import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import click
from click.core import ParameterSource

from pipeline.files import InputError, first_line, one_line
from pipeline.runtime.signals import end_like_ctrl_c
from pipeline.runtime.threads import idle_threads_sleep
from pipeline.runtime.workers import KILLED, lacks_memory

DONE, WITH_FAILURES, UNUSABLE = 0, 1, 2


class _Path(click.Path):
    """A path that has a name: an empty one, as of a variable that is not set, is no place."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not os.fspath(value):
            self.fail("the name is empty; give one (the working folder is .)", param, ctx)
        return super().convert(value, param, ctx)


FOLDER = _Path(path_type=Path, file_okay=False)
FILE = _Path(path_type=Path, dir_okay=False)
ANY_PATH = _Path(path_type=Path)


class Commands(click.Group):
    """A group that turns bad input into one line and exit status 2, and keeps the order of definition.

    Ctrl-C, SIGTERM and SIGHUP are one line too, and exit status 1.
    """

    def main(self, *args: Any, **extra: Any) -> Any:
        # What whoever started us has closed is None.
        sys.stdout, sys.stderr = sys.stdout or _nowhere(), sys.stderr or _nowhere()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # Names of files may hold what the encoding of a terminal or of a log does not.
                stream.reconfigure(errors="backslashreplace")
        idle_threads_sleep()
        with end_like_ctrl_c():
            return super().main(*args, **extra)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _usage_in_one_line():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _usage_in_one_line():
                return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            click.echo(f"stopped: {stop}" if str(stop) else "stopped", err=True)
            ctx.exit(WITH_FAILURES)
        except Exception as error:
            if (told := _told(error, _running(ctx))) is None:
                raise
            click.echo(f"error: {one_line(told)}", err=True)
            ctx.exit(UNUSABLE)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


class _WrongArguments(click.ClickException):
    exit_code = UNUSABLE

    def show(self, file: Any = None) -> None:
        click.echo(f"error: {one_line(self.message)}", file, err=True)


@contextmanager
def _usage_in_one_line() -> Iterator[None]:
    """Within the block wrong arguments, of which click tells in four lines, are an error like any other."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise  # which is the help text
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "gifnet"
        what = error.format_message().rstrip(".")
        raise _WrongArguments(f"{command}: {what[:1].lower()}{what[1:]}; see {command} --help") from None


def _told(error: Exception, running: str) -> str | None:
    """What to tell of an error that is no defect of the program, in one line; None of any other."""
    if isinstance(error, InputError):
        return str(error)
    why = f" ({first_line(error)})" if str(error) else ""
    if isinstance(error, EOFError):
        # Click would take it for the end of the input at a question, and say no more than "Aborted!".
        return f"{running}: a file ends too early{why}; make it again"
    if isinstance(error, BrokenPipeError):
        return None  # the reader of our output has gone; click ends quietly
    if isinstance(error, OSError):
        # A full disk or a folder without write permission is no defect of the program either.
        return f"{error.filename or running}: {error.strerror or error}"
    if isinstance(error, BrokenProcessPool):
        return f"{running}: {KILLED}"
    if lacks_memory(error):
        hint = "give fewer --jobs, smaller batches, shards or images"
        return f"{running}: needs more memory than is free{why}; {hint}"
    return None


def _running(ctx: click.Context) -> str:
    """A group and the command of it that is run."""
    return " ".join(filter(None, [ctx.command_path, ctx.invoked_subcommand]))


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


class TwoNumbers(click.ParamType):
    """Two whole numbers with something between them, which options are given as one word."""

    def __init__(self, name: str, separator: str, wanted: str) -> None:
        self.name, self._separator, self._wanted = name, separator, wanted

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):  # a default
            return value
        if not (match := re.fullmatch(rf"(\d{{1,9}}){self._separator}(\d{{1,9}})", str(value).lower())):
            self.fail(f"{value!r} is not {self._wanted}", param, ctx)
        return int(match[1]), int(match[2])


SIZE = TwoNumbers("HxW", "x", "a size; give rows x columns, such as 480x640")
PART = TwoNumbers("K/N", "/", "a part; give K/N, such as 3/8")


def setting(config: type, name: str, *flags: str, **attributes: Any) -> Callable[[Any], Any]:
    """An option whose default is that of a config's field: defaults live in the dataclasses alone."""
    fields = {field.name: field for field in dataclasses.fields(config)}
    default = fields[name].default
    shown = attributes.pop("show_default", True)
    if isinstance(default, tuple) and shown is True:
        shown = " ".join(str(one).removesuffix(".0") for one in default)
    if isinstance(shown, str):  # as it is typed: click would put it in parentheses
        attributes["help"] += f"  [default: {shown}]"
    return click.option(
        *(flags or (f"--{name.replace('_', '-')}",)),
        default=default,
        show_default=shown is True and default != "",
        **attributes,
    )


def finish(failures: bool) -> None:
    """Leave with the status that says whether everything asked for was done."""
    click.get_current_context().exit(WITH_FAILURES if failures else DONE)


def check_ending(out: Path, ending: str, what: str) -> None:
    """Refuse an output that is not called as its kind is: it could replace a file of another, a picture.

    Raises:
        InputError: ``out`` ends otherwise than in ``ending``; the message asks for ``what``.
    """
    if out.suffix.lower() != ending:
        raise InputError(f"{out}: give {what}, ending in {ending}")


def refuse_idle(names: Collection[str], why: str) -> None:
    """Refuse options of the running command that were given, though they would do nothing.

    Args:
        names: of the parameters.
        why: what follows "has no effect", such as "without --focus thin-lens".

    Raises:
        InputError: one of them stands on the command line.
    """
    context = click.get_current_context()
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if parameter.name in names and given:
            option = "/".join([*parameter.opts, *parameter.secondary_opts])
            raise InputError(f"{option}: has no effect {why}; leave it out")


def run_commands(ctx: click.Context, *commands: Sequence[object]) -> bool:
    """Print and run one command after the other; the first that fails ends it all with its status.

    A dataset that lacks some frames can be used: after such a ``synth`` it goes on, with a word.

    Returns:
        Whether a dataset lacks some, which is what :func:`finish` takes.
    """
    root, failures = ctx.find_root(), False
    for command in commands:
        arguments = [str(argument) for argument in command]
        click.secho(f"\n$ gifnet {shlex.join(arguments)}", bold=True)
        status = _run(root, arguments)
        if status == WITH_FAILURES and arguments[0] == "synth":
            failures = True
            click.echo("some frames were skipped or failed; going on with what was written", err=True)
        elif status:
            ctx.exit(status)
    return failures


def _run(root: click.Context, arguments: list[str]) -> int:
    """The status of one command; what stops it, such as bad input or Ctrl-C, is left to the caller's."""
    assert isinstance(root.command, click.Group)
    name, command, rest = root.command.resolve_command(root, arguments)
    assert command is not None
    try:
        with command.make_context(name, rest, parent=root) as context:
            command.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    return DONE
