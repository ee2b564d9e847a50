"""Amounts set aside and taken, against posp, by a terminal that shares no code with it.

A hotel and a car rental do this: set aside at arrival, take at departure, at another desk and in another amount, give
free what was not used. Every scenario ends with equal books of terminal, node and network.
"""

import unittest

from deck import DECK
from laboratory import BooksAgree, Laboratory, Scenario, wait_until

CARD = DECK["M01"]


def setUpModule() -> None:
    Scenario.lab = Laboratory(des_terminals=10)
    unittest.addModuleCleanup(Scenario.lab.close)


def load_tests(loader, _tests, _pattern):
    """The order of the file; the comparison of all books comes last."""
    suite = unittest.TestSuite()
    for case in (Preauthorisations, Books):
        suite.addTests(loader.loadTestsFromTestCase(case))
    return suite


class Preauthorisations(Scenario):
    """Pre-authorisation, its void, completion by request and advice, completion void."""

    def set_aside(self, terminal, amount: int):
        outcome = terminal.preauth(CARD, amount, CARD.pin)
        self.assert_code(outcome, "00")
        self.assertEqual(len(outcome.entry.auth_code), 6)
        return outcome.entry

    def state(self, terminal, kind: str) -> list[str]:
        return [line["state"] for line in self.network(terminal, kind=kind)]

    def test_set_aside_and_taken_at_another_desk(self):
        desk, checkout = self.terminal("003"), self.terminal("004")
        room = self.set_aside(desk, 50_000)
        taken = checkout.on_preauth("completion_request", room, 57_500, elsewhere=True)
        self.assert_code(taken, "00")
        self.assertEqual(taken.answer.fields["25"], "06")
        self.assertEqual(self.state(desk, "preauth"), ["completed"])
        for kind in ("completion_request", "completion_advice"):
            self.assert_code(desk.on_preauth(kind, room, 100), "12")
        self.assert_code(desk.on_preauth("preauth_void", room, 50_000), "12")

    def test_bounds(self):
        terminal = self.terminal("003")
        room = self.set_aside(terminal, 10_000)
        self.assert_code(terminal.on_preauth("completion_request", room, 11_501), "61")
        self.assert_code(terminal.on_preauth("preauth_void", room, 9_999), "64")
        fields = terminal.authorised_fields("completion_request", room, 9_000)
        self.assert_code(terminal.transact("completion_request", CARD, fields | {"38": "ZZ99ZZ"}), "25")
        fields = terminal.authorised_fields("completion_request", room, 9_000)
        fields["61"] = fields["61"][:12] + "0101"
        self.assert_code(terminal.transact("completion_request", CARD, fields), "25")
        fields = terminal.authorised_fields("completion_request", room, 9_000)
        del fields["38"]
        self.assert_code(terminal.transact("completion_request", CARD, fields), "30")
        self.assert_code(terminal.on_preauth("completion_advice", room, 11_500), "00")

    def test_given_free(self):
        terminal = self.terminal("003")
        room = self.set_aside(terminal, 20_000)
        self.assert_code(terminal.on_preauth("preauth_void", room, 20_000), "00")
        self.assertEqual(self.state(terminal, "preauth"), ["voided"])
        self.assert_code(terminal.on_preauth("completion_request", room, 20_000), "12")

    def test_a_voided_completion_opens_its_preauth_again(self):
        terminal = self.terminal("003")
        room = self.set_aside(terminal, 30_000)
        first = terminal.on_preauth("completion_request", room, 30_000)
        self.assert_code(first, "00")
        self.assert_code(terminal.completion_void(first.entry), "00")
        self.assertEqual(self.state(terminal, "preauth"), ["approved"])
        second = terminal.on_preauth("completion_advice", room, 25_000)
        self.assert_code(second, "00")
        self.assert_code(terminal.refund(second.entry, 5_000), "00")
        self.assert_code(terminal.refund(second.entry, 20_001), "64")
        self.assert_code(terminal.completion_void(second.entry), "12")
        self.assertEqual(self.state(terminal, "completion_advice"), ["partly_refunded"])

    def test_reversals_of_the_family(self):
        terminal = self.terminal("003")
        lost = terminal.payment_fields("preauth", CARD, 40_000, pin=CARD.pin)
        self.assert_code(terminal.exchange("0100", lost, signed=True)[0], "00")
        self.assert_code(terminal.reverse(lost), "00")
        room = self.set_aside(terminal, 41_000)
        taken = terminal.authorised_fields("completion_request", room, 41_000)
        self.assert_code(terminal.exchange("0200", taken, signed=True)[0], "00")
        self.assert_code(terminal.reverse(taken), "00")
        self.assert_code(terminal.reverse(taken), "00")

        def settled() -> bool:
            states = self.state(terminal, "preauth") + self.state(terminal, "completion_request")
            return states == ["reversed", "approved", "reversed"]

        wait_until("the network has both reversals", settled)
        # The same message again, byte for byte: its reversal came before.
        self.assert_code(terminal.exchange("0200", taken, signed=True)[0], "25")
        self.assert_code(terminal.on_preauth("completion_request", room, 40_000), "00")

    def test_settlement_counts_what_was_taken(self):
        terminal = self.terminal("003")
        self.set_aside(terminal, 70_000)
        room = self.set_aside(terminal, 60_000)
        first = terminal.on_preauth("completion_request", room, 60_000)
        self.assert_code(first, "00")
        self.assert_code(terminal.completion_void(first.entry), "00")
        self.assert_code(terminal.on_preauth("completion_advice", room, 55_000), "00")
        self.assertTrue(terminal.settle().balanced)


class Books(BooksAgree, Scenario):
    """See BooksAgree."""


if __name__ == "__main__":
    unittest.main()
