"""Images of the embedded engine: folders, what names them, what is in them, and how they are started.

`ah/hello` comes with the package; `ah/<name>:<build>` is `<images>/<name>/<build>`, as a build left it. Invariant: the
digest is a function of paths, executable bits and contents alone, so the same tree has the same digest on any machine,
and a pinned reference runs exactly that tree or nothing.
"""

import hashlib
import re
import shlex
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from ahplat import limits
from ahplat.engines.engine import Image
from ahplat.errors import Rejected

BUILTIN = Path(__file__).parents[1] / "images"
REFERENCE = re.compile(
    r"(?P<name>ah/(?P<folder>[a-z0-9][a-z0-9._-]{0,127}))"
    r"(:(?P<build>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?"
    r"(@(?P<digest>sha256:[0-9a-f]{64}))?"
)
STARTS = "a Procfile with `web:`, main.py, app.py, a package.json with a start script, or index.html"
READ_BYTES = 1024 * 1024


class PackageJson(msgspec.Struct, frozen=True):
    scripts: dict[str, str] = {}


def fetch(images: Path, reference: str, cancelled: Callable[[], bool]) -> Image:
    """Finds the folder and reads it whole. Blocks. Raises Rejected image_not_found, image_unusable, cancelled."""
    folder, wanted = _parse(images, reference)
    try:
        found = digest(folder, cancelled)
    except OSError as error:
        raise Rejected("image_unusable", f"{reference} could not be read: {error}") from error
    if wanted is not None and wanted != found:
        raise Rejected("image_not_found", f"{reference}: expected {wanted}, the folder is {found} by now")
    if _procfile(folder, "worker") is None:
        command(folder, port=1)
    return Image(reference=reference, digest=found, pinned=f"{reference.partition('@')[0]}@{found}")


def locate(images: Path, reference: str) -> Path:
    """The folder that a reference names, pinned or not."""
    return _parse(images, reference)[0]


def _parse(images: Path, reference: str) -> tuple[Path, str | None]:
    match = REFERENCE.fullmatch(reference)
    if match is None:
        raise Rejected(
            "image_not_found",
            "the embedded engine runs folders: ah/hello, or what a build made of a git repository; "
            f"got {reference!r}; start the server with --engine docker for container images",
        )
    folder, build = match["folder"], match["build"]
    path = BUILTIN / folder if build in (None, "latest") else images / folder / build
    if not path.is_dir():
        raise Rejected("image_not_found", f"{reference!r}: expected the folder of a build, there is none")
    return path, match["digest"]


def digest(folder: Path, cancelled: Callable[[], bool]) -> str:
    """sha256 over the sorted tree; compiled Python is left out, which whoever installs or runs the folder may leave."""
    whole = hashlib.sha256()
    for path in sorted(_entries(folder)):
        if cancelled():
            raise Rejected("cancelled", f"reading {folder.name} was cancelled")
        kind, content = _content(path)
        whole.update(f"{kind} {content} {path.relative_to(folder)}\0".encode("utf-8", "surrogateescape"))
    return f"sha256:{whole.hexdigest()}"


def _entries(folder: Path) -> Iterator[Path]:
    for count, path in enumerate(folder.rglob("*")):
        if count == limits.FOLDER_IMAGE_ENTRIES:
            raise Rejected("image_unusable", f"expected at most {count} files in an image, {folder.name} has more")
        if "__pycache__" not in path.relative_to(folder).parts:
            yield path


def _content(path: Path) -> tuple[str, str]:
    """What kind of entry it is and the hash of what is in it, in git's terms: a link is its target, never followed."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return "link", hashlib.sha256(bytes(path.readlink())).hexdigest()
    if stat.S_ISDIR(mode):
        return "folder", "-"
    if not stat.S_ISREG(mode):
        raise Rejected("image_unusable", f"expected files, folders and links in an image, found {path.name}")
    with path.open("rb") as file:
        return "program" if mode & stat.S_IXUSR else "file", hashlib.file_digest(file, "sha256").hexdigest()


def command(folder: Path, port: int) -> list[str]:
    """The argv that starts the folder as a service, with `port` 0 as a worker. Raises Rejected image_unusable.

    Where it listens it finds in PORT, which is not `port`: instances of one service are beside each other here.
    What a Procfile or a package.json says is a line for the shell, as on other platforms; it runs as the tenant's code.
    """
    line = _procfile(folder, "web" if port else "worker") or _procfile(folder, "web")
    if line:
        return ["/bin/sh", "-c", line]
    for name in ("main.py", "app.py"):
        if (folder / name).is_file():
            return [sys.executable, name]
    script = _start_script(folder)
    if script:
        return ["/bin/sh", "-c", f'PATH="$PWD/node_modules/.bin:$PATH"; {script}']
    if (folder / "index.html").is_file():
        return ["/bin/sh", "-c", f'exec {shlex.quote(sys.executable)} -m http.server "$PORT" --bind 127.0.0.1']
    raise Rejected("image_unusable", f"expected {STARTS}; found none in {folder.name}")


def _procfile(folder: Path, process: str) -> str | None:
    try:
        lines = (folder / "Procfile").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    found = (line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == process)
    return next(found, None)


def _start_script(folder: Path) -> str | None:
    try:
        return msgspec.json.decode((folder / "package.json").read_bytes(), type=PackageJson).scripts.get("start")
    except OSError:
        return None
    except msgspec.MsgspecError as error:
        raise Rejected("image_unusable", f"expected a package.json with scripts by name, found: {error}") from error
