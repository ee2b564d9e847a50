"""A second, unrelated codec reads and rebuilds the frames of the terminal dialect, byte for byte.

pyiso8583 with the table of pos_spec.py takes the published frames and the frames that posp's own codec builds
(`cargo run -p iso8583 --example frames`). Two implementations that agree on every byte have read the same table.
"""

import copy
import subprocess
import unittest
from pathlib import Path

import iso8583

from pos_spec import SPEC

REPOSITORY = Path(__file__).resolve().parents[2]

# Bytes before the message type, by the form that tests/data/frames.txt names.
HEAD = {"frame": 13, "no-length": 11, "no-header": 7, "body": 0}


def spec_of(name: str) -> dict:
    """The baseline table, or the profile that a known deviating host needs."""
    spec = copy.deepcopy(SPEC)
    if name == "F7":  # its host fills the odd digit of field 60 with F
        spec["60"]["right_pad"] = "F"
    if name == "F16":  # a wallet whose field 60 has 19 digits
        spec["60"]["max_len"] = 999
    return spec


def published() -> list[tuple[str, str, bytes]]:
    lines = (REPOSITORY / "tests/data/frames.txt").read_text().splitlines()
    rows = (line.split(maxsplit=3) for line in lines if line and not line.startswith("#"))
    return [(name, form, bytes.fromhex(digits)) for name, form, digits, _ in rows]


def built() -> list[tuple[str, bytes]]:
    command = ["cargo", "run", "--quiet", "--release", "--locked", "-p", "iso8583", "--example", "frames"]
    output = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    rows = (line.split() for line in output.splitlines())
    return [(name, bytes.fromhex(digits)) for name, digits in rows]


class Frames(unittest.TestCase):
    def assert_rebuilt(self, name: str, body: bytes) -> dict:
        spec = spec_of(name)
        fields, _ = iso8583.decode(body, spec)
        rebuilt, _ = iso8583.encode(dict(fields), spec)
        self.assertEqual(bytes(rebuilt).hex(), body.hex(), name)
        return fields

    def test_published_frames(self):
        frames = published()
        self.assertEqual(len(frames), 11)
        for name, form, frame in frames:
            with self.subTest(name):
                if form in ("frame", "no-header"):
                    self.assertEqual(int.from_bytes(frame[:2], "big"), len(frame) - 2)
                self.assert_rebuilt(name, frame[HEAD[form] :])

    def test_the_baseline_table_refuses_the_deviating_frames(self):
        frames = {name: frame[HEAD[form] :] for name, form, frame in published()}
        for name in ("F7", "F16"):
            with self.subTest(name), self.assertRaises(iso8583.DecodeError):
                iso8583.decode(frames[name], SPEC)

    def test_frames_that_posp_builds(self):
        frames = dict(built())
        self.assertEqual(len(frames), 7)
        read = {}
        for name, frame in frames.items():
            with self.subTest(name):
                self.assertEqual(int.from_bytes(frame[:2], "big"), len(frame) - 2)
                self.assertEqual(frame[2:13].hex(), "6000030000" + "603200320001")
                read[name] = self.assert_rebuilt(name, frame[13:])
        sale = read["chip-sale"]
        self.assertEqual(sale["2"], "6224242000000021")
        self.assertEqual(sale["4"], "000000010000")
        self.assertEqual(sale["35"].upper(), "6224242000000021D29022015699031007123")
        self.assertEqual(len(sale["55"]) // 2, 134)
        self.assertEqual(len([number for number in sale if number.isdigit() and int(number) > 1]), 19)
        odd = read["odd-lengths"]
        self.assertEqual((odd["22"], odd["23"], odd["32"]), ("021", "001", "48029999123"))
        self.assertEqual((odd["60"], odd["61"]), ("2200000100050", "000001000017112"))
        chinese = read["chinese-text"]
        self.assertEqual(chinese["43"].encode("latin-1").decode("gbk").rstrip(), "测试商户")


if __name__ == "__main__":
    unittest.main()
