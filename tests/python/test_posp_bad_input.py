"""Bad bytes at the door for terminals: each gets its response code or a closed connection, and nothing else.

After every piece of bad input the node must still serve: the terminal's next echo and sale go through. None of
it may reach the network, and at the end neither the log nor the data files show a card number.
"""

import os
import random
import unittest

from deck import DECK
from laboratory import BooksAgree, Laboratory, Scenario, wait_until
from pos_crypto import cup_mac
from terminal import BadAnswer, Connection, NoAnswer, framed

CLOSED = "closed"
HEADER_SIZE = 11  # TPDU and header before the body


def setUpModule() -> None:
    # The mutation run sends wrong MACs by the hundred; the lock that they lead to has its own scenario elsewhere.
    Scenario.lab = Laboratory(des_terminals=40, engine={"wrong_macs_max": 1_000_000})
    unittest.addModuleCleanup(Scenario.lab.close)


def load_tests(loader, _tests, _pattern):
    """The look for leaks comes last."""
    suite = unittest.TestSuite()
    for case in (Fields, Frames, Conversations, Mutations, Traces, Books):
        suite.addTests(loader.loadTestsFromTestCase(case))
    return suite


class BadInput(Scenario):
    def setUp(self) -> None:
        super().setUp()
        self.good = self.terminal("003")

    def sale_body(self, terminal=None, **changes) -> bytes:
        """A right sale of 1.00, or one with some fields changed (None: left out); its MAC fits in any case."""
        terminal = terminal or self.good
        fields = terminal.payment_fields("sale", DECK["M01"], 100, pin="123456")
        for number, value in changes.items():
            fields[number.removeprefix("f")] = value
        return terminal.encode("0200", {n: v for n, v in fields.items() if v is not None}, signed=True)

    def deliver(self, data: bytes, *, half_close: bool = False) -> str:
        """Sends raw bytes on a connection of its own: field 39 of the answer, or CLOSED."""
        with self.good.dial() as connection:
            connection.send(data)
            if half_close:
                connection.finish_sending()
            try:
                return self.good.read(connection.receive()).code
            except NoAnswer as error:
                if "timed out" in str(error):
                    raise
                return CLOSED

    def body(self, body: bytes) -> str:
        """Sends a body in a right frame."""
        return self.deliver(self.good.frame(body))

    def assert_serves(self) -> None:
        """The node works for those who speak rightly."""
        self.assertEqual(self.good.echo().code, "00")

    def tearDown(self) -> None:
        self.assertEqual(self.network(self.good), [], "bad input reached the network")
        self.sold(self.good, 100)


class Fields(BadInput):
    """The head of the frame can be read, so that there is somebody to answer: 30."""

    def test_a_byte_after_the_last_field(self):
        self.assertEqual(self.body(self.sale_body() + b"\x00"), "30")
        self.assert_serves()

    def test_nibbles_that_are_no_digits(self):
        body = self.sale_body()
        for name, at in (("field 3", 10), ("field 4", 13), ("field 11", 19), ("field 22", 22), ("field 25", 24)):
            with self.subTest(name):
                broken = bytearray(body)
                broken[at] = 0xAB
                self.assertEqual(self.body(bytes(broken)), "30")
        self.assert_serves()

    def test_cut_off_inside_a_field(self):
        body = self.sale_body()
        for kept in (len(body) - 1, len(body) - 8, len(body) - 12, len(body) // 2, 26, 2):
            with self.subTest(kept=kept):
                self.assertEqual(self.body(body[:kept]), "30")
        self.assert_serves()

    def test_lengths_over_the_maximum(self):
        body = self.sale_body()
        at = 26  # the length of field 35: MTI, bitmap, 3, 4, 11, 22, 25 and 26 stand before it
        self.assertEqual(body[at], int(str(len(DECK["M01"].track2)), 16))
        for length in (0x38, 0x99):
            broken = bytearray(body)
            broken[at] = length
            with self.subTest(f"{length:02X}"):
                self.assertEqual(self.body(bytes(broken)), "30")
        broken = bytearray(body)
        broken[at] = 0x3A
        with self.subTest("prefix that is no number"):
            self.assertEqual(self.body(bytes(broken)), "30")
        self.assert_serves()

    def test_a_field_that_is_not_in_the_dialect(self):
        body = bytearray(self.sale_body())
        body[3] |= 0x40  # bit 10
        self.assertEqual(self.body(bytes(body)), "30")
        body = bytearray(self.sale_body())
        body[2] |= 0x80  # bit 1: a second bitmap
        self.assertEqual(self.body(bytes(body)), "30")
        self.assert_serves()

    def test_chip_data_that_is_no_tlv(self):
        for broken in ("9F2608AABB", "9F", "82", "9F26810500", "5F2A820FFF0156"):
            with self.subTest(broken):
                self.assertEqual(self.body(self.sale_body(f22="051", f55=broken)), "30")
        self.assert_serves()

    def test_a_track_without_separator_or_without_number(self):
        for track in ("6224242000000021290220156990310070", "D29022015699031007", "6224D2902201"):
            with self.subTest(track[:6]):
                self.assertNotIn(self.body(self.sale_body(f35=track)), ("00", CLOSED))
        self.assert_serves()

    def test_field_60_too_short_to_tell_the_transaction(self):
        for text in ("2", "22", "2200001"):
            with self.subTest(text):
                self.assertNotIn(self.body(self.sale_body(f60=text)), ("00", CLOSED))
        self.assert_serves()

    def test_unknown_message_types_and_processing_codes(self):
        body = self.sale_body()
        for mti in ("0600", "0210", "0810", "0000", "9999"):
            with self.subTest(mti):
                self.assertIn(self.body(bytes.fromhex(mti) + body[2:]), ("12", "30", "40", CLOSED))
        with self.subTest("processing code"):
            self.assertIn(self.body(self.sale_body(f3="990000")), ("12", "30", "40"))
        self.assert_serves()


class Frames(BadInput):
    """The frame itself is broken: the connection is closed."""

    def test_length_larger_than_what_arrives(self):
        frame = self.good.frame(self.sale_body())
        longer = (len(frame) - 2 + 50).to_bytes(2, "big") + frame[2:]
        self.assertEqual(self.deliver(longer, half_close=True), CLOSED)
        self.assert_serves()

    def test_a_frame_that_does_not_come_to_its_end_in_time(self):
        frame = self.good.frame(self.sale_body())
        with self.good.dial() as connection:
            connection.send(frame[: len(frame) // 2])
            self.assert_serves()
            self.assertTrue(connection.end_of_stream())

    def test_oversized_and_empty_frames(self):
        for length in (0, 2_049, 0xFFFF):
            with self.subTest(length):
                self.assertEqual(self.deliver(length.to_bytes(2, "big") + b"\x60" * 64), CLOSED)
        self.assert_serves()

    def test_garbage(self):
        seeded = random.Random(8583)
        lines = (
            b"GET / HTTP/1.1\r\nHost: posp\r\n\r\n",
            b"\x16\x03\x01\x00\xf0\x01\x00\x00\xec\x03\x03" + bytes(64),
            framed(bytes(40)),
            framed(b"\xff" * 200),
            framed(seeded.randbytes(300)),
            framed(b"\x60"),
            framed(bytes.fromhex("6000030000")),
            framed(bytes.fromhex("6000030000603200320001")),
        )
        for number, line in enumerate(lines):
            with self.subTest(number):
                self.assertEqual(self.deliver(line, half_close=True), CLOSED)
        self.assert_serves()

    def test_no_header(self):
        frame = self.good.frame(self.sale_body())
        without = framed(frame[2:7] + frame[13:])
        self.assertIn(self.deliver(without, half_close=True), (CLOSED, "30"))
        self.assert_serves()


class Conversations(BadInput):
    """Right frames in unusual portions."""

    def tearDown(self) -> None:
        self.sold(self.good, 100)

    def test_several_frames_in_one_write_are_answered_in_order(self):
        terminal = self.good
        amounts = (300, 400, 500)
        frames, requests = [], []
        for amount in amounts:
            fields = terminal.payment_fields("sale", DECK["M01"], amount, pin="123456")
            requests.append(fields)
            frames.append(terminal.frame(terminal.encode("0200", fields, signed=True)))
        with terminal.dial() as connection:
            connection.send(b"".join(frames))
            for fields in requests:
                answer = terminal.read(connection.receive())
                self.assertEqual((answer.code, answer.fields["11"]), ("00", fields["11"]))
                terminal.check("0200", fields, answer, signed=True)
                terminal.book("sale", fields, answer, DECK["M01"])

    def test_reversal_and_sale_in_one_write(self):
        terminal = self.good
        lost = terminal.payment_fields("sale", DECK["M01"], 600, pin="123456")
        sale = terminal.payment_fields("sale", DECK["M01"], 700, pin="123456")
        reversal = terminal.encode("0400", terminal.reversal_fields(lost, "98"), signed=True)
        with terminal.dial() as connection:
            connection.send(
                terminal.frame(reversal) + terminal.frame(terminal.encode("0200", sale, signed=True))
            )
            first = terminal.read(connection.receive())
            second = terminal.read(connection.receive())
        self.assertEqual((first.mti, first.code, second.mti, second.code), ("0410", "00", "0210", "00"))
        terminal.book("sale", sale, second, DECK["M01"])

    def test_a_frame_byte_by_byte(self):
        terminal = self.good
        fields = terminal.payment_fields("sale", DECK["M01"], 800, pin="123456")
        with terminal.dial() as connection:
            for byte in terminal.frame(terminal.encode("0200", fields, signed=True)):
                connection.send(bytes([byte]))
            answer = terminal.read(connection.receive())
        self.assert_code(answer, "00")
        terminal.book("sale", fields, answer, DECK["M01"])

    def test_a_good_frame_before_a_bad_one_is_answered(self):
        terminal = self.good
        fields = terminal.payment_fields("sale", DECK["M01"], 900, pin="123456")
        with terminal.dial() as connection:
            connection.send(terminal.frame(terminal.encode("0200", fields, signed=True)) + b"\xff\xff\xff")
            answer = terminal.read(connection.receive())
            self.assertTrue(connection.end_of_stream())
        self.assert_code(answer, "00")
        terminal.book("sale", fields, answer, DECK["M01"])

    def test_a_message_that_cannot_be_read_does_not_end_the_conversation(self):
        terminal = self.good
        fields = terminal.payment_fields("sale", DECK["M01"], 950, pin="123456")
        right = terminal.encode("0200", fields, signed=True)
        with terminal.dial() as connection:
            connection.send(terminal.frame(right + b"\x00") + terminal.frame(right))
            self.assert_code(terminal.read(connection.receive()), "30")
            answer = terminal.read(connection.receive())
        self.assert_code(answer, "00")
        terminal.book("sale", fields, answer, DECK["M01"])

    def test_silent_connections_keep_nobody_waiting(self):
        silent = [self.good.dial() for _ in range(200)]
        try:
            self.assert_serves()
            self.sold(self.good, 1_000)
        finally:
            for connection in silent:
                connection.close()

    def test_a_terminal_that_hangs_up_before_the_answer_is_paid_or_not_but_known(self):
        terminal = self.good
        fields = terminal.payment_fields("sale", DECK["M01"], 1_100, pin="123456")
        frame = terminal.frame(terminal.encode("0200", fields, signed=True))
        with terminal.dial() as connection:
            connection.send(frame)
        answer = wait_until(
            "the sale has an outcome",
            lambda: (again := terminal.send_frame(frame)).code != "09" and again,
        )
        self.assert_code(answer, "00")
        terminal.book("sale", fields, answer, DECK["M01"])
        self.assertEqual([line["arrivals"] for line in self.network(terminal)], [1])


class Mutations(BadInput):
    """A thousand times a few flipped bits, cut ends and strange tails; POSP_MUTATION_SEED repeats a run."""

    ROUNDS = 1_000

    def setUp(self) -> None:
        super().setUp()
        self.seed = int(os.environ.get("POSP_MUTATION_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
        self.seeded = random.Random(self.seed)

    def mutated(self, right: bytes, spared: dict[int, int]) -> bytes:
        """Something like `right`; `spared` tells bytes whose lowest bits stay as they are."""
        body = bytearray(right)
        for _ in range(self.seeded.randint(1, 3)):
            at = self.seeded.randrange(len(body))
            body[at] ^= 1 << self.seeded.randrange(spared.get(at, 0), 8)
        if self.seeded.random() < 0.2:
            del body[self.seeded.randrange(len(body)) :]
        if self.seeded.random() < 0.1:
            body += self.seeded.randbytes(self.seeded.randint(1, 20))
        return bytes(body)

    def conversation(self, terminal, messages):
        """Sends each message, on one connection as long as it lasts; yields the payloads, None when closed."""
        connection: Connection | None = None
        for message in messages:
            connection = connection or terminal.dial()
            try:
                connection.send(terminal.frame(message))
                yield connection.receive()
            except NoAnswer as error:
                self.assertNotIn("timed out", str(error), f"seed {self.seed}")
                connection.close()
                connection = None
                yield None
        if connection:
            connection.close()

    def test_mutated_sales_are_never_approved_and_never_stop_the_node(self):
        def messages():
            for _ in range(self.ROUNDS):
                right = self.sale_body()
                # The pad nibble of field 22 is nobody's: the host ignores it and gives it back.
                wrong = self.mutated(right, {23: 4})
                # The MAC folds its blocks by exclusive or: two equal flips a whole number of blocks apart leave
                # it right. Such a message is authentic by the rule, so it proves nothing here.
                if cup_mac(self.good.keys.mac, wrong[:-8]) != wrong[-8:]:
                    yield wrong

        codes: dict[str, int] = {}
        for payload in self.conversation(self.good, messages()):
            try:
                code = CLOSED if payload is None else self.good.read(payload).code
            except BadAnswer as error:
                self.fail(f"seed {self.seed}: an answer cannot be read: {error}")
            codes[code] = codes.get(code, 0) + 1
        honest = {"03", "12", "13", "30", "40", "77", "94", "97", "A0", CLOSED}
        self.assertLessEqual(set(codes), honest, f"seed {self.seed}: {codes}")
        self.assertGreater(codes["A0"], self.ROUNDS // 10)
        self.assertGreater(codes["30"], self.ROUNDS // 10)
        self.assert_serves()

    def test_other_mutated_messages_never_stop_the_node(self):
        # These have no MAC, so that some of them are still right: they speak for a terminal without payments.
        victim = self.terminal("003")
        lost = victim.payment_fields("sale", DECK["M01"], 100, pin=None)
        known = victim.identity(1)
        bodies = (
            victim.encode("0800", known | {"60": "00000001003", "63": "01 "}, signed=False),
            victim.encode("0820", known | {"60": "00000001301"}, signed=False),
            victim.encode("0820", known | {"60": "00000001002"}, signed=False),
            victim.encode("0400", victim.reversal_fields(lost, "98"), signed=True),
            victim.encode(
                "0500", known | {"48": "0" * 62, "49": "156", "60": "00000001201", "63": "01 "}, signed=False
            ),
            victim.encode("0320", known | {"48": "01" + "0" * 40, "60": "00000001201"}, signed=False),
            victim.encode("0320", known | {"48": "0000", "60": "00000001207"}, signed=False),
        )
        messages = (self.mutated(self.seeded.choice(bodies), {}) for _ in range(self.ROUNDS))
        closed = sum(payload is None for payload in self.conversation(victim, messages))
        self.assertLess(closed, self.ROUNDS)
        self.assert_serves()
        # A flipped bit in field 41 may have made one of them the sign-off of the good terminal.
        self.assertEqual(self.good.sign_in("003").code, "00")


class Traces(BadInput):
    """What bad input leaves behind: a metric and a log line that name the reason."""

    def test_metrics_and_log_name_the_reason(self):
        before = self.lab.metric("posp_link_closed_total", reason="bad frame")
        self.assertEqual(self.deliver(b"\xff\xff"), CLOSED)
        wait_until(
            "the metric counts the closed connection",
            lambda: self.lab.metric("posp_link_closed_total", reason="bad frame") > before,
        )
        wrong = bytearray(self.sale_body())
        wrong[-1] ^= 0x01
        self.assertEqual(self.body(bytes(wrong)), "A0")
        self.assertGreaterEqual(self.lab.metric("posp_link_refusals_total", reason="MAC wrong"), 1)
        self.assertIn("MAC wrong", self.lab.log("node"))
        self.assertIn("bad frame", self.lab.log("node"))


class Books(BooksAgree, Scenario):
    """See BooksAgree."""


if __name__ == "__main__":
    unittest.main()
