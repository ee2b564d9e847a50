"""Cards of the public UnionPay lab deck that a magnetic terminal can use. None is a real account."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Card:
    """A card as a reader and its holder know it."""

    name: str
    pan: str = field(repr=False)
    expiry: str  # YYMM
    service: str
    pin: str = field(repr=False)
    tail: str = field(default="0000000123", repr=False)

    @property
    def track2(self) -> str:
        """Track 2 with the separator `D`."""
        return f"{self.pan}D{self.expiry}{self.service}{self.tail}"

    @property
    def has_chip(self) -> bool:
        """The service code asks for the chip: a swipe is a fallback."""
        return self.service[0] in "26"


_CARDS = (
    Card("L01", "6224242000000013", "2912", "220", "123456"),
    Card("L02", "6224242000000021", "2902", "201", "123456", tail="5699031007"),
    Card("L03", "6224242000000039", "2911", "201", "654321"),
    Card("L04", "6224242000000047", "2910", "220", "123456"),
    Card("L10", "6224242000000104", "2401", "220", "123456"),
    Card("L11", "6224242000000112", "2912", "220", "123456"),
    Card("L12", "6212140000000000014", "3006", "201", "888888"),
)

DECK = {card.name: card for card in _CARDS}
