"""G7 and G1 on the real program and its real files: the power goes at any moment.

A node takes payments from eight terminals while strace notes what it writes, flushes and sends, also while it ends. Then
the power is cut, again and again, at other moments of the same run: the disk has what was flushed and, of the rest, any
part (see disk_record.py). On each such disk the journal must open and agree with itself; every payment whose request had
left for the network must be known, and every answer that had left for a terminal must be what the journal says.

The kill test does not show this: what a killed process wrote is in the kernel's memory and reaches the disk all the same.
"""

import json
import os
import random
import tempfile
import threading
import unittest
from dataclasses import dataclass
from pathlib import Path

from deck import DECK
from disk_record import Disk, Event, Record, may_trace, tracer
from laboratory import Laboratory, wait_until

TERMINALS = 8
SALES = 14
CUTS = 120


@dataclass
class Heard:
    """What a terminal was answered; the reference in the request to the network, and how many had it before."""

    code: str
    reference: str
    before: int = 0  # a void goes to the network under the reference of its sale


@unittest.skipUnless(may_trace(), "this machine lets no process watch another (strace)")
class PowerCut(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.lab = Laboratory(des_terminals=TERMINALS)
        cls.addClassCleanup(cls.lab.close)
        cls.seed = int(os.environ.get("POWER_CUT_SEED", random.SystemRandom().randrange(10**6)))
        cls.record, cls.before, cls.heard = cls.recorded()
        to_terminals = cls.sends(f":{cls.lab.port}->")
        to_network = cls.sends(f"->127.0.0.1:{cls.lab.network_port}]")
        # Where the answer began to leave, and the request, by reference.
        cls.told = {own: sent(to_terminals, own) for own in cls.heard}
        cls.left = {own: sent(to_network, one.reference, one.before) for own, one in cls.heard.items()}

    @classmethod
    def recorded(cls) -> tuple[Record, dict[str, bytes], dict[str, Heard]]:
        """A run under load and its end: the record, the files before it, and what terminals heard by reference."""
        lab = cls.lab
        lab.stop("node")
        before = {str(path): path.read_bytes() for path in lab.data.rglob("*") if path.is_file()}
        output = lab.directory / "calls"
        lab.start_node(under=tracer(output))
        heard: dict[str, Heard] = {}
        failures: list[BaseException] = []

        def shop(terminal) -> None:
            try:
                if terminal.sign_in("003").code != "00":
                    raise AssertionError("a terminal could not sign in")
                for number in range(SALES):
                    # L04 has less than this, and is declined.
                    card, amount = ("L04", 50_000) if number % 5 == 4 else ("M01", 1_000 + number)
                    sale = terminal.sale(DECK[card], amount, DECK[card].pin)
                    reference = sale.answer.fields["37"]
                    heard[reference] = Heard(sale.code, reference)
                    if number % 5 == 3:
                        void = terminal.void(sale.entry, DECK[card].pin)
                        heard[void.answer.fields["37"]] = Heard(void.code, reference, 1)
            except BaseException as failure:
                failures.append(failure)
            finally:
                terminal.hang_up()

        shops = [threading.Thread(target=shop, args=(lab.terminal(),)) for _ in range(TERMINALS)]
        for thread in shops:
            thread.start()
        for thread in shops:
            thread.join()
        if failures:
            raise failures[0]
        if lab.stop("node") != 0:
            raise AssertionError(f"the node did not end well:\n{lab.log('node')[-2000:]}")
        wait_until("the record is whole", lambda: "+++ exited with 0 +++" in tail(output))
        return Record(output, lab.data), before, heard

    @classmethod
    def sends(cls, place: str) -> list[Event]:
        """What went over the connections with this in their two ends."""
        return [event for event in cls.record.events if event.call == "send" and place in event.path]

    def test_the_run_has_what_a_cut_can_break(self):
        codes = [one.code for one in self.heard.values()]
        voids = TERMINALS * len(range(3, SALES, 5))
        declined = TERMINALS * len(range(4, SALES, 5))
        self.assertEqual(codes.count("00"), TERMINALS * SALES - declined + voids)
        self.assertEqual(len(codes), TERMINALS * SALES + voids)
        flushed = [Path(e.path).name for e in self.record.events if e.call in ("fsync", "fdatasync")]
        self.assertGreater(flushed.count("journal.db-wal"), 30)
        self.assertGreater(flushed.count("journal.db"), 0, "the log was never moved into the file")

    def test_every_answer_survives_a_power_cut_at_any_moment(self):
        self.cut(Disk(self.before), CUTS)

    def test_a_disk_that_forgets_what_was_flushed_is_noticed(self):
        """The same with a disk that does not keep its word: were this not noticed, the test above would show nothing."""
        with self.assertRaisesRegex(AssertionError, "cut at"):
            self.cut(Disk(self.before, forgets=True), CUTS)

    def cut(self, disk: Disk, count: int) -> None:
        """Tells the run to the disk and cuts the power so many times; each time the journal must be sound and right."""
        luck = random.Random(self.seed)
        length = self.record.length
        # Half of the cuts come at the worst moment, just after something has left; the others anywhere.
        worst = [at + 1 for at in [*self.told.values(), *self.left.values()]]
        cuts = sorted(luck.sample(worst, count // 2) + luck.choices(range(length), k=count // 2))
        begun = [(e.begin, n, disk.begins, e) for n, e in enumerate(self.record.events)]
        ended = [(e.end, n, disk.ends, e) for n, e in enumerate(self.record.events) if e.end is not None]
        steps = sorted(begun + ended, key=lambda step: step[:2])
        told = 0
        for cut in cuts:
            while told < len(steps) and steps[told][0] < cut:
                steps[told][2](steps[told][3])
                told += 1
            where = f"cut at {cut} of {length}, seed {self.seed}"
            known = self.power_comes_back(disk.cut(luck), where)
            for reference, one in self.heard.items():
                if self.left[reference] < cut:
                    self.assertIn(reference, known, f"{where}: the request of {reference} had left")
                if self.told[reference] < cut:
                    allowed = ("approved", "voided") if one.code == "00" else ("declined",)
                    message = f"{where}: the terminal of {reference} had heard {one.code}"
                    self.assertIn(known[reference], allowed, message)

    def power_comes_back(self, found: dict[str, bytes], where: str) -> dict[str, str]:
        """State by reference, as the node's own commands read them from these files, which have to be sound."""
        with tempfile.TemporaryDirectory(dir=self.lab.directory) as place:
            data = Path(place) / "node"
            for name, content in found.items():
                path = data / Path(name).relative_to(self.lab.data)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            try:
                self.lab.posp("store", "check", "--data", str(data))
                lines = self.lab.posp("txn", "list", "--data", str(data), "--limit", "500", "--json").splitlines()
            except AssertionError as failure:
                raise AssertionError(f"{where}: {failure}") from failure
        return {payment["reference"]: payment["state"] for payment in map(json.loads, lines)}


def sent(sends: list[Event], reference: str, before: int = 0) -> int:
    """Where a message with this reference began to leave, after so many others that have it."""
    found = [event.begin for event in sends if reference.encode() in event.data]
    if len(found) <= before:
        raise AssertionError(f"no message with the reference {reference} is in the record")
    return found[before]


def tail(path: Path) -> str:
    """The last few bytes of a text file."""
    with open(path, "rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 200))
        return file.read().decode("ascii", "replace")
