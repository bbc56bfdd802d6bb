"""`ah backup` and `ah restore`: log and keys, copied beside a server or without one, and put back."""

import os
from pathlib import Path

import click

from ahplat.backups.make import make_backup
from ahplat.backups.pairs import BackupFailed
from ahplat.backups.restore import Wanted
from ahplat.backups.restore import restore as put_back
from ahplat.cli.folders import data_dir_option
from ahplat.cli.looking import failed
from ahplat.clock import SystemClock
from ahplat.config import BACKUPS, DATA_DIR
from ahplat.crashpoints import BACKUP, RESTORE, CrashPoints
from ahplat.errors import CannotStart
from ahplat.main import BUILD, lock_folder

_NICENESS = 10
_folder = click.Path(path_type=Path)
_file = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@data_dir_option("events.db")
@click.option("--to", type=_folder, help=f"Where pairs go; better on another disk.  [default: DATA_DIR/{BACKUPS}]")
def backup(data_dir: Path, to: Path | None) -> None:
    """Copy log and keys while commands run, and prove the copy.

    A pair is a folder with a number; the newest 10 are kept. It was unpacked, its chain checked from the first event to
    the last, every key opened, and a field of every tenant read. The master key is never in it: keep that elsewhere, for
    without it a backup opens nothing. Neither are build logs, volumes, and what is in tenants' databases.

    Exit code 1: it was not done, and the line says why; nothing of it was left.
    """
    os.nice(_NICENESS)  # a server beside it comes first
    clock = SystemClock()
    began, crash = clock.monotonic(), CrashPoints(os.environ.get("AH_TOOL_CRASH_AT", ""), BACKUP)
    try:
        pair = make_backup(data_dir.absolute(), (to or data_dir / BACKUPS).absolute(), clock.now_us(), crash)
        position = pair.about().position
    except BackupFailed as error:
        failed(str(error))
    took_s = clock.monotonic() - began
    click.echo(f"backup of position {position}, {pair.size} bytes in {took_s:.1f} s, verified: {pair.folder}")


@click.command()
@click.argument("backup", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--data-dir", type=_folder, envvar="AH_DATA_DIR", default=DATA_DIR, show_default=True, help="Empty yet.")
@click.option("--master-key", type=_file, help="Copied to DATA_DIR/master.key; without it, it has to be there.")
@click.option("--erased", type=_file, multiple=True, help="More tenants to erase again, an id a line. Repeatable.")
@click.option("--known", default="", help="What `ah verify` said last: refuse an older log, and another history.")
@click.option("--behind-checkpoint", is_flag=True, help="Restore an older log all the same: what came later is lost.")
def restore(
    backup: Path, data_dir: Path, master_key: Path | None, erased: tuple[Path, ...], known: str, behind_checkpoint: bool
) -> None:
    """Put log and keys back into an empty folder.

    BACKUP is a pair, a folder of pairs (the newest is taken), or a folder with events.db and keys.db as Litestream
    restores them. They are proved as `ah backup` does it. Whoever was erased after the backup is erased again: the notes
    of that (`checkpoints/erased` of the lost server) are found in DATA_DIR, beside the backup, and in --erased. Then a
    new epoch begins: containers of the old one are replaced, cursors of it answer 410.

    Killed half-way, it is run again; until then no server starts on the folder. Exit code 1: it was not done, and the
    line says why; the folder is as it was.
    """
    wanted = Wanted(backup.absolute(), data_dir.absolute(), master_key, erased, known, behind_checkpoint)
    crash = CrashPoints(os.environ.get("AH_TOOL_CRASH_AT", ""), RESTORE)
    try:
        with lock_folder(wanted.data_dir):
            done = put_back(wanted, SystemClock().now_us(), BUILD, crash)
    except (BackupFailed, CannotStart) as error:
        failed(str(error))
    click.echo(
        f"restored to position {done.position}, epoch {done.epoch}, {done.tenants} tenants"
        f" ({done.erased} erased again), in {wanted.data_dir}"
    )
