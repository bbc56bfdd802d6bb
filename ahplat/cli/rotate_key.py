"""`ah rotate-key`: a new master key, while no server runs."""

import os
from pathlib import Path

import click

from ahplat.cli.folders import data_dir_option
from ahplat.cli.looking import failed
from ahplat.crashpoints import ROTATION, CrashPoints
from ahplat.errors import CannotStart, Unavailable
from ahplat.main import lock_folder
from ahplat.rotation import rotate
from ahplat.sealing import KeyFileBad


@click.command("rotate-key")
@data_dir_option("keys.db")
def rotate_key(data_dir: Path) -> None:
    """Replace master.key by a new one. The server has to be stopped.

    All keys in keys.db are wrapped anew, in one transaction; API keys, variables and all else that is sealed go on as
    they are. Killed half-way, it is run again, or the server started: either ends it first. Backups that are older open
    with the old master key only: it stays beside the new one, as master.key.<8 hex digits>. Make a new backup now, keep
    the old key with the backups' other keys until they have aged out, and remove it here.
    """
    crash = CrashPoints(os.environ.get("AH_TOOL_CRASH_AT", ""), ROTATION)
    try:
        with lock_folder(data_dir):
            count, old = rotate(data_dir, crash)
    except (KeyFileBad, CannotStart) as error:
        failed(str(error))
    except (Unavailable, OSError) as error:
        failed(f"{data_dir} cannot be written ({error}): make room, and run it again")
    click.echo(
        f"{count} keys are wrapped with a new master.key; make a backup now. Older ones open with {old}: keep it elsewhere"
    )
