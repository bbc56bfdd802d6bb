"""Runs a module of ours in the project's own virtual environment, and makes that environment where it is missing.

What `bin/ah` and `bin/test` begin with, before anything is installed: a program of its own, standard library only, in a
syntax so old that a Python which is too old can still say so. Invariant: a `.venv` with a stamp in it holds what the
lock files that the stamp names say, because the stamp is written last: what was killed half-way is made again.

Theory of operation
-------------------
*When all is well* nothing is hashed and no program is run: the stamp holds size and time of the lock file and of the
environment's Python as they were, and they still are that. Where one differs (a fresh checkout, a patched Python) a
look decides: the same hash and the same Python version, and the stamp is only written anew; else all is made anew.

*In place*, not beside and renamed: pip writes the environment's path into every script that it installs.

*One at a time*: whoever makes it holds an flock on the tree's folder, and so does the pip that it runs. Where only the
parent is killed, the next one waits until the pip that it left behind has ended.

*The developers' environment* is the same one: their lock holds all that the other one holds (`bin/lock` sees to it), so
it satisfies both, and where it was there it is made again.
"""

# ruff: noqa: PTH100, PTH105, PTH108, PTH110, PTH116, PTH119, PTH120, PTH123
# (pathlib is slow to import, and this comes before everything else; so come imports that only the making needs)

import os
import sys

TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OLDEST = (3, 11)
RUN = "requirements.lock"
DEVELOP = "requirements-dev.lock"
SATISFIES = {RUN: (RUN,), DEVELOP: (DEVELOP, RUN)}
PYTHON = ".venv/bin/python"
STAMP = ".venv/ahplat.stamp"  # a line each: name, size, mtime_ns, identity
STEP_TIMEOUT_S = 1800
EXIT_MISSING = 2
EXIT_INTERRUPTED = 130


class Unmade(Exception):
    """The environment could not be made; says why and what helps."""


def start(module: str, lock: str = RUN, tree: str = TREE) -> None:
    """Becomes `python -m module` with our own arguments; ends with code 2 where that cannot be, with 130 on Ctrl-C."""
    if sys.version_info < OLDEST:
        wanted, found = (".".join(str(part) for part in version[:2]) for version in (OLDEST, sys.version_info))
        say(f"Python {wanted} or newer is needed, this is {found}: install it, and run `python{wanted} {sys.argv[0]}`")
        sys.exit(EXIT_MISSING)
    try:
        if not is_current(tree, lock):
            make_current(tree, lock)
    except Unmade as reason:
        say(str(reason))
        sys.exit(EXIT_MISSING)
    except KeyboardInterrupt:
        say("interrupted; the next run makes the virtual environment from the beginning")
        sys.exit(EXIT_INTERRUPTED)
    os.environ["PYTHONPATH"] = tree
    # -P: a folder that we are called from holds no module of ours, whatever its files are named
    os.execv(f"{tree}/{PYTHON}", [f"{tree}/{PYTHON}", "-P", "-m", module, *sys.argv[1:]])  # noqa: S606 — argv, no shell


def is_current(tree: str, lock: str) -> bool:
    """Whether the environment is what `lock` says, as far as size and time tell."""
    stamp = read_stamp(tree)
    return all(name in stamp and stamp[name][0] == looks(f"{tree}/{name}") for name in (PYTHON, lock))


def make_current(tree: str, lock: str) -> None:
    """Makes the environment, or waits for who is making it, or finds that it is what `lock` says after all."""
    import fcntl

    holder = os.open(tree, os.O_RDONLY)
    try:
        try:
            fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("the virtual environment is being made by another one; waiting for it …")
            fcntl.flock(holder, fcntl.LOCK_EX)
        if not is_current(tree, lock):
            look_or_make(tree, lock, holder)
    finally:
        os.close(holder)


def look_or_make(tree: str, lock: str, holder: int) -> None:
    """Writes the stamp anew where hash and version are still the same, and makes the environment where they are not."""
    stamp = read_stamp(tree)
    seen = {name: entry(tree, name) for name in stamp}
    same = {name: seen[name] for name in stamp if seen[name][1] == stamp[name][1]}
    if PYTHON not in same or lock not in same:
        make(tree, DEVELOP if DEVELOP in stamp else lock, holder)
        return
    try:
        write_stamp(tree, same)
    except OSError:
        return  # not ours to write, and good all the same: the next start looks again


def make(tree: str, lock: str, holder: int) -> None:
    """Makes the environment from nothing, and stamps it. Raises Unmade."""
    from importlib.util import find_spec

    if find_spec("venv") is None or find_spec("ensurepip") is None:
        raise Unmade(f"{sys.executable} has no module venv or ensurepip: `apt install python3-venv` brings both")
    say(f"making the virtual environment from {lock} (once, about 10 s) …")
    made_from = {name: entry(tree, name) for name in SATISFIES[lock]}
    options = ["--require-hashes", "--only-binary=:all:", "--quiet", "--no-input", "--disable-pip-version-check"]
    try:
        if os.path.exists(f"{tree}/{STAMP}"):
            os.unlink(f"{tree}/{STAMP}")
        step([sys.executable, "-I", "-m", "venv", "--clear", f"{tree}/.venv"], holder, "may .venv be written?")
        pip = [f"{tree}/{PYTHON}", "-I", "-m", "pip", "install", *options, "-r", f"{tree}/{lock}"]
        step(pip, holder, "is the package index there (PIP_INDEX_URL, PIP_PROXY, pip.conf)?")
        write_stamp(tree, {PYTHON: entry(tree, PYTHON), **made_from})
    except OSError as error:
        raise Unmade(f"{tree}/.venv could not be made: {error}") from None


def step(argv: "list[str]", holder: int, hint: str) -> None:
    """Runs one program to its end, quietly. Raises Unmade, after showing what it said."""
    from subprocess import DEVNULL, PIPE, STDOUT, TimeoutExpired, run

    environ = dict(os.environ, PIP_USER="0")
    try:
        done = run(  # noqa: S603 — argv, no shell
            argv, env=environ, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, pass_fds=(holder,), timeout=STEP_TIMEOUT_S
        )
    except TimeoutExpired:
        raise Unmade(f"`python {' '.join(argv[2:4])}` did not end within {STEP_TIMEOUT_S} s; {hint}") from None
    if done.returncode:
        sys.stderr.write(done.stdout.decode(errors="replace"))
        raise Unmade(f"`python {' '.join(argv[2:4])}` failed with code {done.returncode}, see above; {hint}")


def entry(tree: str, name: str) -> "tuple[str, str]":
    """What the stamp says of one file. Looks first, then reads: what changes in between is seen the next time."""
    return looks(f"{tree}/{name}"), identity(f"{tree}/{name}")


def looks(path: str) -> str:
    """Size and time of a file, links followed; "" where none can be seen."""
    try:
        found = os.stat(path)
    except OSError:
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"


def identity(path: str) -> str:
    """What must stay the same: the version of the environment's Python, the hash of a lock file. "" where it is not."""
    try:
        if path.endswith(PYTHON):
            from subprocess import DEVNULL, run

            ask = [path, "-I", "-S", "-c", "import sys; print(sys.implementation.cache_tag)"]
            return run(ask, stdin=DEVNULL, capture_output=True).stdout.decode().strip()  # noqa: S603 — argv, no shell
        from hashlib import sha256

        with open(path, "rb") as file:
            return sha256(file.read()).hexdigest()
    except OSError:
        return ""


def read_stamp(tree: str) -> "dict[str, tuple[str, str]]":
    """What the environment was made from: name → (looks, identity). Empty where it is not made."""
    try:
        with open(f"{tree}/{STAMP}", encoding="utf-8") as file:
            rows = [line.split() for line in file]
    except OSError:
        return {}
    return {row[0]: (f"{row[1]} {row[2]}", row[3]) for row in rows if len(row) == 4}


def write_stamp(tree: str, entries: "dict[str, tuple[str, str]]") -> None:
    """Says what the environment was made from, in one rename."""
    with open(f"{tree}/{STAMP}.new", "w", encoding="utf-8") as file:
        file.writelines(f"{name} {seen} {known}\n" for name, (seen, known) in entries.items())
    os.replace(f"{tree}/{STAMP}.new", f"{tree}/{STAMP}")


def say(line: str) -> None:
    """One line to the person at the terminal."""
    print(f"{os.path.basename(sys.argv[0])}: {line}", file=sys.stderr, flush=True)
