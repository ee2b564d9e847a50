"""What is undone: reversals by the terminal, silence of the network, a node that is stopped or killed.

In each case the outcome becomes known and the same in three books: at the terminal, in the node's journal, in
the network's record.
"""

import signal
import unittest
from dataclasses import replace

from deck import DECK
from laboratory import BooksAgree, Laboratory, Scenario, books_of_network, wait_until
from terminal import BadAnswer, NoAnswer


def setUpModule() -> None:
    Scenario.lab = Laboratory(des_terminals=30)
    unittest.addModuleCleanup(Scenario.lab.close)


def load_tests(loader, _tests, _pattern):
    """The order of the file; the comparison of all books comes last."""
    suite = unittest.TestSuite()
    for case in (Reversals, Silence, Restart, Books):
        suite.addTests(loader.loadTestsFromTestCase(case))
    return suite


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
        fields = terminal.payment_fields("sale", DECK["M01"], 7_100, pin="123456")
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
        fields = terminal.payment_fields("sale", DECK["M01"], 7_400, pin=None, trace=sale.entry.trace)
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
            terminal.sale(DECK["M01"], 7_500, "123456")
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
            terminal.sale(DECK["M01"], 7_700, "123456")
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
        fields = terminal.payment_fields("sale", DECK["M01"], 19_002, pin="123456")
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
        outcome = terminal.sale(DECK["M01"], amount, "123456")
        self.assert_code(outcome, "68")
        self.assertIsNone(terminal.pending)
        if state:
            wait_until(
                f"the network has the sale as {state}",
                lambda: [line["state"] for line in self.network(terminal, kind="sale")] == [state],
            )
        wait_until(
            "the node has seen the reversal done",
            lambda: [p["state"] for p in self.lab.journal(terminal.terminal)] == ["reversed"],
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
                outcome = terminal.sale(DECK["M01"], amount, "123456")
                self.assertFalse(outcome.approved)
                wait_until("the line is up again", self.lab.healthy)
                wait_until(
                    "nothing of it is in force at the network",
                    lambda t=terminal: books_of_network(self.network(t))["sale"] == (0, 0),
                )
        self.sold(terminal, 8_100)


class Restart(Scenario):
    def test_sessions_answers_and_batches_survive_a_restart(self):
        terminal = self.terminal("003", keep_open=True)
        sale = self.sold(terminal, 9_200)
        keys = terminal.keys
        self.assertEqual(self.lab.stop_node(), 0)
        self.lab.start_node()
        self.assertEqual(terminal.send_frame(sale.request).body, sale.answer.body)
        self.assertIs(terminal.keys, keys)
        self.assert_code(terminal.void(sale.entry, "123456"), "00")
        self.assertTrue(terminal.settle().balanced)


    def test_a_node_killed_while_a_sale_is_under_way_undoes_it_after_its_restart(self):
        terminal = self.terminal("003")
        # The network processes this amount and answers late: the node is killed while it waits.
        fields = terminal.payment_fields("sale", DECK["M01"], 39_002, pin="123456")
        frame = terminal.frame(terminal.encode("0200", fields, signed=True))
        connection = terminal.dial()
        connection.send(frame)
        wait_until("the sale is under way", lambda: self.network(terminal, kind="sale"))
        self.lab.stop_node(signal.SIGKILL)
        connection.close()
        self.lab.start_node()
        wait_until(
            "the network has it reversed",
            lambda: [line["state"] for line in self.network(terminal, kind="sale")] == ["reversed"],
        )
        self.assertFalse(terminal.send_frame(frame).approved)
        self.assert_code(terminal.reverse(fields), "00", "25")

    def test_reversals_that_wait_are_sent_after_a_restart(self):
        terminal = self.terminal("003")
        sale = self.sold(terminal, 9_300)
        self.lab.simulator("/api/faults", {"rules": [{"fault": "lost", "classes": [420]}]})
        self.addCleanup(self.lab.simulator, "/api/faults", {"rules": []})
        self.assert_code(terminal.reverse_entry(sale.entry), "00")
        self.assertEqual(self.lab.stop_node(), 0)
        self.assertEqual(self.network(terminal, kind="sale")[0]["state"], "approved")
        self.lab.simulator("/api/faults", {"rules": []})
        self.lab.start_node()
        wait_until(
            "the network has it reversed",
            lambda: self.network(terminal, kind="sale")[0]["state"] == "reversed",
        )


class Books(BooksAgree, Scenario):
    """See BooksAgree."""


if __name__ == "__main__":
    unittest.main()
