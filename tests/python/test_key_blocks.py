"""TR-31 key blocks: what posp exports an unrelated implementation opens, and the other way round.

psec knows nothing of posp. Keys that arrive under both have the same check value, computed here.
"""

import os
import subprocess
import tempfile
import unittest
import warnings
from pathlib import Path

import Crypto.Cipher.AES
import psec
from Crypto.Cipher import DES3
from Crypto.Hash import CMAC
from cryptography.utils import CryptographyDeprecationWarning

# Synthetic protection keys; posp is given them as two components. Triple DES of 16 and 24 bytes, AES of 16, 24 and 32.
TDES = bytes.fromhex("89E88CF7931444F334BD7547FC3F380C")
AES = bytes.fromhex("88E1AB2A2E3DD38C1FA039A536500CC8A87AB9D62DC92C01058FA79F44657DE6")
PROTECTION = [
    ("B", TDES),
    ("B", bytes.fromhex("260892192061C8760BDF235E1619B057B334FED0EFA74F32")),
    ("D", AES[:16]),
    ("D", AES[:24]),
    ("D", AES),
]
KEY = bytes.fromhex("F039121BEC83D26B169BDCD5B22AAF8F")
# posp's usage, and what a block says for it.
USAGES = {"pin": "P0", "mac": "M1", "track": "D0", "zmk": "K0", "tmk": "K0", "imk-ac": "E0"}
MODES = {"P0": "B", "M1": "C", "D0": "B", "K0": "B", "E0": "X"}


def check_value(key: bytes) -> str:
    return DES3.new(key, DES3.MODE_ECB).encrypt(bytes(8))[:3].hex().upper()


def protection_check_value(version: str, key: bytes) -> str:
    if version == "B":
        return check_value(key)
    return CMAC.new(key, msg=bytes(16), ciphermod=Crypto.Cipher.AES).hexdigest()[:6].upper()


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

    def test_psec_blocks_are_taken_and_sent_on(self):
        for version, protection in PROTECTION:
            for usage, code in USAGES.items():
                with self.subTest(version=version, length=len(protection), usage=usage):
                    header = f"{version}0000{code}T{MODES[code]}00E0000"
                    block = psec.tr31.wrap(kbpk=protection, header=header, key=KEY)
                    lines = self.posp("key", "import", "--tr31", block, "--usage", usage, *components(protection))
                    self.assertIn(f"check value {check_value(KEY)}", lines)
                    self.assertIn(f" {protection_check_value(version, protection)}\n", lines)
                    wrapped = lines.splitlines()[-1]
                    self.assertNotIn(KEY.hex().upper(), lines.upper())
                    export = ["key", "export", "--tr31", "--key", wrapped, "--block-version", version]
                    back = self.posp(*export, *components(protection))
                    header, key = psec.tr31.unwrap(kbpk=protection, key_block=back.splitlines()[-1])
                    self.assertEqual(key, KEY)
                    self.assertEqual(header.version_id, version)
                    self.assertEqual((header.key_usage, header.algorithm), (code, "T"))
                    self.assertEqual((header.mode_of_use, header.exportability), (MODES[code], "E"))

    def test_optional_blocks_are_read(self):
        for version, protection in PROTECTION:
            header = psec.tr31.Header(version, "M3", "T", "C", "00", "N")
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

    def test_the_version_follows_from_the_length_where_nothing_says_it(self):
        block = psec.tr31.wrap(kbpk=TDES, header="B0000P0TE00E0000", key=KEY)
        wrapped = self.posp("key", "import", "--tr31", block, "--usage", "pin", *components(TDES)).splitlines()[-1]
        for length, version in [(16, "B"), (24, "B"), (32, "D")]:
            block = self.posp("key", "export", "--tr31", "--key", wrapped, *components(AES[:length])).splitlines()[-1]
            self.assertEqual(psec.tr31.unwrap(kbpk=AES[:length], key_block=block)[1], KEY)
            self.assertEqual(block[0], version)

    def test_lengths_that_do_not_belong_there_are_refused(self):
        block = psec.tr31.wrap(kbpk=TDES, header="B0000P0TE00E0000", key=KEY)
        with self.assertRaisesRegex(RuntimeError, "version B takes a triple-DES protection key of 16 or 24 bytes"):
            self.posp("key", "import", "--tr31", block, "--usage", "pin", *components(AES))
        for version, protection in PROTECTION:
            block = psec.tr31.wrap(kbpk=protection, header=f"{version}0000K0TB00E0000", key=os.urandom(24))
            with self.assertRaisesRegex(RuntimeError, "its key is of triple length"):
                self.posp("key", "zone", "--tr31", block, *components(protection))


if __name__ == "__main__":
    unittest.main()
