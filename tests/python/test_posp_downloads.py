"""Downloads from posp by a terminal that shares no code with it.

An operator sets parameters, public keys, applications, switches and card lists with the public commands; the terminal is
told by the header of its sign-in, fetches list by list, and checks for itself that what came is whole: the check sum of
each key, every tag of an application, each prefix once and in order. None of these messages carries a MAC; a list of
whole card numbers needs a sign-in, the others do not.
"""

import hashlib
import unittest

from deck import DECK
from laboratory import MERCHANT, ROOT, BooksAgree, Laboratory, Scenario, wait_until
from terminal import BadAnswer, status_items, tlv_read

KEYS = ROOT / "crates/sim/lab/ca-keys.hex"
AIDS = ROOT / "crates/sim/lab/aids.hex"
BINS = [f"62{n:04}" for n in range(130)]
LOST = DECK["M02"].pan


def records_of(path) -> list[dict[int, bytes]]:
    """What the laboratory's files hold, one record a line."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return [dict(tlv_read(bytes.fromhex(line))) for line in lines]


def setUpModule() -> None:
    lab = Laboratory(des_terminals=9)
    Scenario.lab = lab
    unittest.addModuleCleanup(lab.close)
    prefixes, lost = lab.directory / "bins.txt", lab.directory / "lost.txt"
    prefixes.write_text("\n".join(BINS))
    lost.write_text(LOST)
    lab.posp("params", "set", "timeout", "45")
    lab.posp("params", "set", "no_pin_limit", "30000")
    lab.posp("params", "ca-key", "add", str(KEYS))
    lab.posp("params", "aid", "add", str(AIDS))
    lab.posp("params", "bin", "import", str(prefixes), "--table", "b")
    lab.posp("params", "blacklist", "import", str(lost))
    # The node looks for changes each second; the last of them is there when this terminal hears it.
    terminal = lab.terminal()

    def heard() -> bool:
        return terminal.sign_in("003").code == "00" and terminal.card_numbers("390", "391") == [LOST]

    wait_until("the node has every list", heard)


def load_tests(loader, _tests, _pattern):
    """The order of the file; the comparison of all books comes last."""
    suite = unittest.TestSuite()
    for case in (Downloads, Books):
        suite.addTests(loader.loadTestsFromTestCase(case))
    return suite


class Downloads(Scenario):
    """Each list by itself, and all of them as the header asks."""

    def told(self, wanted: str):
        """A terminal that signs in until the node, which looks for changes each second, asks for this."""
        terminal = self.terminal(None)

        def asked() -> bool:
            self.assertEqual(terminal.sign_in("003").code, "00")
            return terminal.requirement == wanted

        wait_until(f"the header asks for {wanted}", asked)
        return terminal

    def test_everything_in_the_order_of_the_header(self):
        terminal = self.told("1")
        fetch = {
            "1": terminal.parameters,
            "4": lambda: terminal.records("372", "370", "371"),
            "5": lambda: terminal.records("382", "380", "381"),
            "7": lambda: terminal.card_numbers("390", "391"),
            "8": lambda: (terminal.card_numbers("396", "397"), terminal.card_numbers("398", "399")),
            "9": lambda: (terminal.must("394"), terminal.must("395")),
        }
        done = []
        while terminal.requirement != "0":
            done.append(terminal.requirement)
            self.assertLess(len(done), 12, f"it never ends: {done}")
            fetch[done[-1]]()
        self.assertEqual(done, ["1", "4", "5", "9", "8", "7"])
        # The host counts the terminal as up to date: the next sign-in asks for nothing.
        self.assertEqual(terminal.sign_in("003").requirement, "0")
        shown = self.lab.posp("terminal", "show", MERCHANT, terminal.terminal)
        for name in ("parameters", "ca_keys", "aids", "contactless", "bins_b", "blacklist"):
            self.assertIn(name, shown)
        self.sold(terminal, 100)

    def test_parameters(self):
        terminal = self.told("1")
        items = terminal.parameters()
        self.assertEqual(items[12], b"45")
        self.assertEqual(items[22].decode("gbk").rstrip(), "示范商户一号店")
        self.assertEqual((items[13], items[18], items[26]), (b"3", b"0", b"FFFF"))

    def test_public_keys_are_whole(self):
        terminal = self.told("1")
        keys = terminal.records("372", "370", "371")
        self.assertEqual(keys, records_of(KEYS))
        for key in keys:
            body = key[0x9F06] + key[0x9F22] + key[0xDF02] + key[0xDF04]
            self.assertEqual(hashlib.sha1(body).digest(), key[0xDF03])

    def test_applications_are_whole(self):
        terminal = self.told("1")
        self.assertEqual(terminal.records("382", "380", "381"), records_of(AIDS))
        # One that is not there is answered as such, and the end is the terminal's to say.
        self.assertEqual(terminal.must("380", bytes.fromhex("9F0605A000000999")), b"0")

    def test_prefixes_in_pages(self):
        terminal = self.told("1")
        self.assertEqual(terminal.card_numbers("396", "397"), BINS)
        self.assertEqual(terminal.card_numbers("398", "399"), [])

    def test_switches(self):
        terminal = self.told("1")
        switches = dict(tlv_read(terminal.must("394")))
        terminal.must("395")
        self.assertEqual(len(switches), 10)
        self.assertEqual(switches[0xFF8058].hex(), "000000030000")

    def test_without_a_sign_in_all_but_whole_card_numbers(self):
        terminal = self.terminal(None)
        self.assertEqual(terminal.management("390").code, "77")
        self.assertEqual(len(terminal.records("372", "370", "371")), 3)
        self.assertEqual(terminal.sign_in("003").code, "00")
        self.assertEqual(terminal.card_numbers("390", "391"), [LOST])

    def test_status_and_requests_that_cannot_be_read(self):
        terminal = self.told("1")
        status = b"011021031041051" + b"1245" + b"133"
        self.assertEqual(len(status_items(status)), 7)
        terminal.must("362", status, mti="0820")
        self.assertIn("keyboard: 1", self.lab.posp("terminal", "show", MERCHANT, terminal.terminal))
        for code, private, mti in (
            ("362", b"01", "0820"),
            ("372", b"2", "0820"),
            ("370", b"\x9f\x06\x05", "0800"),
            ("380", None, "0800"),
        ):
            with self.subTest(code=code):
                self.assertEqual(terminal.management(code, private, mti=mti).code, "30")
        with self.assertRaises(BadAnswer):
            terminal.must("370", bytes.fromhex("9F0605A000000333"))
        for _ in range(6):
            self.sold(terminal, 100)


class Books(BooksAgree, Scenario):
    """See BooksAgree."""


if __name__ == "__main__":
    unittest.main()
