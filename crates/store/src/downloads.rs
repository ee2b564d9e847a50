//! Lists that terminals download, the versions that they hold, and what is demanded of them.

use acquiring::download::{Demand, List, ListItem, Scope};
use acquiring::{MerchantId, TerminalId};
use jiff::Timestamp;

use crate::db::{Db, Op, params};
use crate::error::StoreError;
use crate::master::{advance_master, terminal_of};
use crate::rows::{Columns, all, millis, one};
use crate::store::Store;
use crate::types::{HeldList, TerminalDemand, TerminalStatus};
use crate::writer::Admission;

fn item(c: &mut Columns<'_>) -> Op<ListItem> {
    Ok(ListItem {
        list: c.text("list", List::from_code)?,
        scope: c.text("scope", |text| text.parse().ok())?,
        name: c.take("name")?,
        value: c.take("value")?,
    })
}

fn items(db: &dyn Db) -> Op<Vec<ListItem>> {
    let sql = "SELECT list, scope, name, value FROM list_item ORDER BY list, scope, name";
    all(db, sql, &[], item)
}

fn stamps(db: &dyn Db) -> Op<Vec<(List, Scope, i64)>> {
    let sql = "SELECT list, scope, version FROM list_stamp ORDER BY list, scope";
    all(db, sql, &[], |c| {
        let list = c.text("list", List::from_code)?;
        Ok((list, c.text("scope", |text| text.parse().ok())?, c.take("version")?))
    })
}

/// Stamps the scopes of lists that changed, all with one new number.
fn stamp(db: &dyn Db, mut changed: Vec<(List, Scope)>) -> Op<()> {
    changed.sort();
    changed.dedup();
    if changed.is_empty() {
        return Ok(());
    }
    let version = advance_master(db)?;
    for (list, scope) in changed {
        let upsert = "INSERT INTO list_stamp (list, scope, version) VALUES (?1, ?2, ?3) \
             ON CONFLICT (list, scope) DO UPDATE SET version = excluded.version";
        db.execute(upsert, params![list.code(), &scope.to_string(), version])?;
    }
    Ok(())
}

fn put(db: &dyn Db, new: &[ListItem]) -> Op<u64> {
    let mut changed = Vec::new();
    let mut count = 0;
    for item in new {
        let scope = item.scope.to_string();
        let select = "SELECT value FROM list_item WHERE list = ?1 AND scope = ?2 AND name = ?3";
        let key = params![item.list.code(), &scope, &item.name];
        let there: Option<String> = one(db, select, key, |c| c.take("value"))?;
        // Sealed numbers look different each time, so that a card that is there counts as the same.
        let same = match item.list {
            List::Blacklist => there.is_some(),
            _ => there.as_ref() == Some(&item.value),
        };
        if same {
            continue;
        }
        let upsert = "INSERT INTO list_item (list, scope, name, value) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (list, scope, name) DO UPDATE SET value = excluded.value";
        db.execute(upsert, params![item.list.code(), &scope, &item.name, &item.value])?;
        changed.push((item.list, item.scope.clone()));
        count += 1;
    }
    stamp(db, changed)?;
    Ok(count)
}

fn remove(db: &dyn Db, list: List, scope: &Scope, names: &[String]) -> Op<u64> {
    let text = scope.to_string();
    let mut count = 0;
    for name in names {
        let delete = "DELETE FROM list_item WHERE list = ?1 AND scope = ?2 AND name = ?3";
        count += db.execute(delete, params![list.code(), &text, name])?;
    }
    if count > 0 {
        stamp(db, vec![(list, scope.clone())])?;
    }
    Ok(count)
}

fn held(db: &dyn Db, merchant: MerchantId, terminal: TerminalId) -> Op<Vec<HeldList>> {
    let sql = "SELECT list, begun, held, held_at FROM terminal_download \
         WHERE merchant = ?1 AND terminal = ?2 ORDER BY list";
    all(db, sql, params![merchant.as_str(), terminal.as_str()], |c| {
        Ok(HeldList {
            list: c.text("list", List::from_code)?,
            begun: c.take("begun")?,
            held: c.take("held")?,
            held_at: c.maybe_time("held_at")?,
        })
    })
}

fn begin(db: &dyn Db, merchant: MerchantId, terminal: TerminalId, list: List, version: i64) -> Op<()> {
    let upsert = "INSERT INTO terminal_download (merchant, terminal, list, begun, held) \
         VALUES (?1, ?2, ?3, ?4, 0) \
         ON CONFLICT (merchant, terminal, list) DO UPDATE SET begun = excluded.begun";
    db.execute(upsert, params![merchant.as_str(), terminal.as_str(), list.code(), version])?;
    Ok(())
}

fn end(db: &dyn Db, merchant: MerchantId, terminal: TerminalId, list: List, at: Timestamp) -> Op<()> {
    let update = "UPDATE terminal_download SET held = begun, held_at = ?4 \
         WHERE merchant = ?1 AND terminal = ?2 AND list = ?3";
    db.execute(update, params![merchant.as_str(), terminal.as_str(), list.code(), millis(at)])?;
    Ok(())
}

fn demand(c: &mut Columns<'_>) -> Op<TerminalDemand> {
    Ok(TerminalDemand {
        merchant: c.merchant()?,
        terminal: c.terminal()?,
        demand: c.text("demand", Demand::from_code)?,
        asked_at: c.time("asked_at")?,
        done_at: c.maybe_time("done_at")?,
    })
}

fn put_demands(
    db: &dyn Db,
    terminals: &[(MerchantId, TerminalId)],
    demands: &[Demand],
    at: Timestamp,
) -> Op<()> {
    for (merchant, terminal) in terminals {
        if terminal_of(db, *merchant, *terminal)?.is_none() {
            return Err(StoreError::UnknownTerminal { merchant: *merchant, terminal: *terminal }.into());
        }
        for demand in demands {
            let upsert = "INSERT INTO terminal_demand (merchant, terminal, demand, asked_at, done_at) \
                 VALUES (?1, ?2, ?3, ?4, NULL) ON CONFLICT (merchant, terminal, demand) \
                 DO UPDATE SET asked_at = excluded.asked_at, done_at = NULL";
            db.execute(upsert, params![merchant.as_str(), terminal.as_str(), demand.code(), millis(at)])?;
        }
    }
    advance_master(db)?;
    Ok(())
}

fn demand_done(
    db: &dyn Db,
    merchant: MerchantId,
    terminal: TerminalId,
    demand: Demand,
    at: Timestamp,
) -> Op<bool> {
    let update = "UPDATE terminal_demand SET done_at = ?4 \
         WHERE merchant = ?1 AND terminal = ?2 AND demand = ?3 AND done_at IS NULL";
    let key = params![merchant.as_str(), terminal.as_str(), demand.code(), millis(at)];
    Ok(db.execute(update, key)? > 0)
}

macro_rules! demand_columns {
    () => {
        "SELECT merchant, terminal, demand, asked_at, done_at FROM terminal_demand "
    };
}

impl Store {
    /// Creates or changes items of lists, in one transaction; how many changed. What is the same already does not
    /// count as a change.
    pub async fn put_list_items(&self, items: Vec<ListItem>) -> Result<u64, StoreError> {
        self.db.write(Admission::Wait, Vec::new(), move |db| put(db, &items)).await
    }

    /// Takes items out of a list's scope; how many there were.
    pub async fn remove_list_items(
        &self,
        list: List,
        scope: Scope,
        names: Vec<String>,
    ) -> Result<u64, StoreError> {
        self.db.write(Admission::Wait, Vec::new(), move |db| remove(db, list, &scope, &names)).await
    }

    /// Every item of every list, by list, scope and name.
    pub async fn list_items(&self) -> Result<Vec<ListItem>, StoreError> {
        self.db.read(items).await
    }

    /// The stamp of each scope of a list that was ever changed.
    pub async fn list_stamps(&self) -> Result<Vec<(List, Scope, i64)>, StoreError> {
        self.db.read(stamps).await
    }

    /// Which versions of lists a terminal holds, or is fetching.
    pub async fn held_lists(
        &self,
        merchant: MerchantId,
        terminal: TerminalId,
    ) -> Result<Vec<HeldList>, StoreError> {
        self.db.read(move |db| held(db, merchant, terminal)).await
    }

    /// A terminal begins to fetch a version of a list.
    pub async fn download_begun(
        &self,
        merchant: MerchantId,
        terminal: TerminalId,
        list: List,
        version: i64,
    ) -> Result<(), StoreError> {
        self.db
            .write(Admission::Wait, Vec::new(), move |db| begin(db, merchant, terminal, list, version))
            .await
    }

    /// A terminal has all of the version that it began with. Nothing happens when it began with none.
    pub async fn download_ended(
        &self,
        merchant: MerchantId,
        terminal: TerminalId,
        list: List,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.db.write(Admission::Wait, Vec::new(), move |db| end(db, merchant, terminal, list, at)).await
    }

    /// Demands something of terminals; what was demanded before and done is demanded again.
    ///
    /// # Errors
    /// [`StoreError::UnknownTerminal`], with nothing demanded of any.
    pub async fn put_demands(
        &self,
        terminals: Vec<(MerchantId, TerminalId)>,
        demands: Vec<Demand>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let op = move |db: &dyn Db| put_demands(db, &terminals, &demands, at);
        self.db.write(Admission::Wait, Vec::new(), op).await
    }

    /// A terminal has done what was demanded; whether it was open.
    pub async fn demand_done(
        &self,
        merchant: MerchantId,
        terminal: TerminalId,
        demand: Demand,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let op = move |db: &dyn Db| demand_done(db, merchant, terminal, demand, at);
        self.db.write(Admission::Wait, Vec::new(), op).await
    }

    /// What is demanded of terminals and not done.
    pub async fn open_demands(&self) -> Result<Vec<TerminalDemand>, StoreError> {
        let sql = concat!(demand_columns!(), "WHERE done_at IS NULL ORDER BY merchant, terminal, demand");
        self.db.read(move |db| all(db, sql, &[], demand)).await
    }

    /// What was ever demanded of a terminal.
    pub async fn demands(
        &self,
        merchant: MerchantId,
        terminal: TerminalId,
    ) -> Result<Vec<TerminalDemand>, StoreError> {
        let sql = concat!(demand_columns!(), "WHERE merchant = ?1 AND terminal = ?2 ORDER BY demand");
        let op = move |db: &dyn Db| all(db, sql, params![merchant.as_str(), terminal.as_str()], demand);
        self.db.read(op).await
    }

    /// Keeps the status that a terminal uploaded, in place of the one before.
    pub async fn save_terminal_status(
        &self,
        merchant: MerchantId,
        terminal: TerminalId,
        status: TerminalStatus,
    ) -> Result<(), StoreError> {
        let op = move |db: &dyn Db| {
            let upsert = "INSERT INTO terminal_status (merchant, terminal, at, items) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (merchant, terminal) DO UPDATE SET at = excluded.at, items = excluded.items";
            let (at, items) = (millis(status.at), &status.items);
            db.execute(upsert, params![merchant.as_str(), terminal.as_str(), at, items])?;
            Ok(())
        };
        self.db.write(Admission::Wait, Vec::new(), op).await
    }

    /// The newest status of a terminal.
    pub async fn terminal_status(
        &self,
        merchant: MerchantId,
        terminal: TerminalId,
    ) -> Result<Option<TerminalStatus>, StoreError> {
        let op = move |db: &dyn Db| {
            let sql = "SELECT at, items FROM terminal_status WHERE merchant = ?1 AND terminal = ?2";
            one(db, sql, params![merchant.as_str(), terminal.as_str()], |c| {
                Ok(TerminalStatus { at: c.time("at")?, items: c.take("items")? })
            })
        };
        self.db.read(op).await
    }
}
