"""The command ``thumbnet``: arguments, progress and messages; the work is done elsewhere.

What does the work is imported by the command that needs it, so that ``--help`` is quick.
"""

from __future__ import annotations

from typing import Annotated

import typer

from codegen import __version__, console
from codegen.cli.app import app

# Each adds its commands, which --help lists in this order.
# isort: off
from codegen.cli import compile_command, running, networks, boards  # noqa: F401
# isort: on

__all__ = ["app", "main"]


def main() -> None:
    """Entry point of the command."""
    console.end_like_ctrl_c()
    app()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"thumbnet {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", envvar="THUMBNET_DEBUG", help="Show the traceback of an unexpected error."
        ),
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    console.state.debug = debug
