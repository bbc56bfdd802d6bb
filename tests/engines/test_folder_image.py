"""Images that are folders: what names them, what their digest depends on, how they are started."""

import sys
from pathlib import Path

import pytest

from ahplat import limits
from ahplat.engines import folder_image
from ahplat.engines.folder_image import command, digest, fetch
from ahplat.errors import Rejected
from tests.engines.contract import never


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.fixture
def build(images: Path) -> Path:
    folder = images / "shop" / "b1"
    (folder / "lib").mkdir(parents=True)
    (folder / "main.py").write_text("print('hello')")
    (folder / "lib" / "one.py").write_text("")
    return folder


def refusal(images: Path, reference: str) -> Rejected:
    with pytest.raises(Rejected) as refused:
        fetch(images, reference, never)
    return refused.value


def test_hello_comes_with_the_package(images: Path) -> None:
    image = fetch(images, "ah/hello", never)
    assert image.pinned == f"ah/hello@{image.digest}"
    assert fetch(images, "ah/hello:latest", never).digest == image.digest


def test_a_build_is_named_by_folder_and_build(images: Path, build: Path) -> None:
    image = fetch(images, "ah/shop:b1", never)
    assert image.pinned == f"ah/shop:b1@{digest(build, never)}"
    assert fetch(images, image.pinned, never).pinned == image.pinned


def test_a_container_image_is_refused_with_what_there_is_instead(images: Path) -> None:
    error = refusal(images, "nginx")
    assert error.code == "image_not_found"
    for word in ("ah/hello", "git repository", "'nginx'", "--engine docker"):
        assert word in error.detail


@pytest.mark.parametrize(
    "reference", ["ah/nobody", "ah/shop", "ah/shop:b2", "ah/../shop:b1", "ah/shop:..", "ah/shop/b1"]
)
def test_what_no_build_made_is_not_found(images: Path, build: Path, reference: str) -> None:
    assert refusal(images, reference).code == "image_not_found"


def test_a_pinned_folder_that_changed_is_not_found(images: Path, build: Path) -> None:
    image = fetch(images, "ah/shop:b1", never)
    (build / "main.py").write_text("print('other')")
    error = refusal(images, image.pinned)
    assert error.code == "image_not_found"
    assert image.digest in error.detail
    assert digest(build, never) in error.detail


def test_the_digest_sees_contents_names_links_and_what_is_executable(build: Path) -> None:
    seen = [digest(build, never)]
    (build / "lib" / "one.py").write_text("1")
    seen.append(digest(build, never))
    (build / "lib" / "one.py").rename(build / "lib" / "two.py")
    seen.append(digest(build, never))
    (build / "lib" / "two.py").chmod(0o755)
    seen.append(digest(build, never))
    (build / "link").symlink_to("/etc/passwd")
    seen.append(digest(build, never))
    (build / "empty").mkdir()
    seen.append(digest(build, never))
    assert len(set(seen)) == len(seen)


def test_the_digest_does_not_see_compiled_python_or_whose_it_is(build: Path) -> None:
    before = digest(build, never)
    (build / "lib" / "__pycache__").mkdir()
    (build / "lib" / "__pycache__" / "one.pyc").write_bytes(b"x")
    (build / "main.py").chmod(0o600)
    assert digest(build, never) == before


def test_reading_an_image_can_be_cancelled(images: Path, build: Path) -> None:
    with pytest.raises(Rejected) as refused:
        fetch(images, "ah/shop:b1", lambda: True)
    assert refused.value.code == "cancelled"


def test_an_image_has_a_bound(images: Path, build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FOLDER_IMAGE_ENTRIES", 2)
    assert refusal(images, "ah/shop:b1").code == "image_unusable"


STARTS = [
    ({"Procfile": "web: gunicorn app:app\nworker: run", "main.py": ""}, 80, ["/bin/sh", "-c", "gunicorn app:app"]),
    ({"Procfile": "web: serve\nworker: work"}, 0, ["/bin/sh", "-c", "work"]),
    ({"Procfile": "web: serve"}, 0, ["/bin/sh", "-c", "serve"]),
    ({"Procfile": "release: x", "app.py": "", "main.py": ""}, 80, [sys.executable, "main.py"]),
    ({"app.py": "", "index.html": ""}, 80, [sys.executable, "app.py"]),
    (
        {"package.json": '{"name": "x", "scripts": {"start": "node x.js"}}'},
        80,
        ["/bin/sh", "-c", 'PATH="$PWD/node_modules/.bin:$PATH"; node x.js'],
    ),
    (
        {"package.json": "{}", "index.html": ""},
        8080,
        ["/bin/sh", "-c", f'exec {sys.executable} -m http.server "$PORT" --bind 127.0.0.1'],
    ),
]


@pytest.mark.parametrize(("files", "port", "argv"), STARTS)
def test_a_folder_is_started_by_what_it_holds(
    tmp_path: Path, files: dict[str, str], port: int, argv: list[str]
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert command(tmp_path, port) == argv


@pytest.mark.parametrize("files", [{"README": ""}, {"package.json": "["}, {"package.json": '{"scripts": 3}'}])
def test_a_folder_that_cannot_be_started_is_unusable(images: Path, files: dict[str, str]) -> None:
    folder = images / "shop" / "b1"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    assert refusal(images, "ah/shop:b1").code == "image_unusable"


def test_a_folder_with_only_a_worker_can_be_fetched(images: Path) -> None:
    folder = images / "shop" / "b1"
    folder.mkdir(parents=True)
    (folder / "Procfile").write_text("worker: work")
    assert fetch(images, "ah/shop:b1", never).digest == digest(folder, never)


def test_hello_is_in_the_package() -> None:
    assert sorted(path.name for path in (folder_image.BUILTIN / "hello").glob("[!_]*")) == ["Procfile", "main.py"]
