"""What is undone: reversals by the terminal, silence of the network, a node that is stopped or killed.

In each case the outcome becomes known and the same in three books: at the terminal, in the node's journal, in
the network's record.
"""

import contextlib
import os
import random
import signal
import threading
import unittest
from dataclasses import replace

from deck import DECK
from laboratory import BooksAgree, Laboratory, Scenario, books_of_network, wait_until
from terminal import BadAnswer, NoAnswer, ReversalBlocked


def setUpModule() -> None:
    Scenario.lab = Laboratory(des_terminals=45)
    unittest.addModuleCleanup(Scenario.lab.close)


def load_tests(loader, _tests, _pattern):
    """The order of the file; the comparison of all books comes last."""
    suite = unittest.TestSuite()
    for case in (Reversals, Silence, Races, Traffic, Restart, Books):
        suite.addTests(loader.loadTestsFromTestCase(case))
    return suite


@contextlib.contextmanager
def losing_answers(terminal):
    """What the terminal sends inside arrives and is answered; the line breaks before it can read."""

    def deaf(frame):
        with terminal.dial() as connection:
            connection.send(frame)
            connection.receive()
        raise NoAnswer("the line broke before the answer")

    listen, terminal.send_frame = terminal.send_frame, deaf
    try:
        yield
    finally:
        terminal.send_frame = listen


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

        with losing_answers(terminal), self.assertRaises(NoAnswer):
            terminal.sale(DECK["M01"], 7_500, "123456")
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
            lambda: [p["state"] for p in self.lab.journal(terminal)] == ["reversed"],
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


class Races(Scenario):
    """Requests that meet each other: one wins, and the books say which."""

    def at_once(self, terminal, frames: list[bytes]) -> list[str]:
        """Sends frames on a connection each before any answer is read; the codes of the answers."""
        connections = [terminal.dial() for _ in frames]
        for connection, frame in zip(connections, frames):
            connection.send(frame)
        answers = [terminal.read(connection.receive()) for connection in connections]
        for connection in connections:
            connection.close()
        self.answers = answers
        return [answer.code for answer in answers]

    def test_of_many_voids_one_is_good(self):
        terminal = self.terminal("003")
        sale = self.sold(terminal, 5_500).entry
        requests = [terminal.void_fields(sale, None) for _ in range(8)]
        frames = [terminal.frame(terminal.encode("0200", fields, signed=True)) for fields in requests]
        codes = self.at_once(terminal, frames)
        self.assertEqual(sorted(codes), ["00"] + ["12"] * 7)
        for fields, answer in zip(requests, self.answers):
            terminal.book("void", fields, answer, sale.card)

    def test_refunds_at_once_never_exceed_the_sale(self):
        terminal = self.terminal("003")
        sale = self.sold(terminal, 10_000).entry
        requests = [terminal.refund_fields(sale, 3_000) for _ in range(8)]
        frames = [terminal.frame(terminal.encode("0220", fields, signed=True)) for fields in requests]
        codes = self.at_once(terminal, frames)
        self.assertEqual(sorted(codes), ["00"] * 3 + ["64"] * 5)
        for fields, answer in zip(requests, self.answers):
            terminal.book("refund", fields, answer, sale.card)

    def test_a_void_without_answer_is_undone_and_the_sale_can_be_voided_again(self):
        terminal = self.terminal("003")
        sale = self.sold(terminal, 5_600).entry
        self.lab.faults({"fault": "no_answer", "span": {"next": 1}, "classes": [200]})
        self.assert_code(terminal.void(sale, "123456"), "68")
        again = wait_until(
            "the sale can be voided again",
            lambda: (outcome := terminal.void(sale, "123456")).approved and outcome,
        )
        self.assert_code(again, "00")
        states = [line["state"] for line in self.network(terminal, kind="void")]
        self.assertEqual(states, ["reversed", "approved"])

    def test_a_sale_reversed_while_its_void_is_under_way_ends_undone_once(self):
        terminal = self.terminal("003")
        sale = self.sold(terminal, 5_700).entry
        self.lab.faults({"fault": "late_answer", "span": {"next": 1}, "classes": [200]})
        void = terminal.void_fields(sale, None)
        with terminal.dial() as connection:
            connection.send(terminal.frame(terminal.encode("0200", void, signed=True)))
            wait_until("the void is under way", lambda: self.network(terminal, kind="void"))
            self.assert_code(terminal.refund(sale, 100), "12", "25")
            self.assert_code(terminal.reverse_entry(sale), "00")
            self.assertFalse(terminal.read(connection.receive()).approved)
        wait_until(
            "both are reversed at the network",
            lambda: {line["state"] for line in self.network(terminal) if line["kind"] != "reversal"}
            == {"reversed"},
        )


class Traffic(Scenario):
    """Many terminals at once over a network that fails one request in eight, in every way it can."""

    TERMINALS, ROUNDS = 8, 25

    def test_books_agree_after_mixed_traffic_with_faults(self):
        seed = int(os.environ.get("POSP_TRAFFIC_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
        faults = ("no_answer", "late_answer", "double_answer", "lost_reversal_answer", "lost", "drop_after")
        self.lab.faults(
            *({"fault": fault, "span": {"percent": {"percent": 2, "seed": seed + at}}} for at, fault in enumerate(faults))
        )
        terminals = [self.terminal("003", keep_open=at % 2 == 0) for at in range(self.TERMINALS)]
        failures: list[str] = []

        def work(terminal, seeded) -> None:
            try:
                for _ in range(self.ROUNDS):
                    self.one_round(terminal, seeded)
            except Exception as error:  # noqa: BLE001 - reported with the seed below
                failures.append(f"terminal {terminal.terminal}: {error!r}")

        threads = [
            threading.Thread(target=work, args=(terminal, random.Random(seed + at)))
            for at, terminal in enumerate(terminals)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.lab.faults()
        self.assertEqual(failures, [], f"seed {seed}")
        for terminal in terminals:
            self.assertTrue(terminal.send_reversal())
            settlement = wait_until(
                f"terminal {terminal.terminal} settles (seed {seed})",
                lambda t=terminal: (s := t.settlement_request()[0]).balanced and s,
            )
            self.assertEqual(settlement.code, "00")

    def one_round(self, terminal, seeded) -> None:
        """One action of a cashier. What is declined or times out is simply not in the terminal's books."""
        card = seeded.choice((DECK["M01"], DECK["L02"], DECK["L12"]))
        open_sales = [e for e in terminal.journal if e.kind == "sale" and not e.voided]
        action = seeded.choice(("sale", "sale", "sale", "void", "refund", "reversal"))
        if action == "sale" or not open_sales:
            amount = seeded.randrange(100, 2_000)
            if seeded.random() < 0.1:
                with losing_answers(terminal), contextlib.suppress(NoAnswer, ReversalBlocked):
                    terminal.sale(card, amount, card.pin)
                return
            sale = terminal.sale(card, amount, card.pin)
            if sale.code in ("91", "96"):
                wait_until("the line is up again", self.lab.healthy)
            return
        entry = seeded.choice(open_sales)
        if action == "void":
            terminal.void(entry, None)
        elif action == "reversal" and entry is terminal.journal[-1]:
            terminal.reverse_entry(entry)
        elif action == "refund":
            amount = seeded.randrange(1, entry.amount + 1)
            fields = terminal.refund_fields(entry, amount)
            refund = terminal.transact("refund", entry.card, fields)
            # In work: the same message again until its outcome is known.
            if refund.code == "09":
                answer = wait_until(
                    "the refund is known",
                    lambda: (again := terminal.send_frame(refund.request)).code != "09" and again,
                )
                terminal.book("refund", fields, answer, entry.card)


class Restart(Scenario):
    def test_sessions_answers_and_batches_survive_a_restart(self):
        terminal = self.terminal("003", keep_open=True)
        sale = self.sold(terminal, 9_200)
        keys = terminal.keys
        self.assertEqual(self.lab.stop("node"), 0)
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
        self.lab.stop("node", signal.SIGKILL)
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
        self.lab.faults({"fault": "lost", "classes": [420]})
        self.assert_code(terminal.reverse_entry(sale.entry), "00")
        self.assertEqual(self.lab.stop("node"), 0)
        self.assertEqual(self.network(terminal, kind="sale")[0]["state"], "approved")
        self.lab.faults()
        self.lab.start_node()
        wait_until(
            "the network has it reversed",
            lambda: self.network(terminal, kind="sale")[0]["state"] == "reversed",
        )

    def test_without_a_network_payments_are_declined_at_once_and_management_works(self):
        terminal = self.terminal("003")
        self.sold(terminal, 9_400)
        self.lab.stop("sim")
        try:
            wait_until("the node says that its line is down", lambda: not self.lab.healthy())
            declined = terminal.sale(DECK["M01"], 9_500, "123456")
            self.assert_code(declined, "91")
            self.assertIsNone(terminal.pending)
            self.assertEqual(terminal.echo().code, "00")
            self.assertEqual(terminal.sign_in("003").code, "00")
        finally:
            self.lab.start_simulator()
        wait_until("the line is up again", self.lab.healthy)
        self.sold(terminal, 9_600)
        self.assertTrue(terminal.settle().balanced)


class Books(BooksAgree, Scenario):
    """See BooksAgree."""


if __name__ == "__main__":
    unittest.main()
