"""A terminal that shares no code with posp takes payments through a real posp and a simulated UnionPay.

Each scenario uses terminals of its own. After each, three books must agree: what the terminal believes, what
the node's journal says, what the network's record says. At the end the totals of all are compared once more.
"""

import unittest
from dataclasses import replace

from deck import DECK, Card
from laboratory import (
    MERCHANT_CLOSED,
    Laboratory,
    Scenario,
    books_of_network,
    books_of_node,
    books_of_terminal,
    wait_until,
)
from pos_crypto import DesKey, WorkingKeys
from terminal import BadAnswer, NoAnswer, PendingReversal

LAB: Laboratory


def setUpModule() -> None:
    global LAB
    LAB = Laboratory(des_terminals=70, sm4_terminals=3)
    unittest.addModuleCleanup(LAB.close)
    Scenario.lab = LAB


def load_tests(loader, _tests, _pattern):
    """The order of the file; the comparison of all books comes last."""
    suite = unittest.TestSuite()
    for case in (SignIn, Payments, Repeats, Voids, Refunds, Reversals, Silence, Settlements, Restart, Books):
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
        fields = terminal.payment_fields("sale", DECK["L02"], 1_700, pin=DECK["L02"].pin)
        frame = terminal.frame(terminal.encode("0200", fields, signed=True))
        self.assert_code(terminal.send_frame(frame), "A0")

    def test_not_signed_in_and_signed_off_are_told_to_sign_in(self):
        terminal = self.terminal(None)
        terminal.keys, terminal.layout = WorkingKeys(DesKey(b"\x01" * 16), DesKey(b"\x02" * 8)), "003"
        fields = terminal.payment_fields("sale", DECK["L02"], 1_800, pin="123456")
        frame = terminal.frame(terminal.encode("0200", fields, signed=True))
        self.assert_code(terminal.send_frame(frame), "77")
        self.assertEqual(terminal.sign_in("003").code, "00")
        self.sold(terminal, 1_900)
        self.assertEqual(terminal.sign_off().code, "00")
        outcome = terminal.sale(DECK["L02"], 2_000, "123456")
        self.assert_code(outcome, "77")
        self.assertTrue(terminal.must_sign_in)

    def test_echo_needs_no_session(self):
        self.assertEqual(self.terminal(None).echo().code, "00")

    def test_unknown_terminal_97_and_unknown_or_closed_merchant_03(self):
        terminal = self.terminal(None)
        terminal.terminal = "99999999"
        self.assert_code(terminal.sign_in("003"), "97")
        for merchant in ("898199999999999", MERCHANT_CLOSED):
            terminal = self.terminal(None)
            terminal.merchant = merchant
            self.assert_code(terminal.sign_in("003"), "03")

    def test_unknown_terminal_97_and_unknown_merchant_03_for_a_sale(self):
        terminal = self.terminal("003")
        real = terminal.terminal
        terminal.terminal = "99999999"
        self.assert_code(terminal.sale(DECK["L02"], 2_100, "123456"), "97")
        terminal.terminal, terminal.merchant = real, "898199999999999"
        self.assert_code(terminal.sale(DECK["L02"], 2_100, "123456"), "03")


class Payments(Scenario):
    def test_sale_approved_with_all_fields_of_the_answer(self):
        terminal = self.terminal("003")
        outcome = self.sold(terminal, 12_345)
        fields = outcome.answer.fields
        wanted = "2 3 4 11 12 13 15 25 32 37 38 39 41 42 44 49 60 64".split()
        self.assertEqual([number for number in wanted if number not in fields], [])
        self.assertEqual(fields["2"], DECK["L02"].pan)
        self.assertTrue(terminal.mac_is_right(outcome.answer))
        (line,) = self.network(terminal)
        self.assertEqual((line["kind"], line["amount"], line["rrn"]), ("sale", 12_345, outcome.entry.rrn))

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
        stranger = replace(DECK["L02"], pan="6259990000000001")
        cases = (
            ("chip card swiped without a failed chip", "45", DECK["L02"], "123456", False, 2_700),
            ("no money", "51", DECK["L04"], "123456", True, 50_000),
            ("expired", "54", DECK["L10"], "123456", True, 2_700),
            ("PIN tries used up", "75", DECK["L11"], "123456", True, 2_700),
            ("debit card without PIN", "55", DECK["L02"], None, True, 2_700),
            ("decline by amount", "61", DECK["L02"], "123456", True, 9_161),
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
        card = DECK["L02"]
        forged = Card(card.name, card.pan, card.expiry, card.service, card.pin, tail="1111111111")
        self.assert_code(terminal.sale(forged, 2_800, card.pin), "59")

    def test_wrong_mac_is_answered_a0_and_the_answer_is_signed(self):
        terminal = self.terminal("003")
        fields = terminal.payment_fields("sale", DECK["L02"], 2_900, pin="123456")
        body = terminal.encode("0200", fields, signed=True)
        wrong = body[:-8] + bytes(reversed(body[-8:]))
        answer = terminal.send_frame(terminal.frame(wrong))
        self.assert_code(answer, "A0")
        self.assertTrue(terminal.mac_is_right(answer))
        # A message changed on the way, its MAC as it was.
        changed = bytearray(body)
        changed[24] ^= 0x01
        self.assert_code(terminal.send_frame(terminal.frame(bytes(changed))), "A0")
        self.assertEqual(self.network(terminal), [])

    def test_a_sale_without_mac_is_refused(self):
        terminal = self.terminal("003")
        fields = terminal.payment_fields("sale", DECK["L02"], 3_000, pin="123456")
        answer = terminal.send_frame(terminal.frame(terminal.encode("0200", fields, signed=False)))
        self.assert_code(answer, "30", "A0")
        self.assertEqual(self.network(terminal), [])

    def test_pin_block_under_another_key_is_99(self):
        terminal = self.terminal("003")
        right = terminal.keys
        terminal.keys = WorkingKeys(DesKey(b"\x01\x02\x04\x07\x08\x0b\x0d\x0e" * 2), right.mac)
        fields = terminal.payment_fields("sale", DECK["L02"], 3_100, pin="123456")
        terminal.keys = right
        frame = terminal.frame(terminal.encode("0200", fields, signed=True))
        self.assert_code(terminal.send_frame(frame), "99")

    def test_another_batch_than_the_current_one_is_77(self):
        terminal = self.terminal("003")
        terminal.batch += 5
        self.assert_code(terminal.sale(DECK["L02"], 3_200, "123456"), "77")

    def test_amount_zero_is_13(self):
        terminal = self.terminal("003")
        self.assert_code(terminal.sale(DECK["L02"], 0, "123456"), "13")

    def test_each_mandatory_field_that_is_missing_is_30(self):
        terminal = self.terminal("003")
        for number in ("4", "22", "49", "35"):
            with self.subTest(number):
                fields = terminal.payment_fields("sale", DECK["L02"], 3_300, pin="123456")
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
        fields = terminal.payment_fields("sale", DECK["L02"], 4_200, pin="123456", trace=outcome.entry.trace)
        frame = terminal.frame(terminal.encode("0200", fields, signed=True))
        self.assert_code(terminal.send_frame(frame), "94")
        self.assertEqual(len(self.network(terminal)), 1)

    def test_a_request_sent_twice_at_once_is_paid_once(self):
        terminal = self.terminal("003")
        fields = terminal.payment_fields("sale", DECK["L02"], 4_300, pin="123456")
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
        terminal.book("sale", fields, answer, DECK["L02"])
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


class Reversals(Scenario):
    def reversed_at_network(self, terminal, count: int = 1) -> None:
        wait_until(
            f"the network has {count} reversed sale(s) of terminal {terminal.terminal}",
            lambda: len(self.network(terminal, kind="sale", state="reversed")) == count,
        )

    def test_reversal_after_the_answer_undoes_the_sale(self):
        terminal = self.terminal("003")
        sale = self.sold(terminal, 7_000)
        answer = terminal.reverse_entry(sale.entry, "06")
        self.assert_code(answer, "00")
        self.reversed_at_network(terminal)
        # Sent again it is answered as done, and the sale can neither be voided nor repeated into life.
        self.assert_code(terminal.reverse_entry(sale.entry, "06"), "00", "25")
        self.assert_code(terminal.void(sale.entry, "123456"), "12", "25")
        self.assert_code(terminal.send_frame(sale.request), "25")
        self.assert_code(terminal.refund(sale.entry, 7_000), "12", "25")

    def test_reversal_before_its_original_and_the_late_original_is_25(self):
        terminal = self.terminal("003")
        fields = terminal.payment_fields("sale", DECK["L02"], 7_100, pin="123456")
        self.assert_code(terminal.reverse(fields), "00")
        self.assert_code(terminal.reverse(fields), "00", "25")
        late = terminal.frame(terminal.encode("0200", fields, signed=True))
        self.assert_code(terminal.send_frame(late), "25")
        self.assert_code(terminal.send_frame(late), "25")
        self.assertEqual(self.network(terminal, kind="sale"), [])

    def test_reversal_with_another_amount_is_64_and_the_sale_stands(self):
        terminal = self.terminal("003")
        sale = self.sold(terminal, 7_200).entry
        self.assert_code(terminal.reverse_entry(replace(sale, amount=7_201)), "64")
        self.assertEqual(self.network(terminal, kind="sale")[0]["state"], "approved")

    def test_reversal_of_a_declined_sale_is_done_already(self):
        terminal = self.terminal("003")
        declined = terminal.sale(DECK["L04"], 50_000, "123456")
        self.assert_code(terminal.reverse_entry(declined.entry), "00", "25", "12")

    def test_reversal_of_a_void_brings_the_sale_back_and_it_can_be_voided_again(self):
        terminal = self.terminal("003")
        sale = self.sold(terminal, 7_300).entry
        void = terminal.void(sale, "123456")
        self.assert_code(void, "00")
        self.assert_code(terminal.reverse_entry(void.entry), "00")
        wait_until(
            "the sale is in force again",
            lambda: self.network(terminal, kind="sale")[0]["state"] == "approved",
        )
        again = wait_until(
            "the sale can be voided again",
            lambda: (outcome := terminal.void(sale, "123456")).approved and outcome,
        )
        self.assert_code(again, "00")

    def test_reversal_with_a_wrong_mac_does_nothing(self):
        terminal = self.terminal("003")
        sale = self.sold(terminal, 7_400)
        fields = terminal.payment_fields("sale", DECK["L02"], 7_400, pin=None, trace=sale.entry.trace)
        body = terminal.encode("0400", terminal.reversal_fields(fields, "98"), signed=True)
        answer = terminal.send_frame(terminal.frame(body[:-8] + bytes(reversed(body[-8:]))))
        self.assert_code(answer, "A0")
        self.assertEqual(self.network(terminal, kind="sale")[0]["state"], "approved")

    def test_a_terminal_that_lost_the_answer_reverses_before_its_next_sale(self):
        terminal = self.terminal("003")

        def deaf(frame):
            with terminal.dial() as connection:
                connection.send(frame)
                connection.receive()
            raise NoAnswer("the line broke before the answer")

        listen, terminal.send_frame = terminal.send_frame, deaf
        with self.assertRaises(NoAnswer):
            terminal.sale(DECK["L02"], 7_500, "123456")
        terminal.send_frame = listen
        self.assertEqual(self.network(terminal)[0]["state"], "approved")
        self.sold(terminal, 7_600)
        self.assertIsNone(terminal.pending)
        self.reversed_at_network(terminal)

    def test_an_answer_with_a_wrong_mac_is_reversed_with_a0(self):
        terminal = self.terminal("003")
        right = terminal.keys
        honest = terminal.mac_is_right
        terminal.mac_is_right = lambda answer: False
        with self.assertRaises(BadAnswer):
            terminal.sale(DECK["L02"], 7_700, "123456")
        terminal.mac_is_right = honest
        self.assertEqual(terminal.pending.reason, "A0")
        self.assertTrue(terminal.must_sign_in)
        self.assertEqual(terminal.sign_in("003").code, "00")
        self.assertNotEqual(terminal.keys.mac.check_value(), right.mac.check_value())
        self.assertTrue(terminal.send_reversal())
        self.reversed_at_network(terminal)

    def test_a_reversal_that_overtakes_its_sale_wins(self):
        terminal = self.terminal("003")
        # The network answers this amount late: the sale is under way while the reversal comes.
        fields = terminal.payment_fields("sale", DECK["L02"], 19_002, pin="123456")
        frame = terminal.frame(terminal.encode("0200", fields, signed=True))
        with terminal.dial() as connection:
            connection.send(frame)
            wait_until("the sale is under way", lambda: self.network(terminal, kind="sale"))
            self.assert_code(terminal.reverse(fields), "00")
            answer = terminal.read(connection.receive())
        self.assertFalse(answer.approved)
        self.reversed_at_network(terminal)
        self.assertFalse(terminal.send_frame(frame).approved)


class Silence(Scenario):
    """What the network does not answer in time is answered 68 and undone by posp, not by the terminal."""

    def undone(self, amount: int, state: str | None) -> None:
        terminal = self.terminal("003")
        outcome = terminal.sale(DECK["L02"], amount, "123456")
        self.assert_code(outcome, "68")
        self.assertIsNone(terminal.pending)
        if state:
            wait_until(
                f"the network has the sale as {state}",
                lambda: [line["state"] for line in self.network(terminal, kind="sale")] == [state],
            )
        wait_until(
            "the node has seen the reversal done",
            lambda: [p["state"] for p in LAB.journal(terminal.terminal)] == ["reversed"],
        )
        self.assertFalse(terminal.send_frame(outcome.request).approved)

    def test_never_answered(self):
        self.undone(29_001, "reversed")

    def test_answered_late(self):
        self.undone(29_002, "reversed")

    def test_lost_before_the_network(self):
        self.undone(29_007, None)

    def test_reversal_answer_lost_too(self):
        self.undone(29_004, "reversed")

    def test_answered_twice_counts_once(self):
        terminal = self.terminal("003")
        self.sold(terminal, 29_003)
        self.sold(terminal, 8_000)

    def test_refund_without_answer_is_repeated_until_it_is_known(self):
        terminal = self.terminal("003")
        sale = self.sold(terminal, 60_000).entry
        fields = terminal.refund_fields(sale, 29_001)
        refund = terminal.transact("refund", sale.card, fields)
        self.assert_code(refund, "09")
        answer = wait_until(
            "the refund is known",
            lambda: (again := terminal.send_frame(refund.request)).code != "09" and again,
        )
        self.assert_code(answer, "00")
        terminal.book("refund", fields, answer, sale.card)

    def test_line_drops_before_and_after_the_network_processed_it(self):
        for amount in (29_006, 29_005):
            with self.subTest(amount):
                terminal = self.terminal("003")
                outcome = terminal.sale(DECK["L02"], amount, "123456")
                self.assertFalse(outcome.approved)
                wait_until("the line is up again", LAB.healthy)
                wait_until(
                    "nothing of it is in force at the network",
                    lambda t=terminal: books_of_network(self.network(t))["sale"] == (0, 0),
                )
        self.sold(terminal, 8_100)


class Settlements(Scenario):
    def busy_terminal(self):
        terminal = self.terminal("003")
        self.sold(terminal, 10_001)
        self.sold(terminal, 20_002, "L03")
        voided = self.sold(terminal, 30_003).entry
        self.assert_code(terminal.void(voided, "123456"), "00")
        self.assert_code(terminal.refund(terminal.journal[0], 5_005), "00")
        # Declined and reversed payments count nowhere.
        self.assert_code(terminal.sale(DECK["L04"], 50_000, "123456"), "51")
        self.assert_code(terminal.reverse_entry(self.sold(terminal, 40_004).entry), "00")
        return terminal

    def differences(self, terminal, batch: int) -> dict[str, str]:
        """Trace -> kind of difference, as an operator sees them."""
        text = LAB.posp("settlement", "differences", "--terminal", terminal.terminal, "--batch", str(batch))
        found = {}
        for line in text.splitlines():
            words = line.split()
            for at, word in enumerate(words):
                if word in ("only_terminal", "only_host", "amount", "card") and words[at - 1].isdigit():
                    found[words[at - 1]] = word
        return found

    def test_balanced(self):
        terminal = self.busy_terminal()
        batch = terminal.batch
        self.assertEqual(terminal.totals()[:30], "000000060006003000000035008002")
        settlement = terminal.settle()
        self.assertEqual(
            (settlement.code, settlement.domestic, settlement.foreign, settlement.end_code),
            ("00", "1", "1", "00"),
        )
        self.assertEqual(terminal.batch, batch + 1)
        self.assertEqual(self.differences(terminal, batch), {})
        self.sold(terminal, 8_200)
        self.assertEqual(terminal.sign_in("003").code, "00")
        self.assertEqual(terminal.batch, batch + 1)

    def test_empty_batch(self):
        settlement = self.terminal("003").settle()
        self.assertEqual((settlement.code, settlement.balanced, settlement.end_code), ("00", True, "00"))

    def test_the_old_batch_is_closed(self):
        terminal = self.terminal("003")
        sale = self.sold(terminal, 8_300).entry
        self.assertTrue(terminal.settle().balanced)
        terminal.batch -= 1
        self.assert_code(terminal.sale(DECK["L02"], 8_400, "123456"), "77")
        terminal.batch += 1
        # A void needs the sale's own batch; a refund does not.
        self.assert_code(terminal.void(sale, "123456"), "25")
        self.assert_code(terminal.refund(sale, 8_300), "00")

    def test_the_same_trace_number_is_new_in_the_next_batch(self):
        terminal = self.terminal("003")
        trace = self.sold(terminal, 8_500).entry.trace
        self.assertTrue(terminal.settle().balanced)
        terminal.next_trace = trace
        self.sold(terminal, 8_500)

    def test_unbalanced_totals_are_answered_2(self):
        terminal = self.terminal("003")
        self.sold(terminal, 8_600)
        zeros = "0" * 31
        cases = (
            ("amount", "000000008601001000000000000000" + "0" + zeros, ("2", "1")),
            ("count", "000000008600002000000000000000" + "0" + zeros, ("2", "1")),
            ("credit side", "000000008600001000000000001001" + "0" + zeros, ("2", "1")),
            ("foreign block", "000000008600001000000000000000" + "0" + "000000000001001" + "0" * 16, ("1", "2")),
            ("right", terminal.totals(), ("1", "1")),
        )
        for name, totals, results in cases:
            with self.subTest(name):
                settlement, answer = terminal.settlement_request(totals)
                self.assertEqual(settlement.code, "00")
                self.assertEqual((settlement.domestic, settlement.foreign), results)
                # The host gives the totals back and changes the two results only.
                sent = totals[:30] + results[0] + totals[31:61] + results[1]
                self.assertEqual(answer.fields["48"], sent)
        self.assertEqual(terminal.end_batch(0, True).code, "00")

    def test_batch_up_finds_missing_extra_and_changed_lines(self):
        terminal = self.busy_terminal()
        batch = terminal.batch
        entries = list(terminal.journal)
        missing, changed, other_card = entries[0], entries[1], entries[2]
        extra = replace(entries[0], trace=900_001, amount=77)
        lines = [terminal.detail(entry) for entry in entries[3:]]
        lines += [
            terminal.detail(replace(changed, amount=changed.amount + 1)),
            terminal.detail(replace(other_card, card=DECK["L12"])),
            terminal.detail(extra),
        ]
        settlement, _ = terminal.settlement_request("000000000077001" + "0" * 47)
        self.assertEqual(settlement.domestic, "2")
        self.assertEqual(terminal.upload(lines), ["00"])
        self.assertEqual(terminal.end_batch(len(lines), False).code, "00")
        self.assertEqual(
            self.differences(terminal, batch),
            {
                f"{missing.trace:06}": "only_host",
                f"{changed.trace:06}": "amount",
                f"{other_card.trace:06}": "card",
                f"{extra.trace:06}": "only_terminal",
            },
        )
        self.assertEqual(terminal.batch, batch + 1)
        self.sold(terminal, 8_700)

    def test_a_long_batch_is_uploaded_eight_at_a_time(self):
        terminal = self.terminal("003")
        for amount in range(101, 112):
            self.sold(terminal, amount)
        batch = terminal.batch
        # One payment that the terminal forgot: the totals differ, the details show which one.
        forgotten = terminal.journal.pop()
        settlement = terminal.settle()
        self.assertEqual((settlement.domestic, settlement.uploaded, settlement.end_code), ("2", 10, "00"))
        self.assertEqual(self.differences(terminal, batch), {f"{forgotten.trace:06}": "only_host"})

    def test_lost_answers_of_a_settlement_can_be_asked_again(self):
        terminal = self.terminal("003")
        self.sold(terminal, 8_800)
        totals = terminal.totals()
        for _ in range(2):
            settlement, _ = terminal.settlement_request(totals)
            self.assertTrue(settlement.balanced)
        batch = terminal.batch
        self.assertEqual(terminal.end_batch(0, True).code, "00")
        # The terminal lost the answer of the end message and sends it again for the batch it knows.
        terminal.batch = batch
        self.assertEqual(terminal.end_batch(0, True).code, "00")
        self.assertEqual(terminal.batch, batch + 1)
        self.sold(terminal, 8_900)

    def test_a_pending_reversal_goes_out_before_the_settlement(self):
        terminal = self.terminal("003")
        self.sold(terminal, 9_000)
        lost = self.sold(terminal, 9_050)
        fields = terminal.payment_fields("sale", DECK["L02"], 9_050, pin="123456", trace=lost.entry.trace)
        terminal.pending = PendingReversal(fields)
        terminal.forget(lost.entry)
        self.assertTrue(terminal.settle().balanced)


class Restart(Scenario):
    def test_sessions_answers_and_batches_survive_a_restart(self):
        terminal = self.terminal("003", keep_open=True)
        sale = self.sold(terminal, 9_200)
        keys = terminal.keys
        self.assertEqual(LAB.stop_node(), 0)
        LAB.start_node()
        self.assertEqual(terminal.send_frame(sale.request).body, sale.answer.body)
        self.assertIs(terminal.keys, keys)
        self.assert_code(terminal.void(sale.entry, "123456"), "00")
        self.assertTrue(terminal.settle().balanced)


class Books(Scenario):
    def test_totals_of_all_terminals_equal_the_networks_record(self):
        entries = [entry for terminal in LAB.terminals for entry in terminal.history]
        believed = books_of_terminal(entries)
        record = LAB.record()
        node = [payment for terminal in LAB.terminals for payment in LAB.journal(terminal.terminal)]
        self.assertEqual(books_of_network(record), believed)
        self.assertEqual(books_of_node(node), believed)
        self.assertGreater(believed["sale"][0], 40)
        # The network's own bookkeeping: what it owes is sales less voids and refunds.
        days = LAB.simulator("/api/totals")
        net = sum(day["net"] for day in days.values())
        self.assertEqual(net, believed["sale"][1] - believed["void"][1] - believed["refund"][1])
        # No payment reached the network twice.
        for line in record:
            if line["kind"] in ("sale", "void"):
                self.assertEqual(line["arrivals"], 1, f"record line {line['id']}")

    def test_no_reversal_is_left_over(self):
        self.assertNotIn("unionpay", LAB.posp("forward", "list"))

    def test_no_card_data_and_no_pin_block_in_logs_and_data_files(self):
        self.assertEqual(LAB.leaks(), [])


if __name__ == "__main__":
    unittest.main()
