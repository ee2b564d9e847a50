"""TR-31 key blocks: what posp exports an unrelated implementation opens, and the other way round.

psec knows nothing of posp. Keys that arrive under both have the same check value, computed here.
"""

import os
import subprocess
import tempfile
import unittest
import warnings
from pathlib import Path

import psec
from Crypto.Cipher import DES3
from cryptography.utils import CryptographyDeprecationWarning

# Synthetic protection keys; posp is given them as two components.
TDES = bytes.fromhex("89E88CF7931444F334BD7547FC3F380C")
AES = bytes.fromhex("88E1AB2A2E3DD38C1FA039A536500CC8A87AB9D62DC92C01058FA79F44657DE6")
KEY = bytes.fromhex("F039121BEC83D26B169BDCD5B22AAF8F")
# posp's usage, and what a block says for it.
USAGES = {"pin": "P0", "mac": "M1", "track": "D0", "zmk": "K0", "tmk": "K0", "imk-ac": "E0"}
MODES = {"P0": "B", "M1": "C", "D0": "B", "K0": "B", "E0": "X"}


def check_value(key: bytes) -> str:
    return DES3.new(key, DES3.MODE_ECB).encrypt(bytes(8))[:3].hex().upper()


def components(key: bytes) -> list[str]:
    mask = os.urandom(len(key))
    other = bytes(a ^ b for a, b in zip(key, mask))
    return ["--component", mask.hex(), "--component", other.hex()]


class KeyBlocks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # psec uses names that its own library has begun to move.
        warnings.simplefilter("ignore", category=CryptographyDeprecationWarning)
        cls.directory = tempfile.TemporaryDirectory()
        cls.master = Path(cls.directory.name) / "master.key"
        cls.posp("key", "init")

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    @classmethod
    def posp(cls, *arguments: str) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("POSP_")}
        environment["POSP_NODE__MASTER_KEY"] = str(cls.master)
        done = subprocess.run(
            [os.environ["POSP_BIN"], *arguments], env=environment, capture_output=True, text=True, timeout=60
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return done.stdout

    def versions(self):
        return [("B", TDES), ("D", AES)]

    def test_psec_blocks_are_taken_and_sent_on(self):
        for version, protection in self.versions():
            for usage, code in USAGES.items():
                with self.subTest(version=version, usage=usage):
                    header = f"{version}0000{code}T{MODES[code]}00E0000"
                    block = psec.tr31.wrap(kbpk=protection, header=header, key=KEY)
                    lines = self.posp("key", "import", "--tr31", block, "--usage", usage, *components(protection))
                    self.assertIn(f"check value {check_value(KEY)}", lines)
                    wrapped = lines.splitlines()[-1]
                    self.assertNotIn(KEY.hex().upper(), lines.upper())
                    back = self.posp("key", "export", "--tr31", "--key", wrapped, *components(protection))
                    header, key = psec.tr31.unwrap(kbpk=protection, key_block=back.splitlines()[-1])
                    self.assertEqual(key, KEY)
                    self.assertEqual(header.version_id, version)
                    self.assertEqual((header.key_usage, header.algorithm), (code, "T"))
                    self.assertEqual((header.mode_of_use, header.exportability), (MODES[code], "E"))

    def test_optional_blocks_are_read(self):
        for _, protection in self.versions():
            header = psec.tr31.Header("D" if protection is AES else "B", "M3", "T", "C", "00", "N")
            header.blocks["KS"] = "00604B120F9292800000"
            header.blocks["TS"] = "2026" + "0" * 300
            block = psec.tr31.wrap(kbpk=protection, header=header, key=KEY)
            lines = self.posp("key", "import", "--tr31", block, "--usage", "mac", *components(protection))
            self.assertIn("optional block KS: 00604B120F9292800000", lines)
            self.assertIn("must not be sent on", lines)

    def test_another_protection_key_or_usage_is_refused(self):
        block = psec.tr31.wrap(kbpk=TDES, header="B0000P0TE00E0000", key=KEY)
        with self.assertRaisesRegex(RuntimeError, "another protection key"):
            self.posp("key", "import", "--tr31", block, "--usage", "pin", *components(KEY))
        with self.assertRaisesRegex(RuntimeError, "another usage"):
            self.posp("key", "import", "--tr31", block, "--usage", "mac", *components(TDES))


if __name__ == "__main__":
    unittest.main()
