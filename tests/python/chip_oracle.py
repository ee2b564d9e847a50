"""A chip card's mathematics by libraries that know nothing of this project.

Keys, cryptograms and MACs are pyemv's and pycryptodome's, SM4 is OpenSSL's, big numbers are Python's own. The
laboratory's RSA keys are derived here from their names once more, with another primality test.
"""

from __future__ import annotations

import hashlib
import warnings
from functools import lru_cache

from Crypto.Cipher import DES3
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.utils import CryptographyDeprecationWarning
from pyemv import ac, kd, mac

# pyemv calls triple DES by a name that its library is going to move; the field has no other cipher.
warnings.filterwarnings("ignore", category=CryptographyDeprecationWarning)

IMK_AC = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
IMK_MAC = bytes.fromhex("1133557799BBDDFF0022446688AACCEE")
IMK_ENC = bytes.fromhex("2233445566778899AABBCCDDEEFF0011")
EXPONENT = 3


def tdes(key: bytes, block: bytes) -> bytes:
    return DES3.new(key + key[:8], DES3.MODE_ECB).encrypt(block)


def xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def pboc_session(udk: bytes, atc: bytes) -> bytes:
    """Both halves from the counter: as it is, and inverted."""
    inverted = xor(atc, b"\xff\xff")
    return tdes(udk, bytes(6) + atc) + tdes(udk, bytes(6) + inverted)


def session(imk: bytes, pan: str, psn: str, atc: bytes) -> bytes:
    return pboc_session(kd.derive_icc_mk_a(imk, pan, psn), atc)


def cryptogram(pan: str, psn: str, atc: bytes, data: bytes) -> bytes:
    key = session(IMK_AC, pan, psn, atc)
    return ac.generate_ac(key, data, ac.PaddingType.EMV)


def retail_mac(key: bytes, data: bytes) -> bytes:
    return mac.mac_iso9797_3(key[:8], key[8:16], data, 2)


def sm4(key: bytes, block: bytes) -> bytes:
    encryptor = Cipher(SM4(key), modes.ECB()).encryptor()
    return encryptor.update(block) + encryptor.finalize()


def sm4_cbc_mac(key: bytes, data: bytes) -> bytes:
    padded = data + b"\x80"
    padded += bytes(-len(padded) % 16)
    value = bytes(16)
    for at in range(0, len(padded), 16):
        value = sm4(key, xor(value, padded[at : at + 16]))
    return value


# TLV


def items(data: bytes) -> list[tuple[int, bytes]]:
    out = []
    at = 0
    while at < len(data):
        start = at
        at += 1
        if data[start] & 0x1F == 0x1F:
            while data[at] & 0x80:
                at += 1
            at += 1
        tag = int.from_bytes(data[start:at], "big")
        length = data[at]
        at += 1
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(data[at : at + count], "big")
            at += count
        out.append((tag, data[at : at + length]))
        at += length
    return out


def inside(data: bytes) -> dict[int, bytes]:
    """The objects of the one template that ``data`` is."""
    ((_, content),) = items(data)
    return dict(items(content))


# RSA


def is_prime(number: int) -> bool:
    """Miller and Rabin, with the first primes as witnesses: deterministic, and no library's."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for witness in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53):
        if number % witness == 0:
            return number == witness
        value = pow(witness, odd, number)
        if value in (1, number - 1):
            continue
        for _ in range(twos - 1):
            value = value * value % number
            if value == number - 1:
                break
        else:
            return False
    return True


def lab_prime(label: str, bits: int) -> int:
    text, count = b"", 0
    while len(text) < bits // 8:
        text += hashlib.sha256(label.encode() + count.to_bytes(4, "big")).digest()
        count += 1
    first = bytearray(text[: bits // 8])
    first[0] |= 0xC0
    first[-1] |= 0x01
    number = int.from_bytes(first, "big")
    while number % 3 != 2 or not is_prime(number):
        number += 2
    return number


@lru_cache
def lab_modulus(label: str, bits: int) -> bytes:
    product = lab_prime(f"{label}/p", bits // 2) * lab_prime(f"{label}/q", bits // 2)
    return product.to_bytes(bits // 8, "big")


class WrongSignature(Exception):
    pass


def recover(modulus: bytes, signature: bytes, also: bytes) -> bytes:
    """What a signature with message recovery covers, its hash checked over that and ``also``."""
    if len(modulus) != len(signature):
        raise WrongSignature("length")
    number = pow(int.from_bytes(signature, "big"), EXPONENT, int.from_bytes(modulus, "big"))
    block = number.to_bytes(len(modulus), "big")
    covered, digest = block[1:-21], block[-21:-1]
    if block[0] != 0x6A or block[-1] != 0xBC or hashlib.sha1(covered + also).digest() != digest:
        raise WrongSignature("block")
    return covered


def certified_key(signer: bytes, certificate: bytes, remainder: bytes, also: bytes, head: int) -> bytes:
    """The modulus in a certificate whose fields before the key are ``head`` bytes long."""
    covered = recover(signer, certificate, remainder + bytes([EXPONENT]) + also)
    length = covered[head - 2]
    return (covered[head:] + remainder)[:length] if remainder else covered[head : head + length]
