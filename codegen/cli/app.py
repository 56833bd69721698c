"""The application, and what its commands have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="thumbnet",
    help="A trained MobileNet in ONNX goes in, verified int8 C for Cortex-M comes out.",
    epilog="Example: thumbnet compile --core cortex-m4 -o build/demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Out = Annotated[Path, typer.Argument(help="Folder that `thumbnet compile` made.", metavar="OUT")]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="Use at most so many images, evenly spaced."),
]
