//! Merchants, terminals and their sessions, numbers, the vault.

use acquiring::MerchantId;
use acquiring::master::{Merchant, Terminal, TerminalCipher, TerminalSession};
use store::{Store, StoreError};

use crate::common::{at, keys, merchant, merchant_id, terminal, terminal_id};

async fn enrolled(store: &Store) {
    store.put_merchant(&merchant()).await.unwrap();
    store.put_terminal(&terminal()).await.unwrap();
}

async fn session(store: &Store) -> TerminalSession {
    store.terminal(merchant_id(), terminal_id()).await.unwrap().unwrap().session
}

pub async fn master_data_comes_back_whole(store: Store) {
    enrolled(&store).await;
    let other = Merchant {
        id: MerchantId::new("898100000000002").unwrap(),
        name: "无限额".to_owned(),
        mcc: 5411,
        active: false,
        limit_single: None,
        profile: Some("north".to_owned()),
    };
    store.put_merchant(&other).await.unwrap();
    let sm4 = Terminal {
        merchant: other.id,
        cipher: TerminalCipher::Sm4,
        active: false,
        session: TerminalSession {
            keys: Some(keys(2)),
            previous_keys: Some(keys(1)),
            signed_in_at: Some(at(5)),
            previous_signed_in_at: Some(at(4)),
            batch: acquiring::BatchNo::new(42).unwrap(),
        },
        ..terminal()
    };
    store.put_terminal(&sm4).await.unwrap();
    assert_eq!(store.merchants().await.unwrap(), [merchant(), other]);
    assert_eq!(store.terminals().await.unwrap(), [terminal(), sm4]);
}

pub async fn the_version_counts_changes_only(store: Store) {
    assert_eq!(store.master_version().await.unwrap(), 0);
    enrolled(&store).await;
    assert_eq!(store.master_version().await.unwrap(), 2);
    enrolled(&store).await;
    assert_eq!(store.master_version().await.unwrap(), 2, "the same again is no change");
    store.put_merchant(&Merchant { active: false, ..merchant() }).await.unwrap();
    assert_eq!(store.master_version().await.unwrap(), 3);
    let own = Merchant { active: false, profile: Some("north".to_owned()), ..merchant() };
    store.put_merchant(&own).await.unwrap();
    assert_eq!(store.merchants().await.unwrap(), [own]);
    assert_eq!(store.master_version().await.unwrap(), 4, "a merchant's profile is master data");
    store.put_merchant(&Merchant { active: false, ..merchant() }).await.unwrap();
    assert_eq!(store.merchants().await.unwrap()[0].profile, None);
    let version = 5;
    store.save_sign_in(merchant_id(), terminal_id(), &keys(1), at(1)).await.unwrap();
    assert_eq!(store.master_version().await.unwrap(), version, "a session is no master data");
}

pub async fn a_session_survives_a_change_of_master_data(store: Store) {
    enrolled(&store).await;
    store.save_sign_in(merchant_id(), terminal_id(), &keys(1), at(1)).await.unwrap();
    let before = session(&store).await;
    store.put_terminal(&Terminal { active: false, ..terminal() }).await.unwrap();
    let stored = store.terminal(merchant_id(), terminal_id()).await.unwrap().unwrap();
    assert!(!stored.active);
    assert_eq!(stored.session, before);
}

pub async fn a_new_master_key_ends_the_session_but_not_the_batch(store: Store) {
    enrolled(&store).await;
    store.save_sign_in(merchant_id(), terminal_id(), &keys(1), at(1)).await.unwrap();
    let batch = acquiring::BatchNo::FIRST;
    store.end_batch(merchant_id(), terminal_id(), batch, 0, true, at(2)).await.unwrap();
    store.put_terminal(&Terminal { master_key: "wrapped-tmk-2".to_owned(), ..terminal() }).await.unwrap();
    let expected = TerminalSession { batch: batch.next(), ..TerminalSession::NEW };
    assert_eq!(session(&store).await, expected);
}

pub async fn sign_in_keeps_the_keys_before_until_they_are_dropped(store: Store) {
    enrolled(&store).await;
    let (merchant, terminal) = (merchant_id(), terminal_id());
    let first = store.save_sign_in(merchant, terminal, &keys(1), at(1)).await.unwrap();
    assert_eq!((first.keys, first.previous_keys), (Some(keys(1)), None));
    let second = store.save_sign_in(merchant, terminal, &keys(2), at(2)).await.unwrap();
    let expected = TerminalSession {
        keys: Some(keys(2)),
        previous_keys: Some(keys(1)),
        signed_in_at: Some(at(2)),
        previous_signed_in_at: Some(at(1)),
        batch: acquiring::BatchNo::FIRST,
    };
    assert_eq!(second, expected);
    assert_eq!(session(&store).await, expected);
    // The proof of the first keys is heard of late, when the second are in force: the first are what the terminal falls
    // back on. (Found by a test of crashes that failed once in many runs.)
    let late = store.drop_previous_keys(merchant, terminal, keys(1).mac).await.unwrap();
    assert_eq!(late, expected);
    let dropped = store.drop_previous_keys(merchant, terminal, keys(2).mac).await.unwrap();
    assert_eq!(dropped, TerminalSession { previous_keys: None, previous_signed_in_at: None, ..expected });
    let off = store.save_sign_off(merchant, terminal).await.unwrap();
    assert_eq!((off.signed_in_at, off.previous_signed_in_at), (None, None));
    assert_eq!(session(&store).await, off);
}

/// Wrong MACs add up until a right one or a change of the session; counting them is no change of the session.
pub async fn wrong_macs_add_up_until_they_are_forgiven(store: Store) {
    enrolled(&store).await;
    let (merchant, terminal) = (merchant_id(), terminal_id());
    let version = store.session_version().await.unwrap();
    for count in 1..=3 {
        assert_eq!(store.count_wrong_mac(merchant, terminal).await, Ok(count));
    }
    store.forgive_wrong_macs(merchant, terminal).await.unwrap();
    assert_eq!(store.count_wrong_mac(merchant, terminal).await, Ok(1));
    assert_eq!(store.session_version().await.unwrap(), version);
    store.save_sign_in(merchant, terminal, &keys(1), at(1)).await.unwrap();
    assert_eq!(store.count_wrong_mac(merchant, terminal).await, Ok(1), "a sign-in begins anew");
}

/// What a node on the same store reads again: each terminal once, with its newest session.
pub async fn changed_sessions_are_found_in_their_order(store: Store) {
    enrolled(&store).await;
    let other = acquiring::TerminalId::new("10000002").unwrap();
    store.put_terminal(&acquiring::master::Terminal { id: other, ..terminal() }).await.unwrap();
    let (merchant, first) = (merchant_id(), terminal_id());
    let begun = store.session_version().await.unwrap();
    assert_eq!(store.sessions_since(begun, 10).await.unwrap(), []);
    store.save_sign_in(merchant, other, &keys(1), at(1)).await.unwrap();
    store.save_sign_in(merchant, first, &keys(2), at(2)).await.unwrap();
    let found = store.sessions_since(begun, 10).await.unwrap();
    assert_eq!(found.iter().map(|(_, terminal)| terminal.id).collect::<Vec<_>>(), [other, first]);
    assert_eq!(found[1].1.session, session(&store).await);
    assert_eq!(store.sessions_since(begun, 1).await.unwrap(), found[..1]);
    store.save_sign_off(merchant, other).await.unwrap();
    let newer = store.sessions_since(found[1].0, 10).await.unwrap();
    assert_eq!(newer.iter().map(|(_, terminal)| terminal.id).collect::<Vec<_>>(), [other]);
    assert_eq!(store.session_version().await.unwrap(), newer[0].0);
    // What changes nothing is no news.
    store.save_sign_off(merchant, other).await.unwrap();
    assert_eq!(store.sessions_since(newer[0].0, 10).await.unwrap(), []);
}

pub async fn a_terminal_needs_its_merchant(store: Store) {
    let error = store.put_terminal(&terminal()).await.unwrap_err();
    assert_eq!(error, StoreError::UnknownMerchant { merchant: merchant_id() });
}

pub async fn an_unknown_terminal_cannot_sign_in(store: Store) {
    let error = store.save_sign_in(merchant_id(), terminal_id(), &keys(1), at(1)).await.unwrap_err();
    assert_eq!(error, StoreError::UnknownTerminal { merchant: merchant_id(), terminal: terminal_id() });
}

pub async fn blocks_of_numbers_never_overlap(store: Store) {
    assert_eq!(store.reserve_numbers("payment", 10).await.unwrap(), 1);
    assert_eq!(store.reserve_numbers("other", 3).await.unwrap(), 1, "each name counts on its own");
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.reserve_numbers("payment", 7).await.unwrap() })
        })
        .collect();
    let mut firsts = Vec::new();
    for task in tasks {
        firsts.push(task.await.unwrap());
    }
    firsts.sort_unstable();
    let expected: Vec<i64> = (0..32).map(|n| 11 + n * 7).collect();
    assert_eq!(firsts, expected);
    assert!(matches!(store.reserve_numbers("payment", 0).await, Err(StoreError::Misuse { .. })));
}

pub async fn the_first_vault_is_the_only_one(store: Store) {
    store.bind_vault("5af1c3").await.unwrap();
    store.bind_vault("5af1c3").await.unwrap();
    assert_eq!(store.bind_vault("000000").await.unwrap_err(), StoreError::OtherVault);
    store.bind_vault("5af1c3").await.unwrap();
}

pub async fn a_vault_goes_over_to_its_next_master_key(store: Store) {
    assert_eq!(store.master_in_force().await.unwrap(), None);
    store.bind_vault("5af1c3").await.unwrap();
    assert_eq!(store.put_master_in_force("000000", "111111").await.unwrap_err(), StoreError::OtherVault);
    assert_eq!(store.master_in_force().await.unwrap().as_deref(), Some("5af1c3"));
    for _ in 0..2 {
        assert_eq!(store.put_master_in_force("5af1c3", "77aa00").await.unwrap(), []);
        assert_eq!(store.master_in_force().await.unwrap().as_deref(), Some("77aa00"));
    }
    assert_eq!(store.bind_vault("5af1c3").await.unwrap_err(), StoreError::OtherVault);
    store.bind_vault("77aa00").await.unwrap();
}

pub async fn keys_are_rewrapped_only_as_they_were_read(store: Store) {
    enrolled(&store).await;
    store.save_sign_in(merchant_id(), terminal_id(), &keys(1), at(1)).await.unwrap();
    let read = async || store.terminal(merchant_id(), terminal_id()).await.unwrap().unwrap();
    let old = read().await;
    let rewrapped = |terminal: &Terminal, n| {
        let mut new = Terminal { master_key: "wrapped-anew".to_owned(), ..terminal.clone() };
        new.session.keys = Some(keys(n));
        new
    };
    let version = store.master_version().await.unwrap();
    assert!(store.rewrap_terminal(&old, &rewrapped(&old, 11)).await.unwrap());
    assert_eq!(read().await, rewrapped(&old, 11), "session and batch stay");
    assert_eq!(store.master_version().await.unwrap(), version + 1, "nodes read it");

    // Read before, signed in since: the keys of the sign-in stay, and a second look moves them.
    let stale = read().await;
    store.save_sign_in(merchant_id(), terminal_id(), &keys(2), at(2)).await.unwrap();
    let signed_in = read().await;
    assert!(!store.rewrap_terminal(&stale, &rewrapped(&stale, 12)).await.unwrap());
    assert_eq!(read().await, signed_in);
    assert!(store.rewrap_terminal(&signed_in, &rewrapped(&signed_in, 13)).await.unwrap());
    assert_eq!(read().await.session.previous_keys, signed_in.session.previous_keys);

    let unknown = Terminal { id: "99999999".parse().unwrap(), ..old };
    let error = store.rewrap_terminal(&unknown, &unknown).await.unwrap_err();
    assert!(matches!(error, StoreError::UnknownTerminal { .. }), "{error}");
}
