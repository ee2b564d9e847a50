"""A terminal that shares no code with posp takes payments through a real posp and a simulated UnionPay.

Here: sign-in, sales, balances, repeats, voids, refunds. Each scenario uses terminals of its own. After each,
three books must agree: what the terminal believes, what the node's journal says, what the network's record
says. At the end the totals of all are compared once more.
"""

import unittest
from dataclasses import replace

from deck import DECK, INSERT, TAP, Card
from laboratory import (
    MERCHANT_CLOSED,
    TERMINAL_OF_CLOSED,
    BooksAgree,
    Laboratory,
    Scenario,
)
from pos_crypto import DesKey, WorkingKeys
from terminal import framed


def setUpModule() -> None:
    Scenario.lab = Laboratory(des_terminals=62, sm4_terminals=3)
    unittest.addModuleCleanup(Scenario.lab.close)


def load_tests(loader, _tests, _pattern):
    """The order of the file; the comparison of all books comes last."""
    suite = unittest.TestSuite()
    for case in (SignIn, Payments, Repeats, Voids, Refunds, Variants, DoubleLengthMacKey, Books):
        suite.addTests(loader.loadTestsFromTestCase(case))
    return suite


class SignIn(Scenario):
    def test_every_key_layout_gives_keys_that_work(self):
        for layout in ("001", "003", "004"):
            with self.subTest(layout):
                terminal = self.terminal(layout)
                self.sold(terminal, 1_000)

    def test_sm4_keys_work_with_clear_and_with_encrypted_tracks(self):
        terminal = self.terminal("006")
        self.sold(terminal, 1_100)
        terminal.encrypt_tracks = True
        self.sold(terminal, 1_200)

    def test_encrypted_tracks_of_even_and_odd_length(self):
        terminal = self.terminal("004", encrypt_tracks=True)
        self.sold(terminal, 1_300, "L02")
        self.sold(terminal, 1_400, "L12")

    def test_answer_brings_batch_clock_and_reference(self):
        terminal = self.terminal(None)
        answer = terminal.sign_in("003")
        for number in ("11", "12", "13", "32", "37", "39", "41", "42", "60", "62"):
            self.assertIn(number, answer.fields)
        self.assertNotIn("64", answer.fields)
        self.assertEqual(answer.fields["60"], f"00{terminal.batch:06}003")
        self.assertRegex(terminal.clock, r"^[01]\d[0-3]\d[0-2]\d[0-5]\d[0-5]\d$")

    def test_a_layout_of_the_other_cipher_is_refused(self):
        self.assertNotIn(self.terminal(None, cipher="sm4").sign_in("004").code, ("00", ""))
        self.assertNotIn(self.terminal(None).sign_in("006").code, ("00", ""))

    def test_keys_change_at_each_sign_in_and_the_old_ones_hold_until_the_new_ones_are_used(self):
        terminal = self.terminal("003")
        old = terminal.keys
        # The answer of this sign-in is lost: the terminal goes on with what it has.
        self.assertEqual(terminal.sign_in("003").code, "00")
        new = terminal.keys
        self.assertNotEqual(old.mac.check_value(), new.mac.check_value())
        terminal.keys = old
        self.sold(terminal, 1_500)
        terminal.keys = new
        self.sold(terminal, 1_600)
        # The new ones have proved themselves; the old ones are of no use any more.
        terminal.keys = old
        fields = terminal.payment_fields("sale", DECK["M01"], 1_700, pin=DECK["M01"].pin)
        frame = terminal.frame(terminal.encode("0200", fields, signed=True))
        self.assert_code(terminal.send_frame(frame), "A0")

    def test_not_signed_in_and_signed_off_are_told_to_sign_in(self):
        terminal = self.terminal(None)
        terminal.keys, terminal.layout = WorkingKeys(DesKey(b"\x01" * 16), DesKey(b"\x02" * 8)), "003"
        fields = terminal.payment_fields("sale", DECK["M01"], 1_800, pin="123456")
        frame = terminal.frame(terminal.encode("0200", fields, signed=True))
        self.assert_code(terminal.send_frame(frame), "77")
        self.assertEqual(terminal.sign_in("003").code, "00")
        self.sold(terminal, 1_900)
        self.assertEqual(terminal.sign_off().code, "00")
        outcome = terminal.sale(DECK["M01"], 2_000, "123456")
        self.assert_code(outcome, "77")
        self.assertTrue(terminal.must_sign_in)

    def test_echo_needs_no_session(self):
        self.assertEqual(self.terminal(None).echo().code, "00")

    def test_unknown_terminal_97_and_unknown_or_closed_merchant_03(self):
        terminal = self.terminal(None)
        terminal.terminal = "99999999"
        self.assert_code(terminal.sign_in("003"), "97")
        terminal.merchant = "898199999999999"
        self.assert_code(terminal.sign_in("003"), "03")
        terminal.merchant, terminal.terminal = MERCHANT_CLOSED, TERMINAL_OF_CLOSED
        self.assert_code(terminal.sign_in("003"), "03")

    def test_the_merchant_is_looked_at_before_the_terminal(self):
        terminal = self.terminal(None)
        terminal.merchant, terminal.terminal = MERCHANT_CLOSED, "99999999"
        self.assert_code(terminal.sign_in("003"), "03")

    def test_unknown_terminal_97_and_unknown_merchant_03_for_a_sale(self):
        terminal = self.terminal("003")
        real = terminal.terminal
        terminal.terminal = "99999999"
        self.assert_code(terminal.sale(DECK["M01"], 2_100, "123456"), "97")
        terminal.terminal, terminal.merchant = real, "898199999999999"
        self.assert_code(terminal.sale(DECK["M01"], 2_100, "123456"), "03")


class Payments(Scenario):
    def test_sale_approved_with_all_fields_of_the_answer(self):
        terminal = self.terminal("003")
        outcome = self.sold(terminal, 12_345)
        fields = outcome.answer.fields
        wanted = "2 3 4 11 12 13 15 25 32 37 38 39 41 42 44 49 60 64".split()
        self.assertEqual([number for number in wanted if number not in fields], [])
        self.assertEqual(fields["2"], DECK["M01"].pan)
        self.assertTrue(terminal.mac_is_right(outcome.answer))
        (line,) = self.network(terminal)
        self.assertEqual((line["kind"], line["amount"], line["rrn"]), ("sale", 12_345, outcome.entry.rrn))

    def test_a_chip_card_swiped_after_its_chip_failed(self):
        terminal = self.terminal("003")
        self.sold(terminal, 2_050, "L02")

    def test_chip_and_tap_with_published_cryptograms(self):
        terminal = self.terminal("003")
        insert = terminal.sale(DECK["L01"], 10_000, "123456", chip=INSERT)
        self.assert_code(insert, "00")
        self.assertEqual(insert.answer.fields["55"], INSERT.answer)
        self.assertEqual(insert.answer.fields["23"], "001")
        # The same cryptogram again: the card's counter does not rise, the issuer refuses.
        self.assert_code(terminal.sale(DECK["L01"], 10_000, "123456", chip=INSERT), "05")
        # Another amount in the chip data than its cryptogram covers: refused as well, and the counter stays free.
        forged = replace(TAP, request=TAP.request.replace("000000001250", "000000001251"))
        self.assert_code(terminal.sale(DECK["L01"], 1_251, None, chip=forged), "05")
        tap = terminal.sale(DECK["L01"], 1_250, None, chip=TAP)
        self.assert_code(tap, "00")
        self.assertIn("910A6FE3F7AD8E02C9CC3030", tap.answer.fields["55"])

    def test_one_connection_for_everything(self):
        terminal = self.terminal("003", keep_open=True)
        for amount in (2_200, 2_300, 2_400):
            self.sold(terminal, amount)
        self.assertEqual(terminal.echo().code, "00")

    def test_balance_falls_by_what_was_sold(self):
        terminal = self.terminal("003")
        card = DECK["L12"]

        def balance() -> int:
            outcome = terminal.balance(card, card.pin)
            self.assert_code(outcome, "00")
            text = outcome.answer.fields["54"]
            self.assertEqual(text[4:7], "156")
            return int(text[8:20]) * (1 if text[7] == "C" else -1)

        before = balance()
        self.sold(terminal, 3_333, "L12")
        self.assertEqual(balance(), before - 3_333)

    def test_credit_card_without_pin(self):
        terminal = self.terminal("003")
        self.assert_code(terminal.sale(DECK["L03"], 2_500, None), "00")

    def test_wrong_pin_55_and_the_right_one_after_it(self):
        terminal = self.terminal("003")
        self.assert_code(terminal.sale(DECK["L03"], 2_600, "111111"), "55")
        self.assert_code(terminal.sale(DECK["L03"], 2_600, DECK["L03"].pin), "00")

    def test_issuer_declines(self):
        terminal = self.terminal("003")
        stranger = replace(DECK["M01"], pan="6259990000000001")
        cases = (
            ("chip card swiped without a failed chip", "45", DECK["L02"], "123456", False, 2_700),
            ("no money", "51", DECK["L04"], "123456", True, 50_000),
            ("expired", "54", DECK["L10"], "123456", True, 2_700),
            ("PIN tries used up", "75", DECK["L11"], "123456", True, 2_700),
            ("debit card without PIN", "55", DECK["M01"], None, False, 2_700),
            ("decline by amount", "57", DECK["M01"], "123456", False, 9_157),
            ("lost", "41", DECK["M02"], "123456", False, 2_700),
            ("stolen", "43", DECK["M03"], "123456", False, 2_700),
            ("restricted", "62", DECK["M04"], "123456", False, 2_700),
            ("above the card's limit", "61", DECK["M05"], "123456", False, 100_001),
        )
        for name, code, card, pin, fallback, amount in cases:
            with self.subTest(name):
                outcome = terminal.sale(card, amount, pin, fallback=fallback)
                self.assert_code(outcome, code)
                self.assertIsNone(terminal.pending)
        with self.subTest("unknown card"):
            self.assert_code(terminal.sale(stranger, 2_700, "123456"), "14", "15")

    def test_track_that_is_not_the_cards_own(self):
        terminal = self.terminal("003")
        card = DECK["M01"]
        forged = Card(card.name, card.pan, card.expiry, card.service, card.pin, tail="1111111111")
        self.assert_code(terminal.sale(forged, 2_800, card.pin), "59")

    def test_wrong_mac_is_answered_a0_and_the_answer_is_signed(self):
        terminal = self.terminal("003")
        fields = terminal.payment_fields("sale", DECK["M01"], 2_900, pin="123456")
        body = terminal.encode("0200", fields, signed=True)
        wrong = body[:-8] + bytes(reversed(body[-8:]))
        answer = terminal.send_frame(terminal.frame(wrong))
        self.assert_code(answer, "A0")
        self.assertTrue(terminal.mac_is_right(answer))
        # A message changed on the way, its MAC as it was.
        changed = bytearray(body)
        changed[16] ^= 0x01  # the amount
        self.assert_code(terminal.send_frame(terminal.frame(bytes(changed))), "A0")
        self.assertEqual(self.network(terminal), [])

    def test_wrong_macs_in_a_row_lock_the_terminal_until_it_signs_in(self):
        terminal = self.terminal("003", keep_open=True)
        codes = []
        while "77" not in codes and len(codes) < 100:
            fields = terminal.payment_fields("sale", DECK["M01"], 2_950, pin="123456")
            body = terminal.encode("0200", fields, signed=True)
            wrong = body[:-8] + bytes(reversed(body[-8:]))
            codes.append(terminal.send_frame(terminal.frame(wrong)).code)
        self.assertEqual(codes, ["A0"] * (len(codes) - 1) + ["77"])
        self.assertIn("ALARM", self.lab.log("node"))
        self.assert_code(terminal.sale(DECK["M01"], 2_950, "123456"), "77")
        self.assertEqual(terminal.sign_in("003").code, "00")
        self.sold(terminal, 2_950)

    def test_a_sale_without_mac_is_refused(self):
        terminal = self.terminal("003")
        fields = terminal.payment_fields("sale", DECK["M01"], 3_000, pin="123456")
        answer = terminal.send_frame(terminal.frame(terminal.encode("0200", fields, signed=False)))
        self.assert_code(answer, "30", "A0")
        self.assertEqual(self.network(terminal), [])

    def test_pin_block_under_another_key_is_99(self):
        terminal = self.terminal("003")
        right = terminal.keys
        terminal.keys = WorkingKeys(DesKey(b"\x01\x02\x04\x07\x08\x0b\x0d\x0e" * 2), right.mac)
        fields = terminal.payment_fields("sale", DECK["M01"], 3_100, pin="123456")
        terminal.keys = right
        frame = terminal.frame(terminal.encode("0200", fields, signed=True))
        self.assert_code(terminal.send_frame(frame), "99")

    def test_another_batch_than_the_current_one_is_77(self):
        terminal = self.terminal("003")
        terminal.batch += 5
        self.assert_code(terminal.sale(DECK["M01"], 3_200, "123456"), "77")

    def test_amount_zero_is_13(self):
        terminal = self.terminal("003")
        self.assert_code(terminal.sale(DECK["M01"], 0, "123456"), "13")

    def test_each_mandatory_field_that_is_missing_is_30(self):
        terminal = self.terminal("003")
        for number in ("4", "22", "49", "35"):
            with self.subTest(number):
                fields = terminal.payment_fields("sale", DECK["M01"], 3_300, pin="123456")
                del fields[number]
                frame = terminal.frame(terminal.encode("0200", fields, signed=True))
                self.assert_code(terminal.send_frame(frame), "30")
        self.assertEqual(self.network(terminal), [])


class Repeats(Scenario):
    def test_the_same_bytes_get_the_same_answer(self):
        terminal = self.terminal("003")
        outcome = self.sold(terminal, 4_000)
        for _ in range(3):
            again = terminal.send_frame(outcome.request)
            self.assertEqual(again.body, outcome.answer.body)
        (line,) = self.network(terminal)
        self.assertEqual(line["arrivals"], 1)

    def test_a_declined_request_is_declined_again(self):
        terminal = self.terminal("003")
        outcome = terminal.sale(DECK["L04"], 40_000, "123456")
        self.assert_code(outcome, "51")
        self.assertEqual(terminal.send_frame(outcome.request).body, outcome.answer.body)
        self.assertEqual(len(self.network(terminal)), 1)

    def test_the_same_numbers_with_other_content_are_94(self):
        terminal = self.terminal("003")
        outcome = self.sold(terminal, 4_100)
        fields = terminal.payment_fields("sale", DECK["M01"], 4_200, pin="123456", trace=outcome.entry.trace)
        frame = terminal.frame(terminal.encode("0200", fields, signed=True))
        self.assert_code(terminal.send_frame(frame), "94")
        self.assertEqual(len(self.network(terminal)), 1)

    def test_a_request_sent_twice_at_once_is_paid_once(self):
        terminal = self.terminal("003")
        fields = terminal.payment_fields("sale", DECK["M01"], 4_300, pin="123456")
        frame = terminal.frame(terminal.encode("0200", fields, signed=True))
        connections = [terminal.dial() for _ in range(6)]
        for connection in connections:
            connection.send(frame)
        codes = []
        for connection in connections:
            codes.append(terminal.read(connection.receive()).code)
            connection.close()
        self.assertLessEqual(set(codes), {"00", "09"})
        self.assertIn("00", codes)
        answer = terminal.send_frame(frame)
        self.assert_code(answer, "00")
        terminal.book("sale", fields, answer, DECK["M01"])
        (line,) = self.network(terminal)
        self.assertEqual(line["arrivals"], 1)


class Voids(Scenario):
    def test_void_gives_the_money_back_once(self):
        terminal = self.terminal("003")
        sale = self.sold(terminal, 5_000)
        void = terminal.void(sale.entry, "123456")
        self.assert_code(void, "00")
        self.assertEqual(self.network(terminal, kind="sale")[0]["state"], "voided")
        self.assert_code(terminal.void(sale.entry, "123456"), "12", "25")
        self.assertEqual(len(self.network(terminal, kind="void", state="approved")), 1)

    def test_void_without_pin(self):
        terminal = self.terminal("003")
        sale = self.sold(terminal, 5_100, "L03")
        self.assert_code(terminal.void(sale.entry, None), "00")

    def test_void_repeated_gets_the_same_answer(self):
        terminal = self.terminal("003")
        void = terminal.void(self.sold(terminal, 5_200).entry, "123456")
        self.assert_code(void, "00")
        self.assertEqual(terminal.send_frame(void.request).body, void.answer.body)

    def test_void_must_fit_its_original(self):
        terminal = self.terminal("003")
        sale = self.sold(terminal, 5_300).entry
        cases = (
            ("another amount", "64", replace(sale, amount=5_301)),
            ("another card", "25", replace(sale, card=DECK["L03"])),
            ("another trace", "25", replace(sale, trace=sale.trace + 500)),
            ("another reference", "25", replace(sale, rrn="000000000000")),
        )
        for name, code, wrong in cases:
            with self.subTest(name):
                self.assert_code(terminal.void(wrong, wrong.card.pin), code)
        other = self.terminal("003")
        with self.subTest("another terminal"):
            self.assert_code(other.void(sale, "123456"), "25")
        self.assertEqual(len(self.network(terminal)), 1)
        self.assertEqual(self.network(other), [])

    def test_a_declined_sale_cannot_be_voided(self):
        terminal = self.terminal("003")
        declined = terminal.sale(DECK["L04"], 50_000, "123456")
        self.assert_code(declined, "51")
        self.assert_code(terminal.void(declined.entry, "123456"), "12", "25")


class Refunds(Scenario):
    def test_refunds_in_parts_up_to_what_was_paid(self):
        terminal = self.terminal("003")
        sale = self.sold(terminal, 10_000).entry
        self.assert_code(terminal.refund(sale, 3_000), "00")
        self.assertEqual(self.network(terminal, kind="sale")[0]["state"], "partly_refunded")
        self.assert_code(terminal.refund(sale, 7_001), "64")
        self.assert_code(terminal.refund(sale, 7_000), "00")
        self.assertEqual(self.network(terminal, kind="sale")[0]["state"], "refunded")
        self.assert_code(terminal.refund(sale, 1), "64")

    def test_refund_repeated_is_paid_once(self):
        terminal = self.terminal("003")
        refund = terminal.refund(self.sold(terminal, 6_000).entry, 1_000)
        self.assert_code(refund, "00")
        self.assertEqual(terminal.send_frame(refund.request).body, refund.answer.body)
        self.assertEqual(len(self.network(terminal, kind="refund")), 1)

    def test_refund_from_another_terminal_of_the_merchant(self):
        seller, refunder = self.terminal("003"), self.terminal("003")
        sale = self.sold(seller, 6_100).entry
        self.assert_code(refunder.refund(sale, 6_100), "00")

    def test_refund_must_fit_its_original(self):
        terminal = self.terminal("003")
        sale = self.sold(terminal, 6_200).entry
        other_day = "0101" if sale.date != "0101" else "0102"
        cases = (
            ("unknown reference", replace(sale, rrn="999999999999")),
            ("another day", replace(sale, date=other_day)),
            ("another card", replace(sale, card=DECK["L03"])),
        )
        for name, wrong in cases:
            with self.subTest(name):
                self.assert_code(terminal.refund(wrong, 100), "25")
        self.assertEqual(self.network(terminal, kind="refund"), [])

    def test_void_and_refund_exclude_each_other(self):
        terminal = self.terminal("003")
        voided, refunded = self.sold(terminal, 6_300).entry, self.sold(terminal, 6_400).entry
        self.assert_code(terminal.void(voided, "123456"), "00")
        self.assert_code(terminal.refund(voided, 6_300), "12", "25", "64")
        self.assert_code(terminal.refund(refunded, 1_000), "00")
        self.assert_code(terminal.void(refunded, "123456"), "12", "25", "64")


class Variants(Scenario):
    """What real terminals do differently, and what is not served."""

    def answered(self, terminal, mti: str, fields: dict, *, signed: bool = True):
        """Sends a message as it is; the answer is decoded, not believed."""
        return terminal.send_frame(terminal.frame(terminal.encode(mti, fields, signed=signed)))

    def test_headers_and_tpdus_come_back_as_they_should(self):
        terminal = self.terminal("003")
        body = terminal.encode("0820", terminal.identity(1) | {"60": "00000001301"}, signed=False)
        with terminal.dial() as connection:
            for header in ("603200320001", "61320032FFF1", "603110000000"):
                connection.send(framed(bytes.fromhex("6000251234" + header) + body))
                head = connection.receive()[:11].hex().upper()
                self.assertEqual(head, "6012340025" + header)

    def test_sign_in_with_a_device_serial(self):
        terminal = self.terminal(None)
        fields = terminal.identity(1) | {"60": "00000001003", "63": "001"}
        fields["62"] = b"Sequence No16315053SX-4C304190".hex().upper()
        self.assert_code(self.answered(terminal, "0800", fields, signed=False), "00")

    def test_originals_told_in_other_ways(self):
        terminal = self.terminal("003")
        sale = self.sold(terminal, 6_500).entry
        for number in (f"{sale.batch:06}{sale.trace:06}{sale.date}", f"{0:016}", f"{0:012}"):
            with self.subTest(f"refund, 61 of {len(number)} digits"):
                fields = terminal.refund_fields(sale, 500) | {"61": number}
                self.assert_code(terminal.transact("refund", sale.card, fields), "00")
        sale = self.sold(terminal, 6_600).entry
        fields = terminal.void_fields(sale, None)
        fields["61"] += sale.date
        self.assert_code(terminal.transact("void", sale.card, fields), "00")

    def test_lengths_of_field_60(self):
        terminal = self.terminal("003")
        for digits in (11, 13, 14, 17):
            with self.subTest(digits):
                fields = terminal.payment_fields("sale", DECK["M01"], 600 + digits, pin="123456")
                fields["60"] = fields["60"].ljust(digits, "0")[:digits]
                self.assert_code(terminal.transact("sale", DECK["M01"], fields), "00")

    def test_transactions_that_are_not_served_are_40(self):
        terminal = self.terminal("003")
        stored = terminal.payment_fields("sale", DECK["M01"], 700, pin="123456")
        stored |= {"3": "030000", "25": "06", "60": "48" + stored["60"][2:]}
        self.assert_code(self.answered(terminal, "0100", stored), "40")
        # Codes that nobody knows, that the specification only names, and known ones in the other type of message.
        unknown = (("0800", "999"), ("0820", "999"), ("0800", "373"), ("0820", "401"), ("0800", "372"), ("0820", "360"))
        for mti, code in unknown:
            with self.subTest(f"{mti} {code}"):
                fields = terminal.identity(1) | {"60": f"00000001{code}", "63": "01 "}
                self.assert_code(self.answered(terminal, mti, fields, signed=False), "40")

    def test_messages_that_contradict_themselves(self):
        terminal = self.terminal("003")
        cases = (
            ("account number and track", {"2": DECK["L02"].pan}, ("14", "30", "59")),
            ("foreign currency", {"49": "840"}, ("30",)),
            ("currency in letters", {"49": "RMB"}, ("30",)),
            ("a PIN that 22 denies", {"22": "022"}, ("30",)),
            ("encrypted track without a track key", {"53": "2610000000000000"}, ("30", "77")),
        )
        for name, changes, codes in cases:
            with self.subTest(name):
                fields = terminal.payment_fields("sale", DECK["M01"], 800, pin="123456") | changes
                self.assert_code(self.answered(terminal, "0200", fields), *codes)
        self.assertEqual(self.network(terminal, state="approved"), [])

    def test_a_mac_in_small_letters_is_wrong(self):
        terminal = self.terminal("003")
        body = b"0" * 8
        while body[-8:].isdigit():  # one MAC in forty has no letter in it
            fields = terminal.payment_fields("sale", DECK["M01"], 900, pin="123456")
            body = terminal.encode("0200", fields, signed=True)
        self.assert_code(terminal.send_frame(terminal.frame(body[:-8] + body[-8:].lower())), "A0")

    def test_two_merchants_whose_terminals_have_one_number(self):
        here, there = self.lab.neighbours()
        for terminal in (here, there):
            self.watched(terminal)
            self.assertEqual(terminal.sign_in("003").code, "00")
            terminal.next_trace = 700_001
        ours, theirs = self.sold(here, 2_000).entry, self.sold(there, 2_000).entry
        self.assertEqual((ours.batch, ours.trace), (theirs.batch, theirs.trace))
        self.assertNotEqual(ours.rrn, theirs.rrn)
        self.assert_code(there.refund(ours, 100), "25")
        self.assert_code(there.void(replace(theirs, rrn=ours.rrn), None), "25")
        self.assert_code(there.reverse_entry(theirs), "00")
        self.assertEqual([line["state"] for line in self.network(here, rrn=ours.rrn)], ["approved"])
        self.assert_code(here.void(ours, None), "00")


class DoubleLengthMacKey(Scenario):
    """A node that gives MAC keys of double length: a laboratory of its own."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.lab = Laboratory(des_terminals=2, profile={"mac_key": 16})
        cls.addClassCleanup(cls.lab.close)

    def test_sales_with_16_byte_mac_keys(self):
        for layout in ("003", "004"):
            with self.subTest(layout):
                terminal = self.terminal(layout, encrypt_tracks=layout == "004")
                self.assertEqual(len(terminal.keys.mac), 16)
                sale = self.sold(terminal, 3_500)
                self.assert_code(terminal.void(sale.entry, "123456"), "00")


class Books(BooksAgree, Scenario):
    """See BooksAgree."""


if __name__ == "__main__":
    unittest.main()
