"""Places that tenants share, such as those for running commands: so many in all, of which one tenant may have a part."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from ahplat.errors import Unavailable


class Places:
    """Who has how many of the places for `what`."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._taken: Counter[str] = Counter()  # by tenant

    def __len__(self) -> int:
        """How many are taken."""
        return self._taken.total()

    @contextmanager
    def taken(self, tenant_id: str, places: int, at_most: int, of_one: int, again_s: int) -> Iterator[None]:
        """Has `places` of them meanwhile. Raises Unavailable where there are `at_most`, or `of_one` tenant has its part."""
        mine = self._taken.get(tenant_id, 0)
        if mine and mine + places > of_one:
            raise Unavailable("overloaded", f"{mine} {self.what} of this tenant", again_s)
        if self._taken.total() + places > at_most:
            raise Unavailable("overloaded", f"{self._taken.total()} {self.what}", again_s)
        self._taken[tenant_id] += places
        try:
            yield
        finally:
            self._taken[tenant_id] -= places
            if not self._taken[tenant_id]:
                del self._taken[tenant_id]
