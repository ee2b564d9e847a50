//! What terminals download, and what the host demands of them in the header of its answers.
//!
//! Lists are read from memory, and read again when the store's version of master data moves. What a terminal holds
//! and what an operator demands of it is read from the store when it matters: at sign-in and at the end of a
//! download, so that every node says the same.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use acquiring::download::{Demand, GROUP, List, Scope, Step};
use acquiring::kind::Kind;
use acquiring::{MerchantId, ResponseCode, TerminalId};
use hsm::Zeroizing;
use jiff::Timestamp;
use store::{HeldList, Store, StoreError, TerminalStatus};

use crate::authenticate::Authenticated;
use crate::{Engine, EngineError, Refusal};

/// Items of a list in one answer. The longest, a card number with its length, has 21 bytes: 24 fit into the 512
/// bytes that every terminal takes in field 62.
pub const PAGE: usize = 24;

/// Context under which the number of a blacklisted card is sealed.
pub const SEALED_BLACKLIST: &[u8] = b"blacklist";

/// The order in which a terminal is told to do what it has to do. A new sign-in comes last: it ends the sequence.
const ORDER: [Demand; 9] = [
    Demand::Parameters,
    Demand::PublicKeys,
    Demand::Applications,
    Demand::Contactless,
    Demand::Bins,
    Demand::Blacklist,
    Demand::Software,
    Demand::Status,
    Demand::SignIn,
];

type Named = BTreeMap<String, String>;
type TerminalKey = (MerchantId, TerminalId);

/// The lists as the store has them.
#[derive(Default)]
struct Catalogue {
    items: HashMap<(List, Scope), Named>,
    stamps: HashMap<(List, Scope), i64>,
}

impl Catalogue {
    /// The scopes of a terminal's list, from the widest.
    fn scopes(&self, list: List, merchant: MerchantId, terminal: TerminalId) -> Vec<Scope> {
        let own = [Scope::Merchant(merchant), Scope::Terminal(merchant, terminal)];
        let group = own
            .iter()
            .rev()
            .find_map(|scope| self.items.get(&(list, scope.clone())).and_then(|items| items.get(GROUP)))
            .map(|name| Scope::Group(name.clone()));
        [Some(Scope::Everyone), group].into_iter().flatten().chain(own).collect()
    }

    fn version(&self, list: List, merchant: MerchantId, terminal: TerminalId) -> i64 {
        let scopes = self.scopes(list, merchant, terminal);
        scopes.into_iter().filter_map(|scope| self.stamps.get(&(list, scope)).copied()).max().unwrap_or(0)
    }

    /// The items of a terminal's list: the narrower scope says the last word.
    fn resolve(&self, list: List, merchant: MerchantId, terminal: TerminalId) -> Named {
        let mut all = Named::new();
        for scope in self.scopes(list, merchant, terminal) {
            if let Some(items) = self.items.get(&(list, scope)) {
                all.extend(items.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
        }
        all.remove(GROUP);
        all
    }
}

/// Lists in memory, and who is to do something.
pub(crate) struct Downloads {
    catalogue: RwLock<Arc<Catalogue>>,
    /// Terminals of which something may be demanded: a hint, so that others cost no look into the store.
    hinted: RwLock<HashSet<TerminalKey>>,
    version: AtomicI64,
}

impl Downloads {
    pub(crate) async fn load(store: &Store) -> Result<Self, EngineError> {
        let downloads = Downloads {
            catalogue: RwLock::default(),
            hinted: RwLock::default(),
            version: AtomicI64::new(i64::MIN),
        };
        downloads.refresh(store).await?;
        Ok(downloads)
    }

    fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.catalogue.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a card is on the blacklist, by the keyed digest of its number.
    pub(crate) fn is_blacklisted(&self, digest: &[u8; 32]) -> bool {
        let catalogue = self.catalogue();
        let cards = catalogue.items.get(&(List::Blacklist, Scope::Everyone));
        cards.is_some_and(|cards| !cards.is_empty() && cards.contains_key(&hex::encode(digest)))
    }

    fn is_hinted(&self, key: &TerminalKey) -> bool {
        self.hinted.read().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    fn clear_hint(&self, key: &TerminalKey) {
        self.hinted.write().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    async fn refresh(&self, store: &Store) -> Result<(), StoreError> {
        // The version first: a change during the reads is then read again, never missed.
        let version = store.master_version().await?;
        if version == self.version.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut read = Catalogue::default();
        for item in store.list_items().await? {
            read.items.entry((item.list, item.scope)).or_default().insert(item.name, item.value);
        }
        for (list, scope, stamp) in store.list_stamps().await? {
            read.stamps.insert((list, scope), stamp);
        }
        let demands = store.open_demands().await?;
        let hinted = demands.into_iter().map(|demand| (demand.merchant, demand.terminal)).collect();
        *self.catalogue.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(read);
        *self.hinted.write().unwrap_or_else(PoisonError::into_inner) = hinted;
        self.version.store(version, Ordering::Release);
        Ok(())
    }
}

/// Looks for changed lists and demands until the engine stops.
pub(crate) async fn keep_fresh(engine: Engine) {
    let inner = &engine.0;
    loop {
        tokio::select! {
            () = inner.stop.cancelled() => return,
            () = tokio::time::sleep(inner.config.refresh) => {}
        }
        if let Err(error) = inner.downloads.refresh(&inner.store).await {
            tracing::error!(%error, "the lists for terminals cannot be read; the old stay in force");
        }
    }
}

/// A page of card numbers.
pub struct CardNumbers {
    /// The numbers or prefixes.
    pub numbers: Vec<Zeroizing<String>>,
    /// Whether more follow.
    pub more: bool,
}

impl Engine {
    fn download_failed(error: &StoreError) -> Refusal {
        tracing::error!(%error, "the store cannot keep a terminal's download");
        Refusal::new(ResponseCode::MALFUNCTION, "store cannot keep the download")
    }

    /// The items of a terminal's list by name, as they are now.
    pub fn list_for(&self, auth: &Authenticated, list: List) -> BTreeMap<String, String> {
        self.0.downloads.catalogue().resolve(list, auth.entry.merchant.id, auth.entry.id)
    }

    /// The card numbers of a terminal's list from the given place on.
    ///
    /// # Errors
    /// 96 when a number cannot be opened.
    pub fn card_numbers(
        &self,
        auth: &Authenticated,
        list: List,
        from: usize,
    ) -> Result<CardNumbers, Refusal> {
        let all = self.list_for(auth, list);
        let mut numbers = Vec::with_capacity(PAGE);
        for (name, value) in all.iter().skip(from).take(PAGE) {
            numbers.push(match list {
                List::Blacklist => self.blacklisted(value)?,
                _ => Zeroizing::new(name.clone()),
            });
        }
        Ok(CardNumbers { more: from + numbers.len() < all.len(), numbers })
    }

    fn blacklisted(&self, sealed: &str) -> Result<Zeroizing<String>, Refusal> {
        let opened = hex::decode(sealed)
            .ok()
            .and_then(|bytes| self.0.hsm.open(SEALED_BLACKLIST, &bytes).ok())
            .and_then(|plain| std::str::from_utf8(&plain).ok().map(|text| Zeroizing::new(text.to_owned())));
        opened.ok_or_else(|| {
            tracing::error!("a card of the blacklist cannot be opened");
            Refusal::new(ResponseCode::MALFUNCTION, "blacklist cannot be read")
        })
    }

    /// Notes which version of a list the terminal begins to fetch.
    ///
    /// # Errors
    /// 96 when the store cannot keep it.
    pub async fn download_begun(&self, auth: &Authenticated, list: List) -> Result<Timestamp, Refusal> {
        let (merchant, terminal) = (auth.entry.merchant.id, auth.entry.id);
        let version = self.0.downloads.catalogue().version(list, merchant, terminal);
        let kept = self.0.store.download_begun(merchant, terminal, list, version).await;
        kept.map(|()| self.now()).map_err(|error| Self::download_failed(&error))
    }

    /// The end message of a download: the terminal has the version that it began with.
    ///
    /// # Errors
    /// 96 when the store cannot keep it.
    pub async fn download_ended(&self, auth: &Authenticated, list: List) -> Result<Timestamp, Refusal> {
        let (merchant, terminal, at) = (auth.entry.merchant.id, auth.entry.id, self.now());
        let failed = |error| Self::download_failed(&error);
        self.0.store.download_ended(merchant, terminal, list, at).await.map_err(failed)?;
        metrics::counter!("posp_downloads_total", "list" => list.code()).increment(1);
        tracing::info!(%merchant, %terminal, list = list.code(), "a terminal has downloaded a list");
        self.done(auth, list.demand()).await
    }

    /// A terminal has done what a demand asks for, whether one was open or not.
    ///
    /// # Errors
    /// 96 when the store cannot keep it.
    pub async fn done(&self, auth: &Authenticated, demand: Demand) -> Result<Timestamp, Refusal> {
        self.done_by((auth.entry.merchant.id, auth.entry.id), demand).await
    }

    async fn done_by(&self, key: TerminalKey, demand: Demand) -> Result<Timestamp, Refusal> {
        let ((merchant, terminal), at) = (key, self.now());
        let done = self.0.store.demand_done(merchant, terminal, demand, at).await;
        if done.map_err(|error| Self::download_failed(&error))? {
            tracing::info!(%merchant, %terminal, demand = demand.code(), "a terminal has done what was asked");
        }
        Ok(at)
    }

    /// Keeps the status that a terminal uploads.
    ///
    /// # Errors
    /// 96 when the store cannot keep it.
    pub async fn status_uploaded(&self, auth: &Authenticated, items: Vec<u8>) -> Result<Timestamp, Refusal> {
        let (merchant, terminal) = (auth.entry.merchant.id, auth.entry.id);
        let status = TerminalStatus { at: self.now(), items };
        let kept = self.0.store.save_terminal_status(merchant, terminal, status).await;
        kept.map_err(|error| Self::download_failed(&error))?;
        self.done(auth, Demand::Status).await
    }

    /// The processing requirement for the answer to a message that went well: digit 6 of the header, 0 for none.
    ///
    /// Told after a sign-in and after each thing done, so that a terminal goes from one to the next. In other
    /// answers only a new sign-in is asked for, or by configuration everything.
    pub async fn requirement(&self, merchant: MerchantId, terminal: TerminalId, kind: Kind) -> u8 {
        let key = (merchant, terminal);
        let downloads = &self.0.downloads;
        let hinted = downloads.is_hinted(&key);
        let told = match kind {
            Kind::Download(_, Step::End) | Kind::StatusUpload | Kind::SoftwareDownload | Kind::SignIn => true,
            // Within a download the terminal knows what it does.
            Kind::Download(_, Step::Query | Step::Get) => return 0,
            _ => false,
        };
        if !hinted && (!told || downloads.catalogue().stamps.is_empty()) {
            return 0;
        }
        if kind == Kind::SignIn && hinted && self.done_by(key, Demand::SignIn).await.is_err() {
            return 0;
        }
        match self.required(key).await {
            Ok(required) => {
                if required.is_empty() {
                    downloads.clear_hint(&key);
                }
                let everything = told || self.0.config.requirement_everywhere;
                let first = ORDER
                    .into_iter()
                    .filter(|demand| everything || *demand == Demand::SignIn)
                    .find(|demand| required.contains(demand));
                first.map_or(0, Demand::digit)
            }
            Err(error) => {
                tracing::error!(%error, "what a terminal must do cannot be read; nothing is asked of it");
                0
            }
        }
    }

    /// What a terminal must do: lists of which it holds another version, and what an operator asked for.
    async fn required(&self, (merchant, terminal): TerminalKey) -> Result<Vec<Demand>, StoreError> {
        let store = &self.0.store;
        let catalogue = self.0.downloads.catalogue();
        let held = store.held_lists(merchant, terminal).await?;
        let holds = |list| held.iter().find(|h: &&HeldList| h.list == list).map_or(0, |h| h.held);
        let behind =
            List::ALL.into_iter().filter(|list| catalogue.version(*list, merchant, terminal) != holds(*list));
        let asked = store.demands(merchant, terminal).await?;
        let asked = asked.into_iter().filter(|demand| demand.done_at.is_none()).map(|demand| demand.demand);
        Ok(behind.map(List::demand).chain(asked).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue(entries: &[(Scope, &str, &str, i64)]) -> Catalogue {
        let mut catalogue = Catalogue::default();
        for (scope, name, value, stamp) in entries {
            let key = (List::Parameters, scope.clone());
            catalogue.items.entry(key.clone()).or_default().insert((*name).into(), (*value).into());
            catalogue.stamps.insert(key, *stamp);
        }
        catalogue
    }

    #[test]
    fn the_narrower_scope_says_the_last_word_and_the_newest_stamp_is_the_version() {
        let merchant = MerchantId::new("898100000000001").unwrap();
        let (mine, other) = (TerminalId::new("10000001").unwrap(), TerminalId::new("10000002").unwrap());
        let catalogue = catalogue(&[
            (Scope::Everyone, "timeout", "60", 3),
            (Scope::Everyone, "tip", "0", 3),
            (Scope::Group("food".into()), "tip", "1", 9),
            (Scope::Merchant(merchant), "retries", "2", 5),
            (Scope::Terminal(merchant, mine), GROUP, "food", 7),
            (Scope::Terminal(merchant, mine), "timeout", "30", 7),
        ]);
        let resolved = catalogue.resolve(List::Parameters, merchant, mine);
        let expected = [("retries", "2"), ("timeout", "30"), ("tip", "1")];
        assert_eq!(resolved.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect::<Vec<_>>(), expected);
        assert_eq!(catalogue.version(List::Parameters, merchant, mine), 9);
        assert_eq!(catalogue.version(List::Parameters, merchant, other), 5);
        assert_eq!(catalogue.resolve(List::Parameters, merchant, other).get("tip").unwrap(), "0");
        assert_eq!(catalogue.version(List::PublicKeys, merchant, mine), 0);
    }
}
