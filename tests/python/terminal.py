"""A small POS terminal of the UnionPay dialect, unrelated to posp.

It stands on pyiso8583 (messages, by the table in pos_spec.py) and pycryptodome (pos_crypto.py). It signs in,
asks a balance, sells, voids, refunds, reverses, settles with batch-up and signs off. It behaves as the terminal
rules ask: a reversal record is saved before a request leaves, goes out before the next transaction, and every
answer is checked (message type, echoed fields, MAC) before it is believed.

Every answer is decoded and encoded again and must give the same bytes, so each exchange is also a check of the
host's codec by another implementation.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

import iso8583

from deck import Card, ChipRead
from pos_crypto import (
    DesKey,
    Sm4Key,
    WorkingKeys,
    cup_mac,
    encrypt_pin,
    encrypt_track,
    unwrap_keys,
)
from pos_spec import SPEC

APPROVALS = {"00", "10", "11", "A2", "A4", "A5", "A6"}
REVERSAL_DONE = {"00", "12", "25"}
SIGN_IN_AGAIN = {"77", "99", "A0"}
LINES_PER_UPLOAD = 8  # details in one 0320
HEADER = bytes.fromhex("603200320001")


class NotSent(Exception):
    """No connection: nothing left the terminal."""


class NoAnswer(Exception):
    """The request left, no whole answer came."""


class BadAnswer(Exception):
    """An answer came that cannot be believed; `reason` is field 39 of the reversal that follows."""

    def __init__(self, what: str, reason: str = "06"):
        super().__init__(what)
        self.reason = reason


class ReversalBlocked(Exception):
    """A reversal is pending and could not be delivered: no new transaction may begin."""


@dataclass
class Answer:
    """A decoded answer. Its repr shows no field but the response code."""

    mti: str
    fields: dict = field(repr=False)
    body: bytes = field(repr=False)
    requirement: str  # header digit 6: what the host wants done next

    @property
    def code(self) -> str:
        """Field 39."""
        return self.fields.get("39", "")

    @property
    def approved(self) -> bool:
        """A success code; an unknown code is a decline."""
        return self.code in APPROVALS

    def __repr__(self) -> str:
        return f"Answer({self.mti}, 39={self.code})"


@dataclass
class Entry:
    """One line of the local batch, and what a void, refund or reversal of it needs."""

    kind: str
    batch: int
    trace: int
    amount: int  # fen
    card: Card
    date: str = ""  # MMDD, from the answer
    rrn: str = ""
    auth_code: str = ""
    voided: bool = False
    chip: ChipRead | None = None


@dataclass
class Outcome:
    """A finished transaction; the frames are kept so that a test can send them again."""

    answer: Answer
    entry: Entry = field(repr=False)
    request: bytes = field(repr=False)

    @property
    def code(self) -> str:
        """Field 39."""
        return self.answer.code

    @property
    def approved(self) -> bool:
        """See Answer.approved."""
        return self.answer.approved


@dataclass
class PendingReversal:
    """The record that is saved before a reversible request leaves."""

    fields: dict = field(repr=False)
    reason: str = "98"
    tries: int = 0


@dataclass
class Settlement:
    """What came of a settlement: the code of 0510 and the two results of its field 48."""

    code: str
    domestic: str
    foreign: str
    uploaded: int = 0
    end_code: str = ""

    @property
    def balanced(self) -> bool:
        """Both blocks agree."""
        return self.domestic == self.foreign == "1"


@dataclass(frozen=True)
class Kind:
    """A line of the transaction table."""

    mti: str
    processing: str
    message_type: str
    side: str = ""  # where it counts in the batch: debit, credit or nowhere
    reversible: bool = False
    condition: str = "00"  # field 25


KINDS = {
    "balance": Kind("0200", "310000", "01"),
    "sale": Kind("0200", "000000", "22", side="debit", reversible=True),
    "void": Kind("0200", "200000", "23", side="credit", reversible=True),
    "refund": Kind("0220", "200000", "25", side="credit"),
    "preauth": Kind("0100", "030000", "10", reversible=True, condition="06"),
    "preauth_void": Kind("0100", "200000", "11", reversible=True, condition="06"),
    "completion_request": Kind("0200", "000000", "20", side="debit", reversible=True, condition="06"),
    "completion_advice": Kind("0220", "000000", "24", side="debit", condition="06"),
    "completion_void": Kind("0200", "200000", "21", side="credit", reversible=True, condition="06"),
}

# What a reversal repeats of its original.
REVERSED_FIELDS = ("2", "3", "4", "11", "14", "22", "23", "25", "41", "42", "49", "60")
# What an answer must repeat of its request.
ECHOED_FIELDS = ("3", "4", "11", "25", "41", "42", "49")


class Connection:
    """Frames over TCP: a two byte big-endian length that does not count itself, then the frame."""

    def __init__(self, address: tuple[str, int], timeout: float):
        try:
            self._socket = socket.create_connection(address, timeout)
        except OSError as error:
            raise NotSent(str(error)) from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        """Writes bytes as they are."""
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise NoAnswer(str(error)) from error

    def receive(self) -> bytes:
        """One frame without its length."""
        return self._exactly(int.from_bytes(self._exactly(2), "big"))

    def end_of_stream(self) -> bool:
        """Waits until the host closes; False when it sends something instead."""
        try:
            return self._socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def finish_sending(self) -> None:
        """Half-closes: the host sees the end of what we send."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Closes both ways."""
        self._socket.close()

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                more = self._socket.recv(count - len(data))
            except OSError as error:
                raise NoAnswer(str(error)) from error
            if not more:
                raise NoAnswer("the host closed the connection")
            data += more
        return data

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_) -> None:
        self.close()


def framed(payload: bytes) -> bytes:
    """Length and payload."""
    return len(payload).to_bytes(2, "big") + payload


def tlv_read(data: bytes) -> list[tuple[int, bytes]]:
    """Tags and values in their order: tags of one to three bytes, lengths of one to three."""
    items, at = [], 0
    while at < len(data):
        size = 1
        if data[at] & 0x1F == 0x1F:
            while data[at + size] & 0x80:
                size += 1
            size += 1
        tag = int.from_bytes(data[at : at + size], "big")
        at += size
        length, at = data[at], at + 1
        if length & 0x80:
            more = length & 0x7F
            length, at = int.from_bytes(data[at : at + more], "big"), at + more
        if at + length > len(data):
            raise BadAnswer(f"tag {tag:X} is longer than its data")
        items.append((tag, data[at : at + length]))
        at += length
    return items


def tlv_entries(data: bytes) -> list[dict[int, bytes]]:
    """The entries of a page of names: each begins with 9F06."""
    entries: list[dict[int, bytes]] = []
    for tag, value in tlv_read(data):
        if tag == 0x9F06:
            entries.append({})
        entries[-1][tag] = value
    return entries


def tlv_write(tag: int, value: bytes) -> bytes:
    """A tag of two bytes with a value of at most 127."""
    return tag.to_bytes(2, "big") + bytes([len(value)]) + value


# Items of a parameter download and a status upload: bytes of their values.
STATUS_WIDTHS = {
    1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 11: 2, 12: 2, 13: 1, 14: 14, 15: 14, 16: 14, 17: 14, 18: 1, 19: 2, 20: 1, 21: 1,
    22: 40, 23: 1, 24: 1, 26: 4,
}


def status_items(data: bytes) -> dict[int, bytes]:
    """Two digits of code and a value of a fixed width, again and again."""
    items = {}
    while data:
        code = int(data[:2])
        width = STATUS_WIDTHS[code]
        if len(data) < 2 + width or code in items:
            raise BadAnswer(f"item {code} is cut off or there twice")
        items[code] = data[2 : 2 + width]
        data = data[2 + width :]
    return items


class Terminal:
    """One terminal with its keys, numbers, local batch and pending reversal.

    `tmk` is the clear terminal master key of a lab terminal. With `keep_open` the terminal uses one connection
    for everything; otherwise it dials for each message.
    """

    def __init__(
        self,
        host: str,
        port: int,
        merchant: str,
        terminal: str,
        tmk: bytes,
        *,
        cipher: str = "des",
        nii: str = "0003",
        timeout: float = 20.0,
        keep_open: bool = False,
        encrypt_tracks: bool = False,
    ):
        self.address = (host, port)
        self.merchant = merchant
        self.terminal = terminal
        self.timeout = timeout
        self.keep_open = keep_open
        self.encrypt_tracks = encrypt_tracks
        self.master = Sm4Key(tmk) if cipher == "sm4" else DesKey(tmk)
        self.keys: WorkingKeys | None = None
        self.layout = ""
        self.must_sign_in = True
        self.requirement = "0"  # what the last answer to a sign-in or download asks for
        self.batch = 1
        self.next_trace = 1
        self.clock = ""  # MMDDhhmmss of the last answer
        self.journal: list[Entry] = []  # the open batch
        self.history: list[Entry] = []  # everything in force, over all batches
        self.pending: PendingReversal | None = None
        self.reversal_tries = 3
        self.pin_blocks: list[bytes] = []  # sent so far, for tests that look for them where they must not be
        self._tpdu = bytes.fromhex("60" + nii + "0000")
        self._connection: Connection | None = None

    # ------------------------------------------------------------ messages

    def take_trace(self) -> int:
        """The next voucher number, 1 to 999999."""
        trace = self.next_trace
        self.next_trace = trace % 999_999 + 1
        return trace

    def encode(self, mti: str, fields: dict, *, signed: bool) -> bytes:
        """The body of a message; 64 is computed over everything before it."""
        message = {"t": mti, **fields}
        if signed:
            message["64"] = "00000000"
        body = bytes(iso8583.encode(message, SPEC)[0])
        return body[:-8] + cup_mac(self.keys.mac, body[:-8]) if signed else body

    def frame(self, body: bytes) -> bytes:
        """A whole frame as it goes out."""
        return framed(self._tpdu + HEADER + body)

    def read(self, payload: bytes) -> Answer:
        """Decodes an answer; it must encode to the same bytes again."""
        if len(payload) < 13 or payload[0] != 0x60:
            raise BadAnswer("no TPDU and header")
        if payload[1:5] not in (self._tpdu[1:5], self._tpdu[3:5] + self._tpdu[1:3]):
            raise BadAnswer("TPDU of another line")
        header, body = payload[5:11].hex(), payload[11:]
        if header[:5] + header[6:] != HEADER.hex()[:5] + HEADER.hex()[6:]:
            raise BadAnswer("the header is not the one that was sent")
        try:
            fields, _ = iso8583.decode(body, SPEC)
        except iso8583.DecodeError as error:
            raise BadAnswer(f"field {error.field} at {error.pos} cannot be read") from None
        mti = fields.pop("t")
        again, _ = iso8583.encode({"t": mti, **fields}, SPEC)
        if bytes(again) != body:
            raise BadAnswer("the answer does not encode to the same bytes")
        fields.pop("p")
        return Answer(mti, fields, body, header[5])

    def check(self, mti: str, request: dict, answer: Answer, *, signed: bool) -> None:
        """The checks a terminal makes before it believes an answer."""
        if answer.mti != f"{int(mti) + 10:04}":
            raise BadAnswer(f"{answer.mti} does not answer {mti}")
        for number in ECHOED_FIELDS:
            if number == "4" and answer.code == "10":
                continue  # partly approved: the amount is the approved one
            if number in request and answer.fields.get(number) != request[number]:
                raise BadAnswer(f"field {number} differs")
        if answer.approved and not ("32" in answer.fields and "37" in answer.fields):
            raise BadAnswer("an approval without field 32 or 37")
        if "64" in answer.fields:
            if not self.mac_is_right(answer):
                self.must_sign_in = True
                raise BadAnswer("MAC wrong", "A0")
        elif signed and answer.approved:
            raise BadAnswer("an approval without MAC", "A0")

    def mac_is_right(self, answer: Answer) -> bool:
        """Verifies field 64 of an answer."""
        return cup_mac(self.keys.mac, answer.body[:-8]) == answer.body[-8:]

    # ------------------------------------------------------------ exchange

    def dial(self) -> Connection:
        """A connection of its own, outside the terminal's usual one."""
        return Connection(self.address, self.timeout)

    def send_frame(self, frame: bytes) -> Answer:
        """One frame out, one answer back, over the kept or a fresh connection."""
        connection = self._connection or self.dial()
        try:
            connection.send(frame)
            answer = self.read(connection.receive())
        except (NoAnswer, BadAnswer):
            connection.close()
            self._connection = None
            raise
        if self.keep_open:
            self._connection = connection
        else:
            connection.close()
        return answer

    def hang_up(self) -> None:
        """Closes the kept connection."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def exchange(self, mti: str, fields: dict, *, signed: bool) -> tuple[Answer, bytes]:
        """Sends a message and returns its checked answer and the frame that was sent."""
        frame = self.frame(self.encode(mti, fields, signed=signed))
        answer = self.send_frame(frame)
        self.check(mti, fields, answer, signed=signed)
        self._note(answer)
        return answer, frame

    def _note(self, answer: Answer) -> None:
        if "12" in answer.fields and "13" in answer.fields:
            self.clock = answer.fields["13"] + answer.fields["12"]
        if answer.code in SIGN_IN_AGAIN or answer.requirement == "3":
            self.must_sign_in = True

    def identity(self, trace: int) -> dict:
        """Fields 11, 41 and 42."""
        return {"11": f"{trace:06}", "41": self.terminal, "42": self.merchant}

    def _management60(self, code: str) -> str:
        return f"00{self.batch:06}{code}"

    # ------------------------------------------------------------ management

    def sign_in(self, layout: str = "003") -> Answer:
        """签到: gets working keys in the layout 001, 003, 004 or 006 and the batch number to use."""
        fields = self.identity(self.take_trace())
        fields |= {"60": self._management60(layout), "63": "01 "}
        answer, _ = self.exchange("0800", fields, signed=False)
        if answer.code == "00":
            self.keys = unwrap_keys(layout, bytes.fromhex(answer.fields["62"]), self.master)
            self.layout = layout
            self.batch = int(answer.fields["60"][2:8])
            self.must_sign_in = False
            self.requirement = answer.requirement
        return answer

    def sign_off(self) -> Answer:
        """签退."""
        fields = self.identity(self.take_trace()) | {"60": self._management60("002")}
        answer, _ = self.exchange("0820", fields, signed=False)
        if answer.code == "00":
            self.must_sign_in = True
        return answer

    def echo(self) -> Answer:
        """回响测试."""
        fields = self.identity(self.take_trace()) | {"60": self._management60("301")}
        return self.exchange("0820", fields, signed=False)[0]

    # ------------------------------------------------------------ downloads

    def management(self, code: str, private: bytes | None = None, *, mti: str = "0800") -> Answer:
        """A message of a download; field 62 goes along when there is one. No answer of these carries a MAC."""
        fields = self.identity(self.take_trace()) | {"60": self._management60(code)}
        if private is not None:
            fields["62"] = private.hex().upper()
        answer, _ = self.exchange(mti, fields, signed=False)
        if "64" in answer.fields:
            raise BadAnswer(f"an answer to {code} with a MAC")
        return answer

    def must(self, code: str, private: bytes | None = None, *, mti: str = "0800") -> bytes:
        """The same, to be answered 00; what field 62 of the answer carries."""
        answer = self.management(code, private, mti=mti)
        if answer.code != "00":
            raise BadAnswer(f"{code} was answered {answer.code}")
        self.requirement = answer.requirement
        return bytes.fromhex(answer.fields.get("62", ""))

    def parameters(self) -> dict[int, bytes]:
        """参数下载 with its end: values by item code."""
        items = status_items(self.must("360"))
        self.must("361")
        return items

    def records(self, query: str, get: str, end: str) -> list[dict[int, bytes]]:
        """公钥 or IC卡参数: names page by page, each record by its name, then the end. The names that were told must
        be those of the records, each once."""
        names: list[bytes] = []
        while True:
            page = self.must(query, f"1{len(names):02}".encode(), mti="0820")
            told = [tlv_write(0x9F06, entry[0x9F06]) + (
                tlv_write(0x9F22, entry[0x9F22]) if 0x9F22 in entry else b""
            ) for entry in tlv_entries(page[1:])]
            names += told
            if page[:1] != b"2" or not told:
                break
        records = []
        for name in names:
            answer = self.must(get, name)
            if answer[:1] != b"1" or not answer[1:].startswith(name):
                raise BadAnswer("another record than was asked for")
            records.append(dict(tlv_read(answer[1:])))
        if len(set(names)) != len(names):
            raise BadAnswer("a name twice")
        self.must(end)
        return records

    def card_numbers(self, get: str, end: str) -> list[str]:
        """BIN表, 黑名单: page by page, then the end."""
        numbers: list[str] = []
        while True:
            page = self.must(get, f"1{len(numbers):02}".encode())
            before, rest = len(numbers), page[1:].decode("ascii")
            while rest:
                length = int(rest[:2])
                numbers.append(rest[2 : 2 + length])
                rest = rest[2 + length :]
            if page[:1] != b"2" or len(numbers) == before:
                break
        self.must(end)
        return numbers

    # ------------------------------------------------------------ payments

    def payment_fields(
        self,
        kind: str,
        card: Card,
        amount: int | None,
        *,
        pin: str | None,
        fallback: bool | None = None,
        chip: ChipRead | None = None,
        trace: int | None = None,
    ) -> dict:
        """The fields that all payments share; `pin` None sends no PIN.

        The card is swiped unless `chip` tells what its chip gave. `fallback` marks a chip card swiped after its
        chip failed; by default such cards are swiped that way.
        """
        line = KINDS[kind]
        fallback = (card.has_chip and chip is None) if fallback is None else fallback
        entry = chip.entry if chip else "80" if fallback else "02"
        fields = self.identity(self.take_trace() if trace is None else trace)
        fields |= {
            "3": line.processing,
            "22": entry + ("2" if pin is None else "1"),
            "25": line.condition,
            "35": card.track2,
            "49": "156",
            "53": self._security(pin is not None),
            "60": f"{line.message_type}{self.batch:06}0005{2 if fallback else 0}0",
        }
        if amount is not None:
            fields["4"] = f"{amount:012}"
        if chip:
            fields |= {"2": card.pan, "14": card.expiry, "23": chip.sequence, "55": chip.request}
        if self.encrypt_tracks:
            fields["35"] = encrypt_track(self.keys.track, card.track2)
        if pin is not None:
            fields["26"] = "12"
            block = encrypt_pin(self.keys.pin, pin, card.pan)
            self.pin_blocks.append(block)
            if len(block) == 8:
                fields["52"] = block.hex().upper()
            else:
                # SM4: the block does not fit, 52 is zeros and field 63 carries it.
                fields["52"] = "00" * 8
                fields["63"] = f"SM{len(block):03}" + block.decode("latin-1")
        return fields

    def _security(self, with_pin: bool) -> str:
        cipher = {"001": "0", "006": "4"}.get(self.layout, "6")
        return f"{'2' if with_pin else '0'}{cipher}{int(self.encrypt_tracks)}".ljust(16, "0")

    def balance(self, card: Card, pin: str | None) -> Outcome:
        """余额查询."""
        return self.transact("balance", card, self.payment_fields("balance", card, None, pin=pin))

    def sale(
        self,
        card: Card,
        amount: int,
        pin: str | None,
        *,
        fallback: bool | None = None,
        chip: ChipRead | None = None,
    ) -> Outcome:
        """消费, amount in fen."""
        fields = self.payment_fields("sale", card, amount, pin=pin, fallback=fallback, chip=chip)
        outcome = self.transact("sale", card, fields)
        outcome.entry.chip = chip
        return outcome

    def void_fields(self, original: Entry, pin: str | None) -> dict:
        """A void request: the original is told by batch, trace and reference."""
        fields = self.payment_fields("void", original.card, original.amount, pin=pin)
        fields["37"] = original.rrn
        fields["61"] = f"{original.batch:06}{original.trace:06}"
        if original.auth_code:
            fields["38"] = original.auth_code
        return fields

    def void(self, original: Entry, pin: str | None) -> Outcome:
        """消费撤销 of a sale of this batch."""
        outcome = self.transact("void", original.card, self.void_fields(original, pin))
        if outcome.approved:
            original.voided = True
        return outcome

    def refund_fields(self, original: Entry, amount: int, pin: str | None = None) -> dict:
        """A refund request: the original is told by its reference and date, its numbers are zeros."""
        fields = self.payment_fields("refund", original.card, amount, pin=pin)
        fields |= {"37": original.rrn, "61": f"{0:012}{original.date}", "63": "000"}
        if original.auth_code:
            fields["38"] = original.auth_code
        return fields

    def refund(self, original: Entry, amount: int, pin: str | None = None) -> Outcome:
        """退货 of the whole or a part. It is never reversed: without an answer the same message goes again."""
        return self.transact("refund", original.card, self.refund_fields(original, amount, pin))

    def preauth(self, card: Card, amount: int, pin: str | None) -> Outcome:
        """预授权."""
        return self.transact("preauth", card, self.payment_fields("preauth", card, amount, pin=pin))

    def authorised_fields(self, kind: str, original: Entry, amount: int, *, elsewhere: bool = False) -> dict:
        """What completes or voids a pre-authorisation names it by 38 and the date; batch and trace are zeros when it
        was made at another terminal."""
        fields = self.payment_fields(kind, original.card, amount, pin=None)
        numbers = "0" * 12 if elsewhere else f"{original.batch:06}{original.trace:06}"
        fields |= {"2": original.card.pan, "38": original.auth_code, "61": numbers + original.date}
        return fields

    def on_preauth(self, kind: str, original: Entry, amount: int, *, elsewhere: bool = False) -> Outcome:
        """预授权撤销, 预授权完成 by request or by advice."""
        fields = self.authorised_fields(kind, original, amount, elsewhere=elsewhere)
        return self.transact(kind, original.card, fields)

    def completion_void(self, original: Entry) -> Outcome:
        """预授权完成撤销 of a completion of this batch."""
        fields = self.payment_fields("completion_void", original.card, original.amount, pin=None)
        fields |= {"37": original.rrn, "61": f"{original.batch:06}{original.trace:06}"}
        outcome = self.transact("completion_void", original.card, fields)
        if outcome.approved:
            original.voided = True
        return outcome

    def transact(self, kind: str, card: Card, fields: dict) -> Outcome:
        """A payment from the pending reversal before it to the local batch after it."""
        if self.pending and not self.send_reversal():
            raise ReversalBlocked("the reversal before could not be delivered")
        line = KINDS[kind]
        if line.reversible:
            self.pending = PendingReversal(dict(fields))
        try:
            answer, request = self.exchange(line.mti, fields, signed=True)
        except NotSent:
            self.pending = None
            raise
        except BadAnswer as bad:
            if self.pending:
                self.pending.reason = bad.reason
            raise
        self.pending = None
        entry = self.book(kind, fields, answer, card)
        return Outcome(answer, entry, request)

    def book(self, kind: str, fields: dict, answer: Answer, card: Card) -> Entry:
        """Makes the batch line of an answered payment and, when it is approved, enters it into the books."""
        entry = Entry(
            kind,
            int(fields["60"][2:8]),
            int(fields["11"]),
            int(answer.fields.get("4", fields.get("4", "0"))),
            card,
            date=answer.fields.get("13", ""),
            rrn=answer.fields.get("37", ""),
            auth_code=answer.fields.get("38", ""),
        )
        if answer.approved and KINDS[kind].side:
            self.journal.append(entry)
            self.history.append(entry)
        return entry

    # ------------------------------------------------------------ reversal

    def reversal_fields(self, original: dict, reason: str, auth_code: str = "") -> dict:
        """The fields of a 0400: the original's own, and why."""
        fields = {n: original[n] for n in REVERSED_FIELDS if n in original}
        fields["39"] = reason
        if auth_code:
            fields["38"] = auth_code
        if fields["25"] == "06" and "38" in original:
            fields["38"] = original["38"]
        if original["60"][:2] not in (KINDS["sale"].message_type, KINDS["preauth"].message_type):
            fields["61"] = original["60"][2:8] + original["11"] + "0000"
        return fields

    def reverse(self, original: dict, reason: str = "98", auth_code: str = "") -> Answer:
        """冲正 of a request that is known by its fields."""
        return self.exchange("0400", self.reversal_fields(original, reason, auth_code), signed=True)[0]

    def send_reversal(self) -> bool:
        """Delivers the pending reversal; True when none is left, dropped after the last try as well."""
        if self.pending is None:
            return True
        self.pending.tries += 1
        try:
            answer = self.reverse(self.pending.fields, self.pending.reason)
            done = answer.code in REVERSAL_DONE
        except (NotSent, NoAnswer, BadAnswer):
            done = False
        if done or self.pending.tries >= self.reversal_tries:
            self.pending = None
        return self.pending is None

    def reverse_entry(self, entry: Entry, reason: str = "98") -> Answer:
        """Reverses a payment of the local batch and takes it out: the slip could not be printed."""
        fields = {
            **self.identity(entry.trace),
            "3": KINDS[entry.kind].processing,
            "4": f"{entry.amount:012}",
            "22": ("80" if entry.card.has_chip else "02") + "1",
            "25": KINDS[entry.kind].condition,
            "49": "156",
            "60": f"{KINDS[entry.kind].message_type}{entry.batch:06}0005{2 if entry.card.has_chip else 0}0",
        }
        answer = self.reverse(fields, reason, entry.auth_code)
        if answer.code in REVERSAL_DONE:
            self.forget(entry)
        return answer

    def forget(self, entry: Entry) -> None:
        """Takes a reversed payment out of the books."""
        for book in (self.journal, self.history):
            book[:] = [kept for kept in book if kept is not entry]

    # ------------------------------------------------------------ settlement

    def totals(self) -> str:
        """The 62 digits of field 48: domestic debit, credit and result, then the foreign block of zeros."""
        block = ""
        for side in ("debit", "credit"):
            amounts = [entry.amount for entry in self.journal if KINDS[entry.kind].side == side]
            block += f"{sum(amounts):012}{len(amounts):03}"
        return block + "0" + "0" * 31

    def settlement_request(self, totals: str | None = None) -> tuple[Settlement, Answer]:
        """批结算: sends totals (the journal's unless others are given) and returns the host's verdict."""
        fields = self.identity(self.take_trace())
        fields |= {
            "48": totals or self.totals(),
            "49": "156",
            "60": self._management60("201"),
            "63": "01 ",
        }
        answer, _ = self.exchange("0500", fields, signed=False)
        results = answer.fields.get("48", "0" * 62)
        return Settlement(answer.code, results[30:31], results[61:62]), answer

    @staticmethod
    def detail(entry: Entry) -> str:
        """One line of a magnetic batch-up: card class, trace, account number, amount; 40 digits."""
        return f"00{entry.trace:06}{entry.card.pan:0>20}{entry.amount:012}"

    def upload(self, lines: list[str]) -> list[str]:
        """批上送 of magnetic details, eight in a message; returns the codes of the answers."""
        codes = []
        for at in range(0, len(lines), LINES_PER_UPLOAD):
            part = lines[at : at + LINES_PER_UPLOAD]
            fields = self.identity(self.take_trace())
            fields |= {"48": f"{len(part):02}" + "".join(part), "60": self._management60("201")}
            codes.append(self.exchange("0320", fields, signed=False)[0].code)
        return codes

    def upload_chip(self, entry: Entry, balanced: bool) -> str:
        """批上送 of a chip payment with its certificate; returns the code of the answer."""
        fields = self.identity(entry.trace)
        detail = f"610000{entry.amount:012}156"
        fields |= {
            "2": entry.card.pan,
            "22": entry.chip.entry + "1",
            "23": entry.chip.sequence,
            "55": entry.chip.certificate,
            "60": self._management60("203" if balanced else "205"),
            "62": detail.encode().hex().upper(),
        }
        return self.exchange("0320", fields, signed=False)[0].code

    def end_batch(self, uploaded: int, balanced: bool) -> Answer:
        """批上送结束: closes the batch at the host; on success the terminal goes on with the next one."""
        fields = self.identity(self.take_trace())
        fields |= {"48": f"{uploaded:04}", "60": self._management60("207" if balanced else "202")}
        answer, _ = self.exchange("0320", fields, signed=False)
        if answer.code == "00":
            self.journal.clear()
            self.batch = self.batch % 999_999 + 1
        return answer

    def settle(self) -> Settlement:
        """The whole end of day: reversal, totals, details when they differ, end of batch."""
        if not self.send_reversal():
            raise ReversalBlocked("the reversal before could not be delivered")
        settlement, _ = self.settlement_request()
        if settlement.code != "00":
            return settlement
        chips = [entry for entry in self.journal if entry.chip and entry.chip.certificate]
        codes = []
        if not settlement.balanced:
            lines = [self.detail(entry) for entry in self.journal if entry not in chips]
            codes += self.upload(lines)
            settlement.uploaded += len(lines)
        for entry in chips:
            codes.append(self.upload_chip(entry, settlement.balanced))
            settlement.uploaded += 1
        if any(code != "00" for code in codes):
            raise BadAnswer("the host did not take a detail")
        settlement.end_code = self.end_batch(settlement.uploaded, settlement.balanced).code
        return settlement
