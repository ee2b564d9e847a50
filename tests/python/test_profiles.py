"""Acquirer profiles against a terminal that shares no code with posp.

For each profile a terminal is built whose field table, header, MAC, key records and carriers are written here from the
published descriptions. Every answer is decoded with that table and encoded again to the same bytes, its MAC is computed
by another implementation, and a whole frame that a published table makes under fixed keys is compared byte by byte.
"""

import copy
import unittest
from pathlib import Path

import iso8583
from Crypto.Cipher import DES

from deck import DECK
from laboratory import BooksAgree, Laboratory, Scenario
from pos_crypto import DesKey, Sm4Key, WorkingKeys, cup_mac, encrypt_pin
from pos_spec import SPEC
from terminal import Answer, BadAnswer, Terminal, framed


# Family and frame: a sale of 1.00 with PIN under PIK 11.. 22.. and MAK 33.. 44.. (SM4: 00..0F and 10..1F). The codec of
# posp reads the same file.
FRAMES = Path(__file__).resolve().parents[1] / "data" / "profiles.txt"


def chain(key: DesKey, data: bytes, pad80: bool = False, retail: bool = False) -> bytes:
    """X9.9 (every step with the whole key) or X9.19 (single DES, the last block decrypted and encrypted again)."""
    if pad80:
        data += b"\x80"
    data += bytes(-len(data) % 8)
    value = bytes(8)
    single = DES.new(key._value[:8], DES.MODE_ECB)
    for at in range(0, len(data), 8):
        mixed = bytes(a ^ b for a, b in zip(value, data[at : at + 8]))
        value = single.encrypt(mixed) if retail else key.encrypt(mixed)
    if retail:
        value = single.encrypt(DES.new(key._value[8:], DES.MODE_ECB).decrypt(value))
    return value


def as_hex(value: bytes) -> bytes:
    """The first four bytes as characters."""
    return value.hex().upper()[:8].encode()


class Family(Terminal):
    """A terminal of a family: what differs is overridden, the rest is the baseline's."""

    switches: dict = {}
    spec = SPEC
    head = bytes.fromhex("603200320001")
    equipment = b""  # what stands between the TPDU and the header of requests

    def mac(self, block: bytes) -> bytes:
        return cup_mac(self.keys.mac, block)

    def encode(self, mti: str, fields: dict, *, signed: bool) -> bytes:
        if "26" in fields:
            fields = fields | {"26": f"{self.switches.get('pin_length', 12):02}"}
        message = {"t": mti, **fields}
        if signed:
            message["64"] = "00000000"
        body = bytes(iso8583.encode(message, self.spec)[0])
        return body[:-8] + self.mac(body[:-8]) if signed else body

    def frame(self, body: bytes) -> bytes:
        return framed(self._tpdu + self.equipment + self.head + body)

    def read(self, payload: bytes) -> Answer:
        if payload[:5] != b"\x60" + self._tpdu[3:5] + self._tpdu[1:3]:
            raise BadAnswer("the addresses of the TPDU are not exchanged")
        header, body = payload[5 : 5 + len(self.head)], payload[5 + len(self.head) :]
        if header != self.head:
            raise BadAnswer("the header is not the one that was sent")
        fields, _ = iso8583.decode(body, self.spec)
        mti = fields.pop("t")
        if bytes(iso8583.encode({"t": mti, **fields}, self.spec)[0]) != body:
            raise BadAnswer("the answer does not encode to the same bytes")
        fields.pop("p")
        return Answer(mti, fields, body, header.hex()[5] if header else "0")

    def mac_is_right(self, answer: Answer) -> bool:
        return self.mac(answer.body[:-8]) == answer.body[-8:]


def table(**changed: dict) -> dict:
    """The baseline's table with other lines."""
    spec = copy.deepcopy(SPEC)
    for number, line in changed.items():
        spec[number.removeprefix("f")] |= line
    return spec


class Bare(Family):
    """No header, field 60 in characters, 23 from the left, filler F, retail MAC under double keys, PIN code 06."""

    switches = {
        "header": "none", "field_60": "ascii", "field_23": "left", "pad": "f", "pad_pan": "f",
        "mac": "x9.19-pad80", "mac_key": 16, "pin_length": 6, "settlement": 95,
    }
    head = b""
    spec = table(
        f60={"data_enc": "ascii", "len_count": "bytes"},
        f23={"left_pad": "", "right_pad": "0"},
        f2={"right_pad": "F"}, f32={"right_pad": "F"}, f48={"right_pad": "F"}, f61={"right_pad": "F"},
    )

    def mac(self, block: bytes) -> bytes:
        return as_hex(chain(self.keys.mac, block, pad80=True, retail=True))


class Chained(Family):
    """The header of zeros, 32 from the right, a longer field 60, the eight bytes of a plain chain in field 64."""

    switches = {"header": "000000000000", "field_32": "right", "field_60_max": 19, "mac": "x9.9", "mac_form": "raw"}
    head = bytes(6)
    spec = table(
        f64={"data_enc": "latin-1"},
        f32={"right_pad": "", "left_pad": "0"},
        f60={"max_len": 19},
    )

    def mac(self, block: bytes) -> bytes:
        return chain(self.keys.mac, block)


class Recorded(Family):
    """Behind access equipment; keys in records of 25 bytes; a second reversal is answered 25."""

    switches = {"lri": True, "key_layout": "records", "reversed_again": 25}
    equipment = bytes(range(33))

    def sign_in(self, layout: str = "003") -> Answer:
        fields = self.identity(self.take_trace()) | {"60": self._management60(layout), "63": "01 "}
        answer, _ = self.exchange("0800", fields, signed=False)
        field = bytes.fromhex(answer.fields["62"])
        keys = []
        for at, kind in zip(range(0, len(field), 25), b"123"):
            record = field[at : at + 25]
            wrapped = record[1:9] if not any(record[9:17]) else record[1:17]
            key = DesKey(self.master.decrypt(wrapped))
            if record[0] != kind or record[17:] != key.check_value().hex().upper().encode():
                raise BadAnswer(f"record {kind} is not as laid out")
            keys.append(key)
        self.keys, self.layout, self.must_sign_in = WorkingKeys(*keys), layout, False
        self.batch = int(answer.fields["60"][2:8])
        return answer


class National(Family):
    """SM4 with the digit 3, the PIN in tag A1 of a field 59 with two length digits, keys asked for by 005."""

    switches = {"sm4_digit": 3, "sm4_pin": "59-a1", "field_59": 2, "sm4_sign_in": "005"}

    def sign_in(self, layout: str = "005") -> Answer:
        fields = self.identity(self.take_trace()) | {"60": self._management60("005"), "63": "01 "}
        answer, _ = self.exchange("0800", fields, signed=False)
        field = bytes.fromhex(answer.fields["62"])
        keys = [Sm4Key(self.master.decrypt(field[at : at + 16])) for at in (0, 20, 40)]
        self.keys, self.layout, self.must_sign_in = WorkingKeys(*keys), "006", False
        self.batch = int(answer.fields["60"][2:8])
        return answer

    def payment_fields(self, kind, card, amount, *, pin, **options):
        fields = super().payment_fields(kind, card, amount, pin=pin, **options)
        fields["53"] = fields["53"].replace("4", "3", 1)
        if pin is not None:
            fields.pop("63")
            fields["59"] = "A116" + encrypt_pin(self.keys.pin, pin, card.pan).decode("latin-1")
        return fields


class Whole(unittest.TestCase):
    """A whole request under fixed keys: bytes that stay what they are."""

    def test_requests_under_fixed_keys(self):
        kept = dict(line.split() for line in FRAMES.read_text().splitlines())
        for family in (Bare, Chained, Recorded, National):
            with self.subTest(family.__name__):
                self.assertEqual(golden(family), kept[family.__name__])


def golden(family) -> str:
    """The frame of a sale that a family's terminal makes under fixed keys."""
    terminal = family("127.0.0.1", 1, "898000000000001", "00000001", bytes(range(16)))
    if family is National:
        terminal.keys, terminal.layout = WorkingKeys(Sm4Key(bytes(range(16))), Sm4Key(bytes(range(16, 32)))), "006"
    else:
        pin, mac = bytes([0x11] * 8 + [0x22] * 8), bytes([0x33] * 8 + [0x44] * 8)
        terminal.keys, terminal.layout = WorkingKeys(DesKey(pin), DesKey(mac)), "003"
    fields = terminal.payment_fields("sale", DECK["M01"], 100, pin="123456", trace=17)
    return terminal.frame(terminal.encode("0200", fields, signed=True)).hex().upper()


class Payments(Scenario):
    """A day in one profile: to be run once for each."""

    family = Family
    layout = "003"

    @classmethod
    def setUpClass(cls) -> None:
        sm4 = cls.family is National
        cls.lab = Laboratory(des_terminals=0 if sm4 else 3, sm4_terminals=3 if sm4 else 0, profile=cls.family.switches)
        cls.addClassCleanup(cls.lab.close)

    def spoken(self) -> Family:
        cipher = "sm4" if self.family is National else "des"
        made = self.lab.terminal(cipher, make=self.family)
        self.assert_code(made.sign_in(self.layout), "00")
        return self.watched(made)

    def test_a_day(self):
        terminal = self.spoken()
        sale = self.sold(terminal, 1_000)
        self.assert_code(terminal.void(sale.entry, "123456"), "00")
        kept = self.sold(terminal, 2_000)
        self.assert_code(terminal.refund(kept.entry, 500), "00")
        undone = self.sold(terminal, 3_000)
        self.assert_code(terminal.reverse_entry(undone.entry), "00")
        settled = terminal.settlement_request()
        self.assertEqual(settled[0].code, "00")

    def test_a_reversal_again(self):
        terminal = self.spoken()
        sale = self.sold(terminal, 4_000)
        fields = terminal.reversal_fields(
            terminal.payment_fields("sale", sale.entry.card, 4_000, pin=None, trace=sale.entry.trace), "98"
        )
        codes = [terminal.exchange("0400", fields, signed=True)[0].code for _ in range(2)]
        self.assertEqual(codes, ["00", "25" if self.family is Recorded else "00"])
        terminal.forget(sale.entry)

    def test_totals_that_differ(self):
        terminal = self.spoken()
        self.sold(terminal, 5_000)
        sent = f"{5_001:012}001{0:012}0000" + "0" * 31
        settlement, answer = terminal.settlement_request(sent)
        if self.family is Bare:
            self.assertEqual((settlement.code, answer.fields["48"]), ("95", sent))
        else:
            self.assertEqual((settlement.code, settlement.domestic), ("00", "2"))


class BarePayments(Payments):
    family = Bare


class ChainedPayments(Payments):
    family = Chained


class RecordedPayments(Payments):
    family = Recorded
    layout = "004"


class NationalPayments(Payments):
    family = National
    layout = "005"


def load_tests(loader, _tests, _pattern):
    """The families; what they share is no case of its own."""
    suite = unittest.TestSuite()
    for case in (Whole, BarePayments, ChainedPayments, RecordedPayments, NationalPayments):
        suite.addTests(loader.loadTestsFromTestCase(case))
    return suite


if __name__ == "__main__":
    unittest.main()
