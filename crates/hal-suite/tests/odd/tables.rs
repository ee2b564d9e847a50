//! What a vendor's numbers mean: the published codes of one Chinese vendor family, a table for each device.
#![allow(dead_code)]

use hal::{DeviceKind, ErrorKind as K, VendorTable};

use super::sdk::SERVICE_CRASHED;

/// Printer. Code 2 is how another family says that it is too hot.
pub const PRINTER: VendorTable = VendorTable {
    device: DeviceKind::Printer,
    rows: &[
        (2, K::Overheated, "too hot"),
        (0xF0, K::NoPaper, "paper out"),
        (0xF1, K::BadParam, "no content"),
        (0xF2, K::HardwareFault, "hardware"),
        (0xF3, K::Overheated, "overheat"),
        (0xF6, K::HardwareFault, "no black mark"),
        (0xF7, K::Busy, "busy"),
        (0xFB, K::HardwareFault, "motor"),
        (0xE1, K::LowPower, "battery low"),
        (0xE2, K::BadParam, "no font"),
        (0xE3, K::BadParam, "bitmap too wide"),
        (SERVICE_CRASHED, K::ServiceLost, "service crashed"),
    ],
};

/// Card detection and slot.
pub const CARD: VendorTable = VendorTable {
    device: DeviceKind::Icc,
    rows: &[
        (1, K::Comm, "swipe failed"),
        (2, K::CardMute, "chip read failed"),
        (3, K::CardMute, "chip power-up failed"),
        (4, K::Comm, "contactless read failed"),
        (5, K::Comm, "contactless activation failed"),
        (6, K::MultipleCards, "several cards"),
        (7, K::NotSupported, "M1 card in an EMV flow"),
        (8, K::NotSupported, "FeliCa in an EMV flow"),
        (9, K::NotSupported, "DESFire in an EMV flow"),
        (10, K::NotSupported, "NTAG in an EMV flow"),
        (11, K::NotSupported, "Ultralight in an EMV flow"),
        (SERVICE_CRASHED, K::ServiceLost, "service crashed"),
    ],
};

/// Contactless.
pub const RF: VendorTable = VendorTable {
    device: DeviceKind::Rf,
    rows: &[
        (0xA2, K::Comm, "transmission"),
        (0xA3, K::Comm, "illegal response"),
        (0x84, K::MultipleCards, "several cards"),
        (0xA7, K::Timeout, "timeout"),
        (0xB3, K::Comm, "not activated"),
        (SERVICE_CRASHED, K::ServiceLost, "service crashed"),
        (0xFF02, K::Extended, "request exception"),
    ],
};

/// PIN entry.
pub const PIN: VendorTable = VendorTable {
    device: DeviceKind::PinPad,
    rows: &[
        (-1, K::HardwareFault, "input exception"),
        (-2, K::Timeout, "timeout"),
        (-3, K::BadParam, "plain text empty"),
        (-4, K::NoKey, "encryption failed"),
        (-5, K::BadParam, "cipher text empty"),
        (0xFF, K::Extended, "other"),
    ],
};

/// Scanner.
pub const SCANNER: VendorTable = VendorTable {
    device: DeviceKind::Scanner,
    rows: &[(1, K::Comm, "scan failed"), (SERVICE_CRASHED, K::ServiceLost, "service crashed")],
};

/// EMV results that are failures of the kernel or the card. Outcomes (approved, declined, online) are no errors.
pub const EMV: VendorTable = VendorTable {
    device: DeviceKind::Emv,
    rows: &[
        (8, K::NotSupported, "no application"),
        (11, K::KernelError, "other error"),
        (12, K::CardMute, "fallback"),
        (13, K::KernelError, "data authentication failed"),
        (14, K::KernelError, "application blocked"),
        (15, K::KernelError, "e-cash"),
        (16, K::KernelError, "e-cash"),
        (17, K::KernelError, "amount over pure e-cash"),
        (19, K::KernelError, "PAN and track 2 differ"),
        (20, K::KernelError, "cardholder check failed"),
        (23, K::KernelError, "over contactless limit"),
        (25, K::KernelError, "card blocked"),
        (26, K::MultipleCards, "several cards"),
        (27, K::KernelError, "GPO error"),
        (28, K::KernelError, "GENERATE AC error"),
        (29, K::Comm, "try again"),
        (30, K::KernelError, "ODA failed"),
        (31, K::KernelError, "CVM failed"),
        (60, K::Comm, "tap failed"),
        (150, K::KernelError, "see phone"),
        (203, K::KernelError, "contactless error"),
        (205, K::CardMute, "use contact"),
        (206, K::NotSupported, "no contactless application"),
        (207, K::NotSupported, "not a CPU card"),
        (208, K::UserCancelled, "abort"),
        (210, K::KernelError, "card block (6A81)"),
        (211, K::KernelError, "file invalidated (6283)"),
        (301, K::KernelError, "kernel init failed"),
    ],
};

/// The tables with the codes as the vendor's documents list them, written down apart from the tables.
pub const DOCUMENTED: &[(&str, &VendorTable, &[i32])] = &[
    ("printer", &PRINTER, &[2, 0xE1, 0xE2, 0xE3, 0xF0, 0xF1, 0xF2, 0xF3, 0xF6, 0xF7, 0xFB, 0xFF01]),
    ("card detection", &CARD, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0xFF01]),
    ("contactless", &RF, &[0x84, 0xA2, 0xA3, 0xA7, 0xB3, 0xFF01, 0xFF02]),
    ("PIN entry", &PIN, &[-1, -2, -3, -4, -5, 0xFF]),
    ("scanner", &SCANNER, &[1, 0xFF01]),
    (
        "EMV failures",
        &EMV,
        &[
            8, 11, 12, 13, 14, 15, 16, 17, 19, 20, 23, 25, 26, 27, 28, 29, 30, 31, 60, 150, 203, 205, 206,
            207, 208, 210, 211, 301,
        ],
    ),
];
