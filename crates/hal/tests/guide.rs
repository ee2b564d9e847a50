//! The guide for terminal makers names what the code has, in both languages.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use hal::{ErrorKind, Permission};

const GUIDES: [&str; 2] = [include_str!("../../../docs/hal.md"), include_str!("../../../docs/hal.zh-CN.md")];

/// Every kind of error and every permission stands in a table of the guide, word for word: a maker looks there and
/// not in the code.
#[test]
fn the_guide_names_every_kind_and_permission() {
    for guide in GUIDES {
        for kind in ErrorKind::ALL {
            assert!(guide.contains(&format!("`{kind}`")), "{kind}");
        }
        for permission in Permission::all() {
            assert!(guide.contains(&format!("`{permission}`")), "{permission}");
        }
    }
}
