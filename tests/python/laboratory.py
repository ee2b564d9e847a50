"""A real posp and a simulated UnionPay as processes of their own, for the scenario tests.

Everything is made from nothing in a temporary directory with the public commands: master key, zone key,
merchant, terminals with known master keys, `posp sim`, `posp up`. The binary is the one in POSP_BIN, else the
release build, else the debug build of this tree.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from deck import DECK
from terminal import Entry, Outcome, Terminal

ROOT = Path(__file__).resolve().parents[2]
MERCHANT = "898100000000001"
MERCHANT_CLOSED = "898100000000002"
TERMINAL_OF_CLOSED = "30000001"
NEIGHBOUR = "898100000000003"
SHARED_NUMBER = "40000001"  # a terminal at MERCHANT and another one at NEIGHBOUR
# Modelled: the laboratory's zone master key, which the simulator has by default.
ZONE_COMPONENTS = ("11111111111111112222222222222222", "1032547698BADCFEDCFE98BA54761032")
# How long the node waits for the network before it answers 68; short, so that the time-out tests are quick,
# and shorter than the three seconds of the simulator's late answers.
PATIENCE_MS = 2_000
PATIENCE_TEST = 30.0


def binary() -> Path:
    """The posp to test."""
    named = os.environ.get("POSP_BIN")
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    candidates = [Path(named)] if named else [target / "release/posp", target / "debug/posp"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate.resolve()
    raise FileNotFoundError(f"no posp binary; build one first (looked at {', '.join(map(str, candidates))})")


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def wait_until(what: str, condition, patience: float = PATIENCE_TEST):
    """Asks again until the condition holds, and returns what it gave; fails with `what` when it never does."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"still not so after {patience} s: {what}")
        time.sleep(0.05)


def lab_tmk(merchant: str, terminal: str) -> bytes:
    """The master key of a lab terminal: each has its own."""
    return hashlib.sha256(f"lab terminal master key {merchant} {terminal}".encode()).digest()[:16]


class Laboratory:
    """Simulator and node, with terminals ready to be handed out."""

    def __init__(self, des_terminals: int, sm4_terminals: int = 0, engine: dict | None = None,
                 profile: dict | None = None):
        self.binary = binary()
        self._profile = profile  # switches of the listener's profile, where it is not the baseline
        self.directory = Path(tempfile.mkdtemp(prefix="posp-python-"))
        self.data = self.directory / "node"
        self.processes: list[tuple[str, subprocess.Popen]] = []
        self._engine = {
            "network_patience_ms": PATIENCE_MS,
            "forward_pause_ms": 200,
            # A run over midnight would be told to sign in again, rightly and for no use here.
            "sign_in_daily": False,
            **(engine or {}),
        }
        self._spare = {
            "des": [f"1000{n:04}" for n in range(1, des_terminals + 1)],
            "sm4": [f"2000{n:04}" for n in range(1, sm4_terminals + 1)],
        }
        self.terminals: list[Terminal] = []
        self.host = "127.0.0.1"
        try:
            self._prepare()
            self.start_simulator()
            self.start_node()
        except BaseException:
            self.close()
            raise

    # ------------------------------------------------------------ processes

    def posp(self, *arguments: str) -> str:
        """Runs a command to its end and returns what it printed."""
        done = subprocess.run(
            [str(self.binary), "--config", str(self.directory / "posp.toml"), *arguments],
            capture_output=True, text=True, timeout=60, env=self._environment(), check=False,
        )
        if done.returncode != 0:
            raise AssertionError(f"posp {' '.join(arguments[:2])} failed: {done.stderr.strip()}")
        return done.stdout

    @staticmethod
    def _environment() -> dict:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("POSP_")}
        return {**kept, "NO_COLOR": "1"}

    def _configure(self, zone_key: str) -> None:
        engine = "".join(f"{key} = {json.dumps(value)}\n" for key, value in self._engine.items())
        spoken, profile = "", ""
        if self._profile:
            switches = "".join(f"{key} = {json.dumps(value)}\n" for key, value in self._profile.items())
            spoken, profile = 'profile = "lab"\n', f"[profile.lab]\n{switches}"
        (self.directory / "posp.toml").write_text(
            f'[node]\ndata = "{self.data}"\nmaster_key = "{self.directory}/master.key"\n'
            f'[pos]\nlisten = "127.0.0.1:0"\nframe_seconds = 2\n{spoken}{profile}'
            f'[ops]\nlisten = "127.0.0.1:0"\n'
            f'[unionpay]\nnetwork = "127.0.0.1:{self.network_port}"\n'
            f'listen = "127.0.0.1:{self.member_port}"\n{zone_key}\n'
            f"[engine]\n{engine}"
        )

    def _prepare(self) -> None:
        self.network_port, self.control_port, self.member_port = free_ports(3)
        self._configure("")
        self.posp("key", "init")
        zone = self.posp("key", "zone", *(f"--component={c}" for c in ZONE_COMPONENTS))
        self._configure(re.search(r'^zone_master_key = ".*"$', zone, re.MULTILINE).group())
        self.posp("merchant", "add", MERCHANT, "--name", "示范商户一号店")
        self.posp("merchant", "add", MERCHANT_CLOSED, "--name", "已关闭商户", "--closed")
        self.posp("merchant", "add", NEIGHBOUR, "--name", "隔壁商户")
        for cipher, numbers in self._spare.items():
            for number in numbers:
                self._enrol(MERCHANT, number, cipher)
        self._enrol(MERCHANT, SHARED_NUMBER, "des")
        self._enrol(NEIGHBOUR, SHARED_NUMBER, "des")
        self._enrol(MERCHANT_CLOSED, TERMINAL_OF_CLOSED, "des")

    def _enrol(self, merchant: str, number: str, cipher: str) -> None:
        key = lab_tmk(merchant, number)
        mask = hashlib.sha256(key).digest()[:16]
        other = bytes(a ^ b for a, b in zip(key, mask))
        self.posp(
            "terminal", "add", merchant, number, "--cipher", cipher,
            f"--tmk-component={mask.hex()}", f"--tmk-component={other.hex()}",
        )

    def _spawn(self, name: str, *arguments: str, under: Sequence[str] = (), **options) -> subprocess.Popen:
        log = open(self.directory / f"{name}.log", "ab")
        process = subprocess.Popen(
            [*under, str(self.binary), *arguments], stderr=log, stdin=subprocess.DEVNULL,
            env=self._environment(), **options,
        )
        log.close()
        self.processes.append((name, process))
        return process

    def start_simulator(self) -> None:
        """Starts `posp sim`; started again it goes on with the books it had."""
        self._spawn(
            "sim", "sim",
            "--listen", f"127.0.0.1:{self.network_port}",
            "--control", f"127.0.0.1:{self.control_port}",
            "--member-listener", f"127.0.0.1:{self.member_port}",
            "--books", str(self.directory / "network.jsonl"),
            stdout=subprocess.DEVNULL,
        )
        wait_until("the simulator answers", self._simulator_answers)

    def _simulator_answers(self) -> bool:
        self._all_run()
        try:
            self.simulator("/api/status")
            return True
        except (urllib.error.URLError, ConnectionError):
            return False

    def start_node(self, under: Sequence[str] = ()) -> None:
        """Starts `posp up`, under a program that watches it if one is named, and waits until its line to the network is
        ready."""
        process = self._spawn(
            "node", "--config", str(self.directory / "posp.toml"), "up", "--announce",
            under=under, stdout=subprocess.PIPE, text=True,
        )
        line = process.stdout.readline()
        if not line:
            raise AssertionError(f"posp up did not start:\n{self.log('node')[-2000:]}")
        addresses = json.loads(line)
        self.port = int(addresses["pos"].rsplit(":", 1)[1])
        self.ops_port = int(addresses["ops"].rsplit(":", 1)[1])
        for terminal in self.terminals:
            terminal.hang_up()
            terminal.address = (self.host, self.port)
        wait_until("the node is healthy", self.healthy)

    def stop(self, name: str, how: int = signal.SIGTERM) -> int:
        """Ends `node` or `sim` and returns its exit code."""
        process = next(process for of, process in self.processes if of == name)
        self.processes.remove((name, process))
        process.send_signal(how)
        code = process.wait(30)
        if process.stdout:
            process.stdout.close()
        return code

    def _all_run(self) -> None:
        for name, process in self.processes:
            if process.poll() is not None:
                raise AssertionError(f"{name} ended with {process.returncode}:\n{self.log(name)[-2000:]}")

    def close(self) -> None:
        """Ends both processes, in the order in which they depend on each other, and removes the directory."""
        for _, process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()
        self.processes.clear()
        if os.environ.get("POSP_KEEP_LAB"):
            print(f"kept {self.directory}")
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    # ------------------------------------------------------------ looking

    def log(self, name: str) -> str:
        """What a process logged so far."""
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def healthy(self) -> bool:
        """Whether /healthz says so."""
        self._all_run()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ops_port}/healthz", timeout=5) as answer:
                return answer.status == 200
        except urllib.error.HTTPError:
            return False

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over all lines that have these labels."""
        url = f"http://127.0.0.1:{self.ops_port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            text = answer.read().decode()
        total = 0.0
        for line in text.splitlines():
            found = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if found and all(f'{k}="{v}"' in (found[1] or "") for k, v in labels.items()):
                total += float(found[2])
        return total

    def simulator(self, path: str, body: dict | None = None):
        """Asks the simulator's control API; a body makes it a POST."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.control_port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def faults(self, *rules: dict) -> None:
        """Sets the simulator's fault switches; without rules there are none."""
        self.simulator("/api/faults", {"rules": list(rules)})

    def record(self, terminal: Terminal | None = None) -> list[dict]:
        """What the network processed, for one terminal or for all, oldest first."""
        lines: list[dict] = []
        while True:
            after = lines[-1]["id"] if lines else 0
            page = self.simulator(f"/api/record?after={after}&limit=500")
            page = page["lines"] if isinstance(page, dict) else page
            if not page:
                break
            lines += page
        if terminal is None:
            return lines
        key = (terminal.merchant, terminal.terminal)
        return [line for line in lines if (line["merchant"], line["terminal"]) == key]

    def journal(self, terminal: Terminal) -> list[dict]:
        """The node's own payments of a terminal, newest first."""
        text = self.posp(
            "txn", "list", "--merchant", terminal.merchant, "--terminal", terminal.terminal,
            "--limit", "500", "--json",
        )
        return [json.loads(line) for line in text.splitlines()]

    def leaks(self) -> list[str]:
        """Where card data or PIN blocks stand in the clear: in a log, or in a file of the node's data.

        Account numbers and tracks are looked for as text and packed, PIN blocks as bytes and in hexadecimal.
        """
        wanted: dict[str, set[bytes]] = {}
        for card in DECK.values():
            track = card.track2[: len(card.track2) // 2 * 2]
            forms = {card.track2.encode(), card.track2.replace("D", "=").encode(), bytes.fromhex(track)}
            # A number whose middle is all zeros may look like its own masked form, as L12 of the deck does.
            if card.pan[6:-4].strip("0"):
                forms |= {card.pan.encode(), bytes.fromhex(card.pan[: len(card.pan) // 2 * 2])}
            wanted[f"card {card.name}"] = forms
        for terminal in self.terminals:
            for number, block in enumerate(terminal.pin_blocks):
                text = block.hex()
                wanted[f"PIN block {number} of terminal {terminal.terminal}"] = {
                    block, text.encode(), text.upper().encode(),
                }
        files = [path for path in self.data.rglob("*") if path.is_file()]
        files += [self.directory / "node.log", self.directory / "sim.log"]
        found = []
        for path in files:
            content = path.read_bytes()
            for what, forms in wanted.items():
                if any(form in content for form in forms):
                    found.append(f"{what} in {path.name}")
        return found

    # ------------------------------------------------------------ terminals

    def terminal(self, cipher: str = "des", **options) -> Terminal:
        """A terminal that no test has used yet; not signed in."""
        if not self._spare[cipher]:
            raise AssertionError("no spare terminal left: enrol more in this module's setUpModule")
        return self._terminal(MERCHANT, self._spare[cipher].pop(0), cipher, **options)

    def neighbours(self) -> tuple[Terminal, Terminal]:
        """Terminals of one number at two merchants, not signed in. To be asked for once."""
        number = SHARED_NUMBER
        return self._terminal(MERCHANT, number, "des"), self._terminal(NEIGHBOUR, number, "des")

    def _terminal(self, merchant: str, number: str, cipher: str, make=Terminal, **options) -> Terminal:
        key = lab_tmk(merchant, number)
        made = make(self.host, self.port, merchant, number, key, cipher=cipher, **options)
        self.terminals.append(made)
        return made


IN_FORCE = {"approved", "voided", "partly_refunded", "refunded"}
IN_FORCE_AT_NODE = {"approved", "voided"}
# Kind at the terminal -> kind in the journal of the node; the network's record has the terminal's words.
KINDS_AT_NODE = {
    "sale": "sale",
    "void": "sale_void",
    "refund": "refund",
    "completion_request": "completion",
    "completion_advice": "completion_advice",
    "completion_void": "completion_void",
}


def _books(entries) -> dict[str, tuple[int, int]]:
    """Count and sum in fen by kind, from pairs of kind and amount."""
    pairs = list(entries)
    books = {}
    for kind in KINDS_AT_NODE:
        amounts = [amount for of, amount in pairs if of == kind]
        books[kind] = (len(amounts), sum(amounts))
    return books


def books_of_network(lines: list[dict]) -> dict[str, tuple[int, int]]:
    """What is in force at the network, from its record."""
    return _books((x["kind"], x["amount"]) for x in lines if x["state"] in IN_FORCE)


def books_of_node(payments: list[dict]) -> dict[str, tuple[int, int]]:
    """The same from the journal of the node."""
    words = {theirs: ours for ours, theirs in KINDS_AT_NODE.items()}
    return _books(
        (words.get(x["kind"]), x["amount_fen"]) for x in payments if x["state"] in IN_FORCE_AT_NODE
    )


def books_of_terminal(entries: list[Entry]) -> dict[str, tuple[int, int]]:
    """The same from what terminals believe."""
    return _books((entry.kind, entry.amount) for entry in entries)


class Scenario(unittest.TestCase):
    """A test with a laboratory. After each test the books of every terminal it used must equal the network's."""

    lab: Laboratory

    def setUp(self) -> None:
        self._used: list[Terminal] = []
        self.addCleanup(self._compare_books)
        self.addCleanup(self.lab.faults)

    def terminal(self, layout: str | None = "003", **options) -> Terminal:
        """A fresh terminal, signed in with the layout (None: not signed in)."""
        cipher = "sm4" if layout == "006" else options.pop("cipher", "des")
        terminal = self.lab.terminal(cipher, **options)
        if layout:
            self.assertEqual(terminal.sign_in(layout).code, "00")
        return self.watched(terminal)

    def watched(self, terminal: Terminal) -> Terminal:
        """The books of this terminal are compared after the test."""
        self._used.append(terminal)
        self.addCleanup(terminal.hang_up)
        return terminal

    def sold(self, terminal: Terminal, amount: int, card: str = "M01") -> Outcome:
        """A sale that must be approved."""
        outcome = terminal.sale(DECK[card], amount, DECK[card].pin)
        self.assert_code(outcome, "00")
        return outcome

    def assert_code(self, answered, *expected: str) -> None:
        """Field 39 is one of these."""
        self.assertIn(answered.code, expected)

    def network(self, terminal: Terminal, **wanted) -> list[dict]:
        """The network's record lines of a terminal that have these values."""
        lines = self.lab.record(terminal)
        return [line for line in lines if all(line[key] == value for key, value in wanted.items())]

    def _compare_books(self) -> None:
        for terminal in self._used:
            believed = books_of_terminal(terminal.history)

            def agree(terminal=terminal, believed=believed) -> bool:
                network = books_of_network(self.network(terminal))
                return network == believed == books_of_node(self.lab.journal(terminal))

            wait_until(f"terminal {terminal.terminal}, node and network agree on {believed}", agree, 10.0)


class BooksAgree:
    """What every module with payments checks at its end; to be mixed into its last Scenario."""

    def test_totals_of_all_terminals_equal_the_networks_record(self):
        lab = self.lab
        entries = [entry for terminal in lab.terminals for entry in terminal.history]
        believed = books_of_terminal(entries)
        record = lab.record()
        node = [payment for terminal in lab.terminals for payment in lab.journal(terminal)]
        self.assertEqual(books_of_network(record), believed)
        self.assertEqual(books_of_node(node), believed)
        # A module run as a whole has taken payments; a comparison of nothing would prove nothing.
        taken = [believed[kind] for kind in ("sale", "completion_request", "completion_advice")]
        given = [believed[kind] for kind in ("void", "refund", "completion_void")]
        self.assertGreater(sum(count for count, _ in taken), 5)
        # The network's own double-entry books: what it owes is what was taken less what was given back.
        days = lab.simulator("/api/totals")
        net = sum(day["net"] for day in days.values())
        self.assertEqual(net, sum(fen for _, fen in taken) - sum(fen for _, fen in given))
        # No sale and no void reached the network twice.
        for line in record:
            if line["kind"] in ("sale", "void"):
                self.assertEqual(line["arrivals"], 1, f"record line {line['id']}")

    def test_no_reversal_is_left_over(self):
        wait_until(
            "everything that waited for the network has reached it",
            lambda: "unionpay" not in self.lab.posp("forward", "list"),
        )

    def test_no_card_data_and_no_pin_block_in_logs_and_data_files(self):
        self.assertEqual(self.lab.leaks(), [])
