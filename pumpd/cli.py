"""The command `pumpd`: puts the groups of commands together, and turns errors into words and an exit code."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable, Sequence

from cyclopts import App, CycloptsError, Parameter
from rich.text import Text

from pumpd.commands.alarms import alarms
from pumpd.commands.demo import demo
from pumpd.commands.journal import journal
from pumpd.commands.plan import plan
from pumpd.commands.probe import probe
from pumpd.commands.reach import DONE, USAGE, Failed
from pumpd.commands.replay import replay
from pumpd.commands.screen import NOT_CERTIFIED, err
from pumpd.commands.session import session, stop
from pumpd.commands.setup import check_config, drivers, run
from pumpd.commands.watch import watch

INTERRUPTED = 130  # what shells use for a program ended by Ctrl-C

app = App(
    name="pumpd",
    help=f"""Supervises infusion sessions: talks to the pump, enforces the planned rate, tells displays and recorders.

    {NOT_CERTIFIED}

    See it run, with a simulated pump:  pumpd demo

    Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no daemon answers.
    """,
    help_format="plaintext",
    default_parameter=Parameter(negative=()),  # --no-yes and --empty-step would only puzzle
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)

GROUPS: dict[str, tuple[Callable[..., object], ...]] = {
    "Try and plan": (demo, plan, replay),
    "The station": (run, check_config, drivers, probe),
    "At the bed": (stop, watch),
}
for group, commands in GROUPS.items():
    for command in commands:
        app.command(command, group=group)
app.command(session)
app.command(alarms)
app.command(journal)
app.register_install_completion_command(help="Let the shell complete pumpd's commands and options.")


def call(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    try:
        code = app(arguments, exit_on_error=False, error_console=err)
    except CycloptsError:
        return USAGE
    except Failed as failure:
        for line in str(failure).splitlines():
            err.print(Text.assemble(("pumpd: ", "bold red"), line), soft_wrap=True)
        return failure.code
    except (KeyboardInterrupt, asyncio.CancelledError):  # Ctrl-C; a SIGTERM that a command turned into an orderly end
        err.print()  # below the terminal's own ^C
        return INTERRUPTED
    return code if isinstance(code, int) else DONE


def main() -> None:
    """Entry point of the console script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without a sign for ✓ must not end an order
    sys.exit(call())


if __name__ == "__main__":
    main()
