"""The end of a terminal's day: totals, batch-up, end of batch, the next batch.
"""

import unittest
from dataclasses import replace

from deck import DECK, INSERT, TAP
from laboratory import BooksAgree, Laboratory, Scenario
from terminal import PendingReversal


def setUpModule() -> None:
    Scenario.lab = Laboratory(des_terminals=16)
    unittest.addModuleCleanup(Scenario.lab.close)


def load_tests(loader, _tests, _pattern):
    """The order of the file; the comparison of all books comes last."""
    suite = unittest.TestSuite()
    for case in (Settlements, Books):
        suite.addTests(loader.loadTestsFromTestCase(case))
    return suite


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
        text = self.lab.posp("settlement", "differences", "--terminal", terminal.terminal, "--batch", str(batch))
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
        self.assert_code(terminal.sale(DECK["M01"], 8_400, "123456"), "77")
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

    def test_certificates_of_chip_payments_are_uploaded_balanced_or_not(self):
        terminal = self.terminal("003")
        chip = terminal.sale(DECK["L01"], 10_000, "123456", chip=INSERT)
        self.assert_code(chip, "00")
        batch = terminal.batch
        settlement, _ = terminal.settlement_request("0" * 62)
        self.assertEqual(settlement.domestic, "2")
        self.assertEqual(terminal.upload_chip(chip.entry, balanced=False), "00")
        # Repeated, because its answer was lost: no difference comes of it.
        self.assertEqual(terminal.upload_chip(chip.entry, balanced=False), "00")
        self.assertEqual(terminal.end_batch(1, False).code, "00")
        self.assertEqual(self.differences(terminal, batch), {})
        # The chip's next payment, in a batch that balances: the certificate goes up all the same.
        tap = terminal.sale(DECK["L01"], 1_250, None, chip=replace(TAP, certificate=TAP.request))
        self.assert_code(tap, "00")
        settlement = terminal.settle()
        self.assertEqual((settlement.balanced, settlement.uploaded, settlement.end_code), (True, 1, "00"))

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
        fields = terminal.payment_fields("sale", DECK["M01"], 9_050, pin="123456", trace=lost.entry.trace)
        terminal.pending = PendingReversal(fields)
        terminal.forget(lost.entry)
        self.assertTrue(terminal.settle().balanced)


class Books(BooksAgree, Scenario):
    """See BooksAgree."""


if __name__ == "__main__":
    unittest.main()
