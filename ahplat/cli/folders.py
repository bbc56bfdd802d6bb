"""Where a server's data is, for tools that come beside it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ahplat.config import DATA_DIR


def personal_dir() -> Path:
    """Where a user's own data goes (XDG Base Directory)."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "ah"


def data_dir_option(wanted: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--data-dir`; where it is not given, the first of the usual folders that holds the file `wanted`."""

    def found(context: click.Context, option: click.Parameter, given: Path | None) -> Path:
        usual = (DATA_DIR, personal_dir())
        return given or next((folder for folder in usual if (folder / wanted).exists()), DATA_DIR)

    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        envvar="AH_DATA_DIR",
        callback=found,
        help=f"The server's.  [default: {DATA_DIR}, else ~/.local/share/ah]",
    )
