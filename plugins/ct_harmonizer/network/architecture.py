"""How large a generator is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Architecture:
    """Widths of the generator. The defaults are the full one; `SMALL` trains on a processor."""

    widths: tuple[int, ...] = (48, 96, 192, 384, 768)  # of Gamma's levels
    maps: int = 8  # that Gamma hands on, at full resolution
    omega: int = 8  # maps of the MTF
    output: int = 16  # of O's hidden layer

    @property
    def multiple(self) -> int:
        """Images are padded to a multiple of this."""
        return int(2 ** len(self.widths))


FULL = Architecture()
SMALL = Architecture(widths=(24, 48, 96, 128), maps=4, omega=4, output=8)
