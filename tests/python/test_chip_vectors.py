"""Chip cards by an independent oracle: the published vectors (K), and every answer of the deck's cards.

``tests/vectors/cards.json`` is what the card simulator answers; a Rust test keeps it so. Here each certificate is
opened, each signature and each cryptogram computed again with pyemv, pycryptodome and OpenSSL. A rule that card and
kernel got wrong alike would show here.
"""

import hashlib
import json
import unittest
from pathlib import Path

import chip_oracle as oracle
from pyemv import ac, kd

CARDS = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "cards.json").read_text())
PAN, PSN = "6224242000000013", "01"
ATC = bytes.fromhex("0012")
K3 = bytes.fromhex("000000010000000000000000015600000480000156261124001A2B3C4D7C00001203A00002")


def h(text: str) -> bytes:
    return bytes.fromhex(text)


def same_key(one: bytes, other: bytes) -> bool:
    """Equal but for parity, which DES ignores."""
    return [byte & 0xFE for byte in one] == [byte & 0xFE for byte in other]


class Published(unittest.TestCase):
    """The numbers of the field reference, each computed here from its rule."""

    def test_k1_k2_keys(self):
        for imk, udk, session in [
            (oracle.IMK_AC, "FA87C4158A0F10CFCD4E9B9C4251E7B7", "577397879C78A09DA69D762AABC3A554"),
            (oracle.IMK_MAC, "C484ADE00A7BC2FDEEF6AB7A79749F8E", "AF6373A23B8236B4147702624B60B596"),
            (oracle.IMK_ENC, "99EE6DEAEC6478E6DA8D1F7A6211802D", "9845B1709FA8D5C916022594F6EECC4D"),
        ]:
            self.assertTrue(same_key(kd.derive_icc_mk_a(imk, PAN, PSN), h(udk)))
            self.assertTrue(same_key(oracle.session(imk, PAN, PSN, ATC), h(session)))

    def test_k3_k5_k7_k8_k9_cryptograms(self):
        for verification, tvr, expected in [
            ("03A00002", "0000048000", "419217144F4F17BD"),
            ("03600002", "0000048000", "B06EAB7939A3EC73"),
            ("03200002", "0000048000", "78AEB62DAAC525AD"),
            ("03280002", "0000048040", "8822CD2E9D2FA1BD"),
            ("03000002", "0000048000", "6D5A12DF2F8FCA04"),
        ]:
            data = K3[:-4].replace(h("0000048000"), h(tvr)) + h(verification)
            self.assertEqual(oracle.cryptogram(PAN, PSN, ATC, data), h(expected))

    def test_k4_response_cryptogram(self):
        key = oracle.session(oracle.IMK_AC, PAN, PSN, ATC)
        self.assertEqual(ac.generate_arpc_1(key, h("419217144F4F17BD"), b"00"), h("FEC3953EF5A2BC44"))

    def test_k6_k10_script_macs(self):
        key = oracle.session(oracle.IMK_MAC, PAN, PSN, ATC)
        put = h("04DA9F58050012419217144F4F17BD03")
        block = h("841E0000040012419217144F4F17BD")
        self.assertEqual(oracle.retail_mac(key, put), h("56B34A1AB63AE899"))
        self.assertEqual(oracle.retail_mac(key, block), h("372916A32C651C38"))

    def test_k11_confidential_script_data(self):
        key = oracle.session(oracle.IMK_ENC, PAN, PSN, ATC)
        plain = h("08" + "06123456FFFFFFFF" + "80" + "00" * 6)
        cipher = b"".join(oracle.tdes(key, plain[at : at + 8]) for at in (0, 8))
        self.assertEqual(cipher, h("8981BE0C1882F96724F8E6DC6EE58367"))

    def test_k12_k13_k15_other_versions(self):
        udk = kd.derive_icc_mk_a(oracle.IMK_AC, PAN, PSN)
        self.assertEqual(ac.generate_ac(udk, K3, ac.PaddingType.VISA), h("B9EF2DCDF5DEC7F3"))
        short = h("0000000100001A2B3C4D0012A0")
        self.assertEqual(ac.generate_ac(udk, short, ac.PaddingType.VISA), h("A35A1719CA5BC688"))
        common = kd.derive_common_sk(udk, ATC + bytes(6))
        self.assertTrue(same_key(common, h("7C42D3934692F814D7C2C6E46D6FE883")))
        data = K3[:-4] + h("06011203A00000")
        arqc = ac.generate_ac(common, data, ac.PaddingType.EMV)
        self.assertEqual(arqc, h("F9A746D1CFAFE078"))
        self.assertEqual(ac.generate_arpc_1(common, arqc, b"00"), h("0F5C434FA89B1B0E"))

    def test_k16_method_2(self):
        key = oracle.session(oracle.IMK_AC, PAN, PSN, ATC)
        common = kd.derive_common_sk(kd.derive_icc_mk_a(oracle.IMK_AC, PAN, PSN), ATC + bytes(6))
        found = {ac.generate_arpc_2(k, h("419217144F4F17BD"), h("00820000")) for k in (key, common)}
        found |= {ac.generate_arpc_2(k, h("F9A746D1CFAFE078"), h("00820000")) for k in (key, common)}
        self.assertIn(h("1D01368C"), found)

    def test_k17_k18_long_numbers(self):
        pan = "6212140000000000014"
        self.assertTrue(
            same_key(kd.derive_icc_mk_a(oracle.IMK_AC, pan, PSN), h("C938D6E814178A032F58EF9A4F1A1461"))
        )
        self.assertTrue(
            same_key(kd.derive_icc_mk_b(oracle.IMK_AC, pan, PSN), h("14846FBFC39B337540779B7669ADC9D4"))
        )

    def test_k19_k20_taps(self):
        online = h("000000001250000000000000015600000000000156261124005E6F70817C00001303A00000")
        offline = h("0000000012500000000000000156000000000001562611240090A1B2C37C00001403900000")
        self.assertEqual(oracle.cryptogram(PAN, PSN, h("0013"), online), h("DC67EE5446871343"))
        self.assertEqual(oracle.cryptogram(PAN, PSN, h("0014"), offline), h("31565D70F84B1053"))

    def test_sm4_modelled(self):
        y = h("2424200000001301")
        udk = oracle.sm4(oracle.IMK_AC, y + oracle.xor(y, b"\xff" * 8))
        self.assertEqual(udk, h("5912D67818B3B26DFE650A8DB6E8111C"))
        session = oracle.sm4(udk, bytes(6) + ATC + bytes(6) + h("FFED"))
        self.assertEqual(session, h("B5E3C797CEED9B98B7B50B8A4BE0AD7C"))
        self.assertEqual(oracle.sm4_cbc_mac(session, K3)[:8], h("019808E8DDAB6B8F"))

    def test_a_published_card_of_somebody_else(self):
        imk = h("F0C34A8124CEE0A91A0B034AA97D6EAC")
        udk = kd.derive_icc_mk_a(imk, "6228000100001", "01")
        self.assertTrue(same_key(udk, h("014D996FCC8F49157DC8B49E3BCDFD99")))
        session = oracle.pboc_session(udk, h("0240"))
        data = h(
            "000000000001000000000000015600800460000156140701001E78EEBC7D00024003A04002"
        )
        arqc = ac.generate_ac(session, data, ac.PaddingType.EMV)
        self.assertEqual(arqc, h("5D016C91005E7CC2"))
        self.assertEqual(ac.generate_arpc_1(session, arqc, b"01"), h("21415243527CE78F"))

    def test_lab_moduli(self):
        for label, bits, digest in [
            ("posp-lab/ca/F1", 1152, "dec47e33c23acf20657f062386242e04831d3ab5e376947408b9b1e39611676a"),
            ("posp-lab/issuer/622424", 1024, "c3d72b140ac808b6fb60f26eb512ab13dd09db1d3b6826203598d3654ca1bd42"),
            ("posp-lab/icc/L01", 768, "a8c146c10447e716b8f2a0a4037b64cb7610d7a81bdd8439ef442bd8418dd235"),
        ]:
            self.assertEqual(hashlib.sha256(oracle.lab_modulus(label, bits)).hexdigest(), digest)


def terminal_data(asked: bytes) -> bytes:
    """Amounts, country, results, currency, date, type, unpredictable number: what a cryptogram begins with."""
    return asked[:29]


class Deck(unittest.TestCase):
    """Every card of the deck, in the slot and on the antenna."""

    def chain(self, card: dict, records: dict[str, bytes], aip: bytes) -> bytes:
        """The card's key, from the organisation's down."""
        issuer_record, card_record = oracle.inside(records["1401"]), oracle.inside(records["1402"])
        ((_, signed),) = oracle.items(records["1C01"])
        ca = oracle.lab_modulus(f"posp-lab/ca/{issuer_record[0x8F].hex().upper()}", 1152)
        issuer = oracle.certified_key(ca, issuer_record[0x90], issuer_record[0x92], b"", 14)
        self.assertEqual(issuer, oracle.lab_modulus(f"posp-lab/issuer/{card['pan'][:6]}", 1024))
        own = oracle.certified_key(
            issuer, card_record[0x9F46], card_record[0x9F48], signed + aip, 20
        )
        self.assertEqual(own, oracle.lab_modulus(f"posp-lab/icc/{card['card']}", 768))
        static = oracle.recover(issuer, oracle.inside(records["1403"])[0x93], signed + aip)
        self.assertEqual(static[:4], h("0301DAC1"))
        return own

    def test_in_the_slot(self):
        seen = 0
        for card in CARDS:
            if "contact" not in card:
                continue
            seen += 1
            with self.subTest(card=card["card"]):
                contact = card["contact"]
                records = {at: h(text) for at, text in contact["records"].items()}
                ((_, options),) = oracle.items(h(contact["options"]))
                aip = options[:2]
                own = self.chain(card, records, aip)
                asked = h(contact["asked"])
                unpredictable = asked[25:29]
                ((_, signature),) = oracle.items(h(contact["dda"]))
                dynamic = oracle.recover(own, signature, unpredictable)
                self.assertEqual(dynamic[:6], h("050103") + h("02") + ATC)
                self.first_cryptogram(card, h(contact["first"]), aip, asked, own)
        self.assertEqual(seen, 13)

    def first_cryptogram(self, card: dict, answer: bytes, aip: bytes, asked: bytes, own: bytes) -> None:
        ((template, content),) = oracle.items(answer)
        if template == 0x77:
            objects = dict(oracle.items(content))
            covered = oracle.recover(own, objects[0x9F4B], asked[25:29])
            dynamic = covered[3 : 3 + covered[2]]
            self.assertEqual(dynamic[:4], h("02") + ATC + objects[0x9F27])
            found, atc, iad = dynamic[4:12], objects[0x9F36], objects[0x9F10]
            rest = b"".join(
                tag.to_bytes((tag.bit_length() + 7) // 8, "big") + bytes([len(value)]) + value
                for tag, value in oracle.items(content)
                if tag != 0x9F4B
            )
            self.assertEqual(dynamic[12:32], hashlib.sha1(asked + rest).digest())
        else:
            atc, found, iad = content[1:3], content[3:11], content[11:]
        self.assertEqual(atc, ATC)
        data = terminal_data(asked) + aip + atc + iad[3:7]
        self.assertEqual(oracle.cryptogram(card["pan"], f"{card['psn']:02}", atc, data), found)

    def test_on_the_antenna(self):
        for card in CARDS:
            for tap, kind in zip(card["tap"], (0x20, 0x10), strict=True):
                with self.subTest(card=card["card"], kind=kind):
                    objects = oracle.inside(h(tap["options"]))
                    asked = h(tap["asked"])[4:]
                    iad, atc = objects[0x9F10], objects[0x9F36]
                    self.assertEqual(iad[4] & 0x30, kind)
                    data = terminal_data(asked) + objects[0x82] + atc + iad[3:7]
                    found = oracle.cryptogram(card["pan"], f"{card['psn']:02}", atc, data)
                    self.assertEqual(found, objects[0x9F26])
                    if tap["signed"]:
                        signed = oracle.inside(h(tap["signed"]))
                        also = asked[25:29] + asked[:6] + asked[19:21] + signed[0x9F69]
                        own = oracle.lab_modulus(f"posp-lab/icc/{card['card']}", 768)
                        dynamic = oracle.recover(own, signed[0x9F4B], also)
                        self.assertEqual(dynamic[:6], h("050103") + h("02") + atc)

    def test_the_oracle_refuses_what_is_wrong(self):
        """A check that cannot fail shows nothing: one bit of a signature, of a record, of a cryptogram's data."""
        card = CARDS[0]
        contact = card["contact"]
        records = {at: h(text) for at, text in contact["records"].items()}
        own = oracle.lab_modulus("posp-lab/icc/L01", 768)
        ((_, signature),) = oracle.items(h(contact["dda"]))
        wrong = bytes([signature[0] ^ 1]) + signature[1:]
        with self.assertRaises(oracle.WrongSignature):
            oracle.recover(own, wrong, h(contact["asked"])[25:29])
        with self.assertRaises(oracle.WrongSignature):
            self.chain(card, records, h("7D00"))
        self.assertNotEqual(oracle.cryptogram(PAN, PSN, ATC, K3[:-1]), h("419217144F4F17BD"))


if __name__ == "__main__":
    unittest.main()
