"""The UnionPay terminal dialect (baseline profile cup-pos-1) as a field table of pyiso8583.

The body only: MTI, one bitmap, fields. The two byte length, the TPDU and the six byte header stand outside.

    n fixed   packed decimal; an odd count is padded: field 22 on the right, field 23 on the left
    n / z var packed, left-justified, pad nibble 0 on the right; the prefix counts digits
    an / ans  one byte a character; latin-1 keeps GBK bytes as they are; the prefix counts bytes
    b         raw bytes, written as hexadecimal in the decoded form; the prefix counts bytes
"""

from __future__ import annotations


def _packed(digits: int, desc: str, **pad: str) -> dict:
    return {
        "data_enc": "b", "len_enc": "bcd", "len_type": 0, "max_len": digits,
        "len_count": "nibbles", "desc": desc, **pad,
    }


def _packed_var(prefix: int, digits: int, desc: str) -> dict:
    return {**_packed(digits, desc, right_pad="0"), "len_type": prefix}


def _text(length: int, desc: str) -> dict:
    return {"data_enc": "latin-1", "len_enc": "bcd", "len_type": 0, "max_len": length, "desc": desc}


def _text_var(prefix: int, length: int, desc: str) -> dict:
    return {**_text(length, desc), "len_type": prefix}


def _raw(length: int, desc: str) -> dict:
    return {"data_enc": "b", "len_enc": "bcd", "len_type": 0, "max_len": length, "desc": desc}


def _raw_var(prefix: int, length: int, desc: str) -> dict:
    return {**_raw(length, desc), "len_type": prefix}


LL, LLL = 1, 2

SPEC = {
    "h": _raw(0, "no header: it stands outside the body"),
    "t": _raw(2, "message type"),
    "p": _raw(8, "bitmap"),
    "1": _raw(8, "no second bitmap in this dialect"),
    "2": _packed_var(LL, 19, "account number"),
    "3": _packed(6, "processing code"),
    "4": _packed(12, "amount"),
    "11": _packed(6, "trace number"),
    "12": _packed(6, "local time"),
    "13": _packed(4, "local date"),
    "14": _packed(4, "expiry"),
    "15": _packed(4, "settlement date"),
    "22": _packed(3, "entry mode", right_pad="0"),
    "23": _packed(3, "card sequence number", left_pad="0"),
    "25": _packed(2, "condition code"),
    "26": _packed(2, "PIN capture code"),
    "32": _packed_var(LL, 11, "acquiring institution"),
    "35": _packed_var(LL, 37, "track 2"),
    "36": _packed_var(LLL, 104, "track 3"),
    "37": _text(12, "reference number"),
    "38": _text(6, "authorisation code"),
    "39": _text(2, "response code, or reason of a reversal"),
    "41": _text(8, "terminal number"),
    "42": _text(15, "merchant number"),
    "43": _text(40, "merchant name"),
    "44": _text_var(LL, 25, "additional response data"),
    "46": _text_var(LLL, 999, "vendor field"),
    "47": _text_var(LLL, 999, "vendor field"),
    "48": _packed_var(LLL, 322, "additional data, totals and details"),
    "49": _text(3, "currency"),
    "52": _raw(8, "PIN block"),
    "53": _packed(16, "security control"),
    "54": _text_var(LLL, 20, "balances, tip"),
    "55": _raw_var(LLL, 700, "chip data"),
    "56": _text_var(LLL, 999, "vendor field"),
    "57": _text_var(LLL, 999, "vendor field"),
    "58": _text_var(LLL, 100, "electronic cash text"),
    "59": _text_var(LLL, 600, "terminal and QR data"),
    "60": _packed_var(LLL, 17, "type, batch, network code, capability"),
    "61": _packed_var(LLL, 29, "original message"),
    "62": _raw_var(LLL, 999, "keys, parameters and other custom data"),
    "63": _text_var(LLL, 163, "operator, card organisation, texts"),
    "64": _text(8, "MAC"),
}
