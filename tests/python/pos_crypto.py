"""Payment cryptography of the terminal side: keys, MAC, PIN block, track encryption.

Written from the published rules and checked against published and synthetic vectors in test_vectors.py; it
shares nothing with posp, so that agreement between the two means something. DES comes from pycryptodome; SM4,
which that library lacks, stands at the end of the file.

Keys and blocks are bytes. A key of 8 bytes is single DES, of 16 bytes two-key triple DES; SM4 keys are wrapped
in the class Sm4Key, so that the same 16 bytes cannot be taken for the other cipher.
"""

from __future__ import annotations

from Crypto.Cipher import DES, DES3


class DesKey:
    """A single (8 bytes) or double length (16 bytes) DES key in ECB."""

    block_size = 8

    def __init__(self, value: bytes):
        if len(value) not in (8, 16):
            raise ValueError("a DES key has 8 or 16 bytes")
        self._value = bytes(value)

    def __len__(self) -> int:
        """Bytes of the key: 8 or 16."""
        return len(self._value)

    def _apply(self, data: bytes, encrypt: bool) -> bytes:
        left, right = self._value[:8], self._value[-8:]
        if left == right:
            # Two equal halves are single DES, which the triple DES class refuses as too weak.
            cipher = DES.new(left, DES.MODE_ECB)
        else:
            cipher = DES3.new(left + right, DES3.MODE_ECB)
        return cipher.encrypt(data) if encrypt else cipher.decrypt(data)

    def encrypt(self, data: bytes) -> bytes:
        """ECB over whole blocks."""
        return self._apply(data, True)

    def decrypt(self, data: bytes) -> bytes:
        """ECB over whole blocks."""
        return self._apply(data, False)

    def check_value(self) -> bytes:
        """KCV: the first four bytes of a zero block under the key."""
        return self.encrypt(bytes(self.block_size))[:4]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(KCV {self.check_value().hex().upper()})"


class Sm4Key:
    """An SM4 key in ECB, with the same face as DesKey."""

    block_size = 16

    def __init__(self, value: bytes):
        if len(value) != 16:
            raise ValueError("an SM4 key has 16 bytes")
        self._schedule = _sm4_schedule(bytes(value))

    def encrypt(self, data: bytes) -> bytes:
        """ECB over whole blocks."""
        return _sm4_ecb(self._schedule, data)

    def decrypt(self, data: bytes) -> bytes:
        """ECB over whole blocks."""
        return _sm4_ecb(self._schedule[::-1], data)

    check_value = DesKey.check_value
    __repr__ = DesKey.__repr__


def xor(left: bytes, right: bytes) -> bytes:
    """Exclusive or of two strings of one length."""
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


# ---------------------------------------------------------------- working keys


class KeyError62(ValueError):
    """Field 62 of a sign-in answer has no known layout, or a check value does not match."""


class WorkingKeys:
    """PIK, MAK and, when the terminal asked for one, TDK."""

    def __init__(self, pin, mac, track=None):
        self.pin = pin
        self.mac = mac
        self.track = track


# 60.3 of the sign-in -> total length of field 62 and, for each key, its clear length; each is followed by a
# four byte check value. The MAK of the double length layouts stands in 16 bytes, of which the second half is
# zero when the key is single length.
KEY_LAYOUTS = {
    "001": (24, (8, 8)),
    "003": (40, (16, 16)),
    "004": (60, (16, 16, 16)),
    "006": (60, (16, 16, 16)),
}


def unwrap_keys(code: str, field62: bytes, master) -> WorkingKeys:
    """Decrypts the working keys of a sign-in answer and verifies each check value.

    `code` is the 60.3 that was asked for: 3DES and SM4 share the length of 60 bytes, so the layout is never
    guessed from the length. Raises KeyError62 and leaves the caller's old keys alone.
    """
    total, lengths = KEY_LAYOUTS[code]
    if len(field62) != total:
        raise KeyError62(f"field 62 has {len(field62)} bytes, layout {code} has {total}")
    make = Sm4Key if code == "006" else DesKey
    keys = []
    at = 0
    for position, length in enumerate(lengths):
        wrapped = field62[at : at + length]
        expected = field62[at + length : at + length + 4]
        at += length + 4
        if position == 1 and make is DesKey and length == 16 and not any(wrapped[8:]):
            wrapped = wrapped[:8]
        key = make(master.decrypt(wrapped))
        if key.check_value() != expected:
            raise KeyError62(f"check value of key {position + 1} differs")
        keys.append(key)
    return WorkingKeys(*keys)


# ---------------------------------------------------------------- MAC


def xor_blocks(block: bytes, size: int) -> bytes:
    """Zero-pads to whole blocks and folds them together: R of the CUP rule."""
    padded = block + bytes(-len(block) % size)
    folded = bytes(size)
    for at in range(0, len(padded), size):
        folded = xor(folded, padded[at : at + size])
    return folded


def cup_mac(key, block: bytes) -> bytes:
    """Field 64 by the CUP ECB rule, for DES, triple DES and SM4 keys: 8 upper case hexadecimal characters."""
    size = key.block_size
    text = xor_blocks(block, size).hex().upper().encode("ascii")
    first = key.encrypt(text[:size])
    second = key.encrypt(xor(first, text[size:]))
    return second.hex().upper()[:8].encode("ascii")


# ---------------------------------------------------------------- PIN


def pin_block(pin: str, pan: str, size: int = 8) -> bytes:
    """The clear block of format 0: PIN part xor the 12 digits left of the check digit.

    With size 16 it is the same rule over 32 nibbles, the modelled form for SM4.
    """
    if not (pin.isdigit() and 4 <= len(pin) <= 12):
        raise ValueError("a PIN has 4 to 12 digits")
    nibbles = 2 * size
    pin_part = f"0{len(pin):X}{pin}".ljust(nibbles, "F")
    pan_part = pan[-13:-1].rjust(nibbles, "0")
    return xor(bytes.fromhex(pin_part), bytes.fromhex(pan_part))


def encrypt_pin(key, pin: str, pan: str) -> bytes:
    """The block under the PIN key: 8 bytes for DES, 16 for SM4."""
    return key.encrypt(pin_block(pin, pan, key.block_size))


# ---------------------------------------------------------------- tracks


def _track(key, digits: str, encrypt: bool) -> str:
    """Works on the one cipher block that ends just before the last byte of the packed track."""
    packed = digits + "0" * (len(digits) % 2)
    end = len(packed) - 2
    start = end - 2 * key.block_size
    if start < 0:
        raise ValueError("the track is shorter than a cipher block and a byte")
    block = bytes.fromhex(packed[start:end])
    done = key.encrypt(block) if encrypt else key.decrypt(block)
    return (packed[:start] + done.hex().upper() + packed[end:])[: len(digits)]


def encrypt_track(key, digits: str) -> str:
    """A track (separator `D`) with its tail under the track key; the length stays."""
    return _track(key, digits, True)


def decrypt_track(key, digits: str) -> str:
    """Undoes encrypt_track."""
    return _track(key, digits, False)


# ---------------------------------------------------------------- SM4 (GB/T 32907)


def _build_sbox() -> bytes:
    """The S box from its definition: affine map, inverse in GF(2^8) modulo 0x1F5, the same affine map."""

    def multiply(a: int, b: int) -> int:
        product = 0
        while b:
            if b & 1:
                product ^= a
            a <<= 1
            if a & 0x100:
                a ^= 0x1F5
            b >>= 1
        return product

    inverse = [0] * 256
    for a in range(1, 256):
        if not inverse[a]:
            b = next(b for b in range(1, 256) if multiply(a, b) == 1)
            inverse[a], inverse[b] = b, a

    def affine(x: int) -> int:
        y = 0
        for bit in range(8):
            # Row `bit` of the circulant matrix is 0xA7 turned left by `bit`.
            row = ((0xA7 << bit) | (0xA7 >> (8 - bit))) & 0xFF
            y |= ((row & x).bit_count() & 1) << bit
        return y ^ 0xD3

    return bytes(affine(inverse[affine(x)]) for x in range(256))


_SBOX = _build_sbox()
_FK = (0xA3B1BAC6, 0x56AA3350, 0x677D9197, 0xB27022DC)
_CK = tuple(
    int.from_bytes(bytes((4 * i + j) * 7 % 256 for j in range(4)), "big") for i in range(32)
)


def _turn(word: int, bits: int) -> int:
    return ((word << bits) | (word >> (32 - bits))) & 0xFFFFFFFF


def _substitute(word: int) -> int:
    return int.from_bytes(word.to_bytes(4, "big").translate(_SBOX), "big")


def _sm4_schedule(key: bytes) -> list[int]:
    state = [int.from_bytes(key[4 * i : 4 * i + 4], "big") ^ _FK[i] for i in range(4)]
    for constant in _CK:
        mixed = _substitute(state[-3] ^ state[-2] ^ state[-1] ^ constant)
        state.append(state[-4] ^ mixed ^ _turn(mixed, 13) ^ _turn(mixed, 23))
    return state[4:]


def _sm4_block(schedule: list[int], block: bytes) -> bytes:
    state = [int.from_bytes(block[4 * i : 4 * i + 4], "big") for i in range(4)]
    for round_key in schedule:
        mixed = _substitute(state[-3] ^ state[-2] ^ state[-1] ^ round_key)
        mixed ^= _turn(mixed, 2) ^ _turn(mixed, 10) ^ _turn(mixed, 18) ^ _turn(mixed, 24)
        state.append(state[-4] ^ mixed)
    return b"".join(word.to_bytes(4, "big") for word in reversed(state[-4:]))


def _sm4_ecb(schedule: list[int], data: bytes) -> bytes:
    if len(data) % 16:
        raise ValueError("SM4 in ECB takes whole blocks of 16 bytes")
    return b"".join(_sm4_block(schedule, data[at : at + 16]) for at in range(0, len(data), 16))
