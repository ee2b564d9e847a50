//! Panics of the world that this thread runs. A runtime keeps a task's panic to itself, and a payment that ends so would
//! only look like one that was lost on its way.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static SEEN: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Begins to look, and forgets what was seen before in this thread.
pub fn watch() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            SEEN.with_borrow_mut(|seen| seen.get_or_insert_with(|| panic.to_string()).truncate(500));
            before(panic);
        }));
    });
    SEEN.take();
}

/// The first panic since then.
pub fn seen() -> Option<String> {
    SEEN.with_borrow(Clone::clone)
}
