"""Prices, from the operator's own file, and what figures come to by them. They stand in no event and in no view."""

from decimal import Decimal
from pathlib import Path

import msgspec
from msgspec import Struct

from projections.metering import HOUR_S, Figures

MONTH_S = 30 * 24 * HOUR_S
MB_PER_GB, BYTES_PER_GB = 1_024, 10**9


class PricesBad(Exception):
    """The file cannot be used; the text says why."""


class Prices(Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked for each unit; what is not named is free.

    A GB of memory is 1,024 MB, one of storage or network 10**9 bytes, a month 30 days. Reserved is what was kept whether
    or not it was used.
    """

    currency: str
    memory_gb_hour_reserved: Decimal = Decimal(0)
    memory_gb_hour_used: Decimal = Decimal(0)
    cpu_hour_reserved: Decimal = Decimal(0)
    cpu_hour_used: Decimal = Decimal(0)
    build_minute: Decimal = Decimal(0)
    network_gb_out: Decimal = Decimal(0)
    network_gb_in: Decimal = Decimal(0)
    storage_gb_month: Decimal = Decimal(0)

    def of(self, figures: Figures) -> Decimal:
        """What they come to, exactly.

        >>> Prices("EUR", build_minute=Decimal("0.01")).of(Figures(0, 3600, "service", "s", build_s=90))
        Decimal('0.015')
        """
        return (
            self.memory_gb_hour_reserved * figures.reserved_mb_s / (MB_PER_GB * HOUR_S)
            + self.memory_gb_hour_used * figures.memory_mb_s / (MB_PER_GB * HOUR_S)
            + self.cpu_hour_reserved * figures.reserved_milli_s / (1_000 * HOUR_S)
            + self.cpu_hour_used * figures.cpu_us / (1_000_000 * HOUR_S)
            + self.build_minute * figures.build_s / 60
            + self.network_gb_out * figures.tx_bytes / BYTES_PER_GB
            + self.network_gb_in * figures.rx_bytes / BYTES_PER_GB
            + self.storage_gb_month * sum(figures.stored_byte_s.values()) / (BYTES_PER_GB * MONTH_S)
        )


def read_prices(path: Path) -> Prices:
    """From a JSON object. Raises PricesBad."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Prices)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        units = ", ".join(Prices.__struct_fields__[1:])
        raise PricesBad(
            f"{path} holds no prices ({error}); it is a JSON object with currency and any of: {units}"
        ) from error
