"""Known-answer tests of the Python terminal: published vectors (K) and synthetic ones (S).

They make the terminal a witness of its own: when it and posp agree on a MAC or a PIN block, two implementations
that share no code have each reproduced the same published numbers.
"""

import unittest

from deck import DECK
from pos_crypto import (
    DesKey,
    KeyError62,
    Sm4Key,
    WorkingKeys,
    cup_mac,
    decrypt_track,
    encrypt_pin,
    encrypt_track,
    pin_block,
    unwrap_keys,
    xor_blocks,
)
from terminal import Terminal


def h(text: str) -> bytes:
    return bytes.fromhex(text)


LAB_TMK = h("0123456789ABCDEFFEDCBA9876543210")
PIK = h("11" * 8 + "22" * 8)
MAK = h("33" * 8)
MAK16 = h("33" * 8 + "44" * 8)
TDK = h("44" * 8 + "55" * 8)
S1 = h(
    "9B3A7B883A100F73B4ABA2BB791C50E7D2B91CC5"
    "5ADC39F46164960E0000000000000000ADC67D84"
)
S2 = S1 + h("17B9F1B1A1B2D33C00396833D152DA8E6B941819")
S4 = S1[:20] + h("5ADC39F46164960E17B9F1B1A1B2D33CE18DE25E")
S5 = h(
    "D052DCC19D0EEB7A565720640D8B7E29DD60708C"
    "BD7B374D8DF254E7B90C3BF03C814F7E855C3763"
    "449734911A4402599E9A30CBAB1192BCF7C127A8"
)
S9 = h(
    "007260000300006032003200010200302004C020C098110000000000000001000000170210001234622424200000"
    "0021F00997375B09E705073130303030303031383938313030303030303030303031313536010FFE95955CE8A526"
    "100000000000000014220000010005003335444639323246"
)


class Keys(unittest.TestCase):
    def test_k1_published_sign_in(self):
        master = DesKey(h("CA5D92598DCA48CE8A4C76361A9269E9"))
        field62 = h(
            "6701EAD6A9AD51E51AA406E2C27FCFA98D0A74B8"
            "B651F9E9BACE9AE10000000000000000AB7153CA"
        )
        keys = unwrap_keys("003", field62, master)
        self.assertEqual(keys.pin.encrypt(bytes(8)), h("8D0A74B8C5EF66C6"))
        self.assertEqual(keys.mac.encrypt(bytes(8)), h("AB7153CA985B10C2"))
        self.assertEqual(master.decrypt(field62[:16]), h("807A23AD32B36D457AE91FDF927570EA"))
        self.assertEqual(master.decrypt(field62[20:28]), h("5BB5C72CD00B7338"))

    def test_s1_s2_s4_layouts_of_40_and_60_bytes(self):
        master = DesKey(LAB_TMK)
        for code, blob in (("003", S1), ("004", S2)):
            keys = unwrap_keys(code, blob, master)
            self.assertEqual(keys.pin.encrypt(bytes(8)), DesKey(PIK).encrypt(bytes(8)))
            self.assertEqual(keys.mac.encrypt(bytes(8)), DesKey(MAK).encrypt(bytes(8)))
        self.assertEqual(unwrap_keys("004", S2, master).track.check_value(), DesKey(TDK).check_value())
        double = unwrap_keys("003", S4, master)
        self.assertEqual(double.mac.check_value(), DesKey(MAK16).check_value())

    def test_s5_sm4_layout(self):
        keys = unwrap_keys("006", S5, Sm4Key(LAB_TMK))
        for key, first in ((keys.pin, 0x01), (keys.mac, 0x11), (keys.track, 0x21)):
            clear = Sm4Key(bytes(range(first, first + 16)))
            self.assertEqual(key.encrypt(bytes(16)), clear.encrypt(bytes(16)))

    def test_s6_check_values(self):
        self.assertEqual(DesKey(LAB_TMK).encrypt(bytes(8)), h("08D7B4FB629D0885"))
        self.assertEqual(DesKey(LAB_TMK[:8]).encrypt(bytes(8)), h("D5D44FF720683D0D"))
        self.assertEqual(Sm4Key(LAB_TMK).encrypt(bytes(16)), h("2677F46B09C122CC975533105BD4A22A"))

    def test_k8_sm4_standard_vector(self):
        key = Sm4Key(LAB_TMK)
        cipher = h("681EDF34D206965E86B3E94F536E4246")
        self.assertEqual(key.encrypt(LAB_TMK), cipher)
        self.assertEqual(key.decrypt(cipher), LAB_TMK)

    def test_wrong_check_value_and_unknown_length_are_refused(self):
        master = DesKey(LAB_TMK)
        for at in (16, 36):
            broken = bytearray(S1)
            broken[at] ^= 1
            with self.assertRaises(KeyError62):
                unwrap_keys("003", bytes(broken), master)
        with self.assertRaises(KeyError62):
            unwrap_keys("003", S1[:-1], master)
        with self.assertRaises(KeyError62):
            unwrap_keys("003", S2, master)

    def test_a_key_shows_only_its_check_value(self):
        self.assertEqual(repr(DesKey(LAB_TMK)), "DesKey(KCV 08D7B4FB)")


class Mac(unittest.TestCase):
    def test_k3_published_xor_chain(self):
        key = DesKey(DesKey(h("70F2A84CCBC2AE8625CBB0F2C22AB923")).decrypt(h("96D605EA176B7E9E")))
        self.assertEqual(key.encrypt(bytes(8)), DesKey(h("C24A8FB57AA20123")).encrypt(bytes(8)))
        self.assertEqual(cup_mac(key, h("4D08F434464FE7BF")), b"8A9E91B8")

    def test_k4_published_frame(self):
        body = h(
            "02003020048000C080150000000000000012340000020300993030303030303031393532373138313832"
            "32313738373531353600192600000100060000000000435F011232383434313233343536373839303132"
            "33345F03063136303033365F04063230303832365C0230314233413039324145"
        )
        self.assertEqual(xor_blocks(body[:-8], 8), h("3761343619AC6492"))
        for key in (h("0723C80DB5F4CD3D"), h("0723C80DB5F4CD3D") * 2):
            self.assertEqual(cup_mac(DesKey(key), body[:-8]), body[-8:])

    def test_s9_single_length_key(self):
        block = S9[13:-8]
        self.assertEqual(xor_blocks(block, 8), h("7F4084D8CDCB2AB1"))
        self.assertEqual(cup_mac(DesKey(MAK), block), b"35DF922F")

    def test_s11_sm4(self):
        block = S9[13:-8]
        self.assertEqual(xor_blocks(block, 16), h("020110D0004F2CA17D419408CD840610"))
        self.assertEqual(cup_mac(Sm4Key(bytes(range(0x11, 0x21))), block), b"C79134A9")


class Pin(unittest.TestCase):
    def test_k5_published_blocks(self):
        self.assertEqual(pin_block("123456", "123456789012345678"), h("061253DFFEDCBA98"))
        self.assertEqual(pin_block("123456", "1234567890123456"), h("0612713176FEDCBA"))

    def test_s7(self):
        card = DECK["L02"]
        self.assertEqual(pin_block(card.pin, card.pan), h("06127614FFFFFFFD"))
        self.assertEqual(encrypt_pin(DesKey(PIK), card.pin, card.pan), h("010FFE95955CE8A5"))

    def test_only_4_to_12_digits(self):
        for pin in ("123", "1234567890123", "12a4"):
            with self.assertRaises(ValueError):
                pin_block(pin, DECK["L02"].pan)


class Track(unittest.TestCase):
    def test_s8(self):
        track = DECK["L02"].track2
        cipher = encrypt_track(DesKey(TDK), track)
        self.assertEqual(cipher, "6224242000000021F00997375B09E70507")
        self.assertEqual(decrypt_track(DesKey(TDK), cipher), track)

    def test_odd_length_and_sm4_keep_length_and_last_byte(self):
        for key in (DesKey(TDK), Sm4Key(TDK)):
            for length in (34, 35, 36, 37):
                track = (DECK["L02"].track2 + "987")[:length]
                cipher = encrypt_track(key, track)
                self.assertEqual(len(cipher), length)
                self.assertNotEqual(cipher, track)
                self.assertEqual(cipher[-(2 - length % 2) :], track[-(2 - length % 2) :])
                self.assertEqual(decrypt_track(key, cipher), track)


class WholeFrames(unittest.TestCase):
    """The terminal, given the inputs of S9 and S10, must put exactly those frames on the wire."""

    def terminal(self, mac_key: bytes, encrypt_tracks: bool) -> Terminal:
        terminal = Terminal(
            "host.invalid", 0, "898100000000001", "10000001", LAB_TMK, encrypt_tracks=encrypt_tracks
        )
        terminal.keys = WorkingKeys(DesKey(PIK), DesKey(mac_key), DesKey(TDK))
        terminal.layout = "004"
        terminal.batch = 1
        terminal.next_trace = 17
        return terminal

    def sale(self, terminal: Terminal) -> bytes:
        card = DECK["L02"]
        fields = terminal.payment_fields("sale", card, 100, pin=card.pin, fallback=False)
        return terminal.frame(terminal.encode("0200", fields, signed=True))

    def test_s9_encrypted_track_single_length_mac_key(self):
        self.assertEqual(self.sale(self.terminal(MAK, True)).hex(), S9.hex())

    def test_s10_clear_track_double_length_mac_key(self):
        frame = self.sale(self.terminal(MAK16, False))
        self.assertEqual(frame[-8:], b"665E8736")

    def test_an_answer_is_decoded_and_encoded_again(self):
        terminal = self.terminal(MAK, True)
        answer = terminal.read(S9[2:])
        self.assertEqual(answer.mti, "0200")
        self.assertEqual(answer.fields["11"], "000017")
        self.assertTrue(terminal.mac_is_right(answer))


if __name__ == "__main__":
    unittest.main()
