"""Repositories that are not what they should be, as `tests/builds/test_git.py` has them, cloned inside gVisor."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.builds.test_git import (  # noqa: F401 — the same tests, on another cloner
    TENANT,
    Cloner,
    server,
    test_a_clone_that_is_cancelled_leaves_nothing_running,
    test_a_commit_comes_without_history_and_without_gits_own_files,
    test_a_large_repository_is_refused_while_it_comes,
    test_a_link_out_of_the_repository_is_refused,
    test_a_link_within_the_repository_is_kept,
    test_a_password_is_never_asked_for,
    test_a_redirect_is_not_followed,
    test_a_ref_that_is_not_there_is_said_so,
    test_a_repository_that_grows_when_it_is_unpacked_is_refused_before_that,
    test_a_server_that_never_answers_is_given_up,
    test_a_submodule_is_refused_by_name,
    test_too_many_files_are_refused,
    test_what_is_no_repository_is_said_so,
)
from tests.folders import memory_folder
from tests.real.builds.conftest import Yard

pytestmark = pytest.mark.real


@pytest_asyncio.fixture
async def cloner(yard: Yard) -> AsyncIterator[Cloner]:
    with memory_folder() as folder:
        async with yard.builder._awake(TENANT) as daemon:
            made = Cloner(folder, yard.builder._confinement(daemon, "http://127.0.0.1/web"))
            yield made
            made.keyring.close()
        await yard.builder.forget_tenant(TENANT)
