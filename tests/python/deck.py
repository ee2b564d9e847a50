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


@dataclass(frozen=True)
class ChipRead:
    """What a chip gave for one sale: digits 1-2 of field 22, field 55 of the request, of the answer that the
    issuer must give, and of the batch-up with the transaction certificate. Hexadecimal."""

    entry: str
    request: str = field(repr=False)
    answer: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    sequence: str = "001"


# Published laboratory cryptograms of card L01: a sale of 100.00 by insertion (transaction counter 0012, with its
# script 72 in the answer) and one of 12.50 by tap (0013). Each can be used once, in this order.
INSERT = ChipRead(
    "05",
    "9F2608419217144F4F17BD9F2701809F100807010103A00002019F37041A2B3C4D9F36020012950500000480009A03261124"
    "9C01009F02060000000100005F2A02015682027C009F1A0201569F03060000000000009F3303E0F0C89F34034203009F3501"
    "229F1E08504F53504C4142318408A0000003330101019F090200309F410400000124",
    "910AFEC3953EF5A2BC44303072139F180400000001860A04DA9F58050356B34A1A",
    "9F2608B06EAB7939A3EC739F2701409F100807010103600002019F37041A2B3C4D9F36020012950500000480009A03261124"
    "9C01009F02060000000100005F2A02015682027C009F1A0201569F03060000000000009F3303E0F0C89F34034203009F3501"
    "229F1E08504F53504C4142318408A0000003330101019F090200309F4104000001248A023030",
)
TAP = ChipRead(
    "07",
    "9F2608DC67EE54468713439F2701809F100807010103A00000019F37045E6F70819F36020013950500000000009A03261124"
    "9C01009F02060000000012505F2A02015682027C009F1A0201569F03060000000000009F3303E0F0C89F34031F03009F3501"
    "229F1E08504F53504C414231",
)

_CARDS = (
    Card("L01", "6224242000000013", "2912", "220", "123456"),
    Card("L02", "6224242000000021", "2902", "201", "123456", tail="5699031007"),
    Card("L03", "6224242000000039", "2911", "201", "654321"),
    Card("L04", "6224242000000047", "2910", "220", "123456"),
    Card("L10", "6224242000000104", "2401", "220", "123456"),
    Card("L11", "6224242000000112", "2912", "220", "123456"),
    Card("L12", "6212140000000000014", "3006", "201", "888888"),
    # Magnetic cards that the simulator adds to the deck: no chip, so a swipe is no fallback.
    Card("M01", "6224242000000120", "2912", "101", "123456"),
    Card("M02", "6224242000000138", "2912", "101", "123456"),
    Card("M03", "6224242000000146", "2912", "101", "123456"),
    Card("M04", "6224242000000153", "2912", "101", "123456"),
    Card("M05", "6224242000000161", "2912", "101", "123456"),
)

DECK = {card.name: card for card in _CARDS}
