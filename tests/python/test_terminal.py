"""The Python terminal's own rules, against a scripted host in the same process.

A terminal that believes anything proves nothing about a host. Here it meets a host that lies, is silent or is
not there, and must save, keep, change or drop its reversal record as the terminal rules say.
"""

import socket
import threading
import unittest

import iso8583

from deck import DECK
from laboratory import free_ports
from pos_crypto import DesKey, WorkingKeys, cup_mac
from pos_spec import SPEC
from terminal import BadAnswer, NoAnswer, NotSent, ReversalBlocked, Terminal, framed

MAC_KEY = DesKey(b"\x33" * 8)
CARD = DECK["L02"]
COPIED = ("2", "3", "4", "11", "25", "41", "42", "49", "60")


class ScriptedHost:
    """Answers each frame by the next step of its script; a step takes the request and returns answer fields.

    A step may return None (the connection is closed without an answer) or bytes (sent as they are).
    """

    def __init__(self, *script):
        self.requests: list[dict] = []
        self._script = list(script)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while self._script:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                length = int.from_bytes(stream.read(2), "big")
                payload = stream.read(length)
                request, _ = iso8583.decode(payload[11:], SPEC)
                self.requests.append(request)
                answer = self._script.pop(0)(request)
                if isinstance(answer, dict):
                    answer = framed(payload[:11] + self._sign(answer))
                if answer:
                    connection.sendall(answer)

    @staticmethod
    def _sign(fields: dict) -> bytes:
        body = bytes(iso8583.encode(dict(fields), SPEC)[0])
        if "64" not in fields or fields["64"] != "00000000":
            return body
        return body[:-8] + cup_mac(MAC_KEY, body[:-8])

    def close(self) -> None:
        self._listener.close()
        self._thread.join(5)


def answer(code: str = "00", **changes):
    """A step: an honest signed answer with this code, except for the changes."""

    def step(request: dict) -> dict:
        fields = {"t": f"{int(request['t']) + 10:04}"}
        fields |= {n: request[n] for n in COPIED if n in request}
        fields |= {"12": "101530", "13": "1124", "32": "48029999", "37": "112400000001", "39": code}
        fields["64"] = "00000000"
        for number, value in changes.items():
            fields[number.removeprefix("f")] = value
        return {n: v for n, v in fields.items() if v is not None}

    return step


def silent(_request: dict) -> None:
    """A step: the connection ends without an answer."""


class TerminalRules(unittest.TestCase):
    def meet(self, *script) -> tuple[Terminal, ScriptedHost]:
        host = ScriptedHost(*script)
        self.addCleanup(host.close)
        terminal = Terminal("127.0.0.1", host.port, "898100000000001", "10000001", bytes(range(16)), timeout=5)
        terminal.keys = WorkingKeys(DesKey(b"\x11" * 8 + b"\x22" * 8), MAC_KEY)
        terminal.layout = "003"
        terminal.must_sign_in = False
        return terminal, host

    def sale(self, terminal: Terminal, amount: int = 100):
        return terminal.sale(CARD, amount, CARD.pin)

    def test_approved_and_declined_leave_no_reversal(self):
        terminal, _ = self.meet(answer("00"), answer("51"))
        self.assertTrue(self.sale(terminal).approved)
        self.assertFalse(self.sale(terminal).approved)
        self.assertIsNone(terminal.pending)
        self.assertEqual([entry.amount for entry in terminal.journal], [100])

    def test_no_answer_is_reversed_before_the_next_sale(self):
        terminal, host = self.meet(silent, answer("00"), answer("00"))
        with self.assertRaises(NoAnswer):
            self.sale(terminal)
        self.sale(terminal, 200)
        self.assertEqual([request["t"] for request in host.requests], ["0200", "0400", "0200"])
        first, reversal, _ = host.requests
        self.assertEqual(reversal["39"], "98")
        for number in ("3", "4", "11", "22", "25", "41", "42", "49", "60"):
            self.assertEqual(reversal[number], first[number])
        for number in ("26", "35", "52", "53"):
            self.assertNotIn(number, reversal)

    def test_nothing_sent_leaves_no_reversal(self):
        terminal, _ = self.meet()
        terminal.address = ("127.0.0.1", free_ports(1)[0])
        with self.assertRaises(NotSent):
            self.sale(terminal)
        self.assertIsNone(terminal.pending)

    def test_answers_that_do_not_fit_are_reversed_with_06(self):
        cases = (
            answer(f11="999999"),
            answer(f4="000000000001"),
            answer(f41="99999999"),
            answer(f37=None),
            answer(t="0230"),
            lambda _request: framed(bytes.fromhex("6000030000603200320001") + b"\x02\x10garbage"),
        )
        for number, step in enumerate(cases):
            with self.subTest(number):
                terminal, _ = self.meet(step)
                with self.assertRaises(BadAnswer):
                    self.sale(terminal)
                self.assertEqual(terminal.pending.reason, "06")

    def test_a_wrong_or_missing_mac_is_reversed_with_a0_and_forces_sign_in(self):
        terminal, host = self.meet(answer(f64="AAAAAAAA"), answer("25"))
        with self.assertRaises(BadAnswer):
            self.sale(terminal)
        self.assertTrue(terminal.must_sign_in)
        self.assertTrue(terminal.send_reversal())
        self.assertEqual(host.requests[1]["39"], "A0")
        terminal, _ = self.meet(answer(f64=None))
        with self.assertRaises(BadAnswer):
            self.sale(terminal)
        self.assertEqual(terminal.pending.reason, "A0")

    def test_an_unsigned_decline_is_believed(self):
        terminal, _ = self.meet(answer("03", f64=None, f37=None, f32=None))
        self.assertEqual(self.sale(terminal).code, "03")
        self.assertIsNone(terminal.pending)

    def test_a_reversal_that_fails_blocks_new_sales_and_is_dropped_after_three_tries(self):
        terminal, host = self.meet(silent, silent, answer("96"), silent, answer("00"))
        with self.assertRaises(NoAnswer):
            self.sale(terminal)
        for _ in range(2):
            with self.assertRaises(ReversalBlocked):
                self.sale(terminal)
        self.assertTrue(self.sale(terminal).approved)
        self.assertEqual([r["t"] for r in host.requests], ["0200", "0400", "0400", "0400", "0200"])

    def test_codes_that_force_a_sign_in(self):
        for code in ("77", "99", "A0"):
            terminal, _ = self.meet(answer(code))
            self.assertEqual(self.sale(terminal).code, code)
            self.assertTrue(terminal.must_sign_in)
            self.assertIsNone(terminal.pending)

    def test_keys_of_a_sign_in_with_a_wrong_check_value_are_not_taken(self):
        terminal, _ = self.meet(answer("00", f62="00" * 40, f64=None))
        old = terminal.keys
        with self.assertRaises(ValueError):
            terminal.sign_in("003")
        self.assertIs(terminal.keys, old)


if __name__ == "__main__":
    unittest.main()
