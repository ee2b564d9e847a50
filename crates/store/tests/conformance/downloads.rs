//! Lists for terminals: items and stamps, versions held, demands, status.

use acquiring::download::{Demand, List, ListItem, Scope};
use store::{HeldList, Store, StoreError, TerminalStatus};

use crate::common::{at, merchant, merchant_id, terminal, terminal_id};

async fn enrolled(store: &Store) {
    store.put_merchant(&merchant()).await.unwrap();
    store.put_terminal(&terminal()).await.unwrap();
}

fn item(list: List, scope: Scope, name: &str, value: &str) -> ListItem {
    ListItem { list, scope, name: name.to_owned(), value: value.to_owned() }
}

pub async fn a_change_of_a_list_stamps_its_scope_and_nothing_else(store: Store) {
    let everyone = item(List::Parameters, Scope::Everyone, "timeout", "45");
    let one = item(List::Parameters, Scope::Terminal(merchant_id(), terminal_id()), "timeout", "30");
    let aid = item(List::Applications, Scope::Everyone, "A000000333010101", "9F06");
    assert_eq!(store.put_list_items(vec![everyone.clone(), one.clone()]).await.unwrap(), 2);
    assert_eq!(store.put_list_items(vec![aid.clone()]).await.unwrap(), 1);
    assert_eq!(store.list_items().await.unwrap(), [aid, everyone.clone(), one.clone()]);
    let before = store.list_stamps().await.unwrap();
    let version = store.master_version().await.unwrap();
    assert_eq!(store.put_list_items(vec![everyone.clone()]).await.unwrap(), 0, "the same again is no change");
    assert_eq!(store.list_stamps().await.unwrap(), before);
    assert_eq!(store.master_version().await.unwrap(), version);
    store.put_list_items(vec![ListItem { value: "50".to_owned(), ..everyone }]).await.unwrap();
    let stamp = |stamps: &[(List, Scope, i64)], list: List, scope: &Scope| {
        stamps.iter().find(|s| s.0 == list && s.1 == *scope).map(|s| s.2)
    };
    let after = store.list_stamps().await.unwrap();
    assert!(
        stamp(&after, List::Parameters, &Scope::Everyone)
            > stamp(&before, List::Parameters, &Scope::Everyone)
    );
    assert_eq!(stamp(&after, List::Parameters, &one.scope), stamp(&before, List::Parameters, &one.scope));
    // Taking away is a change too, once.
    let names = vec!["timeout".to_owned()];
    assert_eq!(store.remove_list_items(List::Parameters, one.scope.clone(), names.clone()).await.unwrap(), 1);
    let removed = store.list_stamps().await.unwrap();
    assert!(stamp(&removed, List::Parameters, &one.scope) > stamp(&after, List::Parameters, &one.scope));
    assert_eq!(store.remove_list_items(List::Parameters, one.scope, names).await.unwrap(), 0);
    assert_eq!(store.list_stamps().await.unwrap(), removed);
}

pub async fn a_terminal_holds_what_it_began_with(store: Store) {
    enrolled(&store).await;
    let (merchant, terminal) = (merchant_id(), terminal_id());
    store.download_ended(merchant, terminal, List::PublicKeys, at(1)).await.unwrap();
    assert_eq!(store.held_lists(merchant, terminal).await.unwrap(), [], "nothing was begun");
    store.download_begun(merchant, terminal, List::PublicKeys, 4).await.unwrap();
    store.download_ended(merchant, terminal, List::PublicKeys, at(2)).await.unwrap();
    // A newer version is begun and not ended.
    store.download_begun(merchant, terminal, List::PublicKeys, 9).await.unwrap();
    let expected = HeldList { list: List::PublicKeys, begun: 9, held: 4, held_at: Some(at(2)) };
    assert_eq!(store.held_lists(merchant, terminal).await.unwrap(), [expected]);
}

pub async fn a_demand_is_open_until_it_is_done_and_may_be_asked_again(store: Store) {
    enrolled(&store).await;
    let (merchant, terminal) = (merchant_id(), terminal_id());
    let unknown = (merchant, acquiring::TerminalId::new("99999999").unwrap());
    let both = vec![(merchant, terminal), unknown];
    let refused = store.put_demands(both, vec![Demand::Status], at(1)).await.unwrap_err();
    assert!(matches!(refused, StoreError::UnknownTerminal { .. }));
    assert_eq!(store.open_demands().await.unwrap(), []);
    let version = store.master_version().await.unwrap();
    let here = vec![(merchant, terminal)];
    store.put_demands(here.clone(), vec![Demand::Status, Demand::SignIn], at(2)).await.unwrap();
    assert!(store.master_version().await.unwrap() > version, "nodes look again");
    assert_eq!(store.open_demands().await.unwrap().len(), 2);
    assert!(store.demand_done(merchant, terminal, Demand::Status, at(3)).await.unwrap());
    assert!(!store.demand_done(merchant, terminal, Demand::Status, at(4)).await.unwrap());
    let open = store.open_demands().await.unwrap();
    assert_eq!(open.iter().map(|d| d.demand).collect::<Vec<_>>(), [Demand::SignIn]);
    let all = store.demands(merchant, terminal).await.unwrap();
    assert_eq!(all.iter().filter_map(|d| d.done_at).collect::<Vec<_>>(), [at(3)]);
    store.put_demands(here, vec![Demand::Status], at(5)).await.unwrap();
    assert_eq!(store.open_demands().await.unwrap().len(), 2);
}

pub async fn the_newest_status_is_kept(store: Store) {
    enrolled(&store).await;
    let (merchant, terminal) = (merchant_id(), terminal_id());
    assert_eq!(store.terminal_status(merchant, terminal).await.unwrap(), None);
    for (ms, items) in [(1, b"1260"), (2, b"1245")] {
        let status = TerminalStatus { at: at(ms), items: items.to_vec() };
        store.save_terminal_status(merchant, terminal, status.clone()).await.unwrap();
        assert_eq!(store.terminal_status(merchant, terminal).await.unwrap(), Some(status));
    }
}
