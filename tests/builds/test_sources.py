"""Which repositories may be named, and which refs; and that every one that may not is refused over HTTP, with its field."""

import pytest

from ahplat.errors import Rejected
from ahplat.sources import Rules, check_ref, check_url

OWN = Rules(frozenset({"git.example.org", "127.0.0.1:8418", "localhost"}), plain=True)

GOOD = [
    "https://github.com/acme/web",
    "https://github.com/acme/web.git",
    "https://github.com:443/acme/web/",
    "https://git.sr.ht/~acme/web",
    "https://codeberg.org/a/b/c",
    "https://git.example.org:8443/a.git",
    "http://127.0.0.1:8418/a.git",
    "http://localhost/a.git",
]
BAD = [
    "",
    "-u",
    "--upload-pack=touch /tmp/x",
    "github.com/acme/web",
    "git@github.com:acme/web.git",
    "ssh://git@github.com/acme/web",
    "git://github.com/acme/web",
    "ftp://github.com/acme/web",
    "file:///etc/passwd",
    "ext::sh -c id",
    "HTTPS://github.com/acme/web",
    "https://GITHUB.com/acme/web",
    "https://user@github.com/acme/web",
    "https://user:secret@github.com/acme/web",
    "https://github.com@127.0.0.1/acme/web",
    "https://github.com:80/acme/web",
    "https://github.com:8443/acme/web",
    "https://github.com.evil.example/acme/web",
    "https://evil-github.com/acme/web",
    "https://github.com",
    "https://github.com/",
    "https://github.com//acme",
    "https://github.com/acme/../../x",
    "https://github.com/acme/web?x=1",
    "https://github.com/acme/web#main",
    "https://github.com/acme/%2e%2e/x",
    "https://github.com/acme/web\n",
    "https://github.com/acme/web --config=x",
    "https://github.com/acme/ünïcode",
    "https://127.0.0.1/a.git",
    "https://127.0.0.1:8419/a.git",
    "https://169.254.169.254/latest/meta-data",
    "https://[::1]/a.git",
    "https://0x7f000001/a.git",
    "https://2130706433/a.git",
    "https://10.0.0.1/a.git",
    "http://github.com/acme/web",
    "http://git.example.org/a.git",
    "https://github.com/" + "a" * 600,
]


@pytest.mark.parametrize("url", GOOD)
def test_a_repository_that_may_be_named(url: str) -> None:
    assert check_url(url, OWN, "/source_url") == url


@pytest.mark.parametrize("url", BAD)
def test_a_repository_that_may_not_be_named(url: str) -> None:
    with pytest.raises(Rejected) as caught:
        check_url(url, OWN, "/source_url")
    assert caught.value.code in ("source_invalid", "source_forbidden")
    assert [violation.pointer for violation in caught.value.violations] == ["/source_url"]


def test_plain_http_is_for_this_machine_and_only_where_that_is_said() -> None:
    with pytest.raises(Rejected, match="expected https"):
        check_url("http://localhost/a.git", Rules(frozenset({"localhost"})), "/git_url")


@pytest.mark.parametrize("ref", ["", "main", "v1.2.3", "feature/x-1", "refs/heads/main", "a" * 40, "_x", "a.b"])
def test_a_ref_that_may_be_named(ref: str) -> None:
    assert check_ref(ref, "/branch") == ref


@pytest.mark.parametrize(
    "ref",
    [
        "-x",
        "--upload-pack=id",
        "a b",
        "a:b",
        "+main",
        "main^",
        "main~1",
        "@{u}",
        "a..b",
        "a\n",
        "é",
        "*",
        "a" * 256,
        "\0",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        ".x",
        "a/.x",
        "a.",
        "a.lock",
        "a.lock/b",
    ],
)
def test_a_ref_that_may_not_be_named(ref: str) -> None:
    with pytest.raises(Rejected, match="source_invalid"):
        check_ref(ref, "/branch")
