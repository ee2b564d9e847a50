//! A server that does not answer: how it is told from one that is busy, and how a machine that vanished is noticed.
//!
//! A connection that ended is seen at once. One whose server was stopped, whose machine lost its power or whose path
//! swallows what is sent, is not: nothing comes, as if the server were busy. So every exchange has a time
//! ([`StoreOptions::answer_max`](crate::StoreOptions)), and when it is over the server is asked, over a connection made
//! for that, what it does for the one that waits. What is normal decides how long the wait goes on:
//!
//! - Payments find their rows by an index and are through within milliseconds, a flush of a bad disk within a second.
//!   What may hold them for longer is a lock: of a node that hangs within a transaction, which the server throws out
//!   after 30 s, or of an operator's command (`posp store partitions adopt` moves millions of lines). To take that
//!   for a hung server would stop every node, and starting again would not help. So a writing connection goes on
//!   waiting for as long as somebody is in its way, and for nothing else.
//! - Bringing the schema up to date may take minutes, and so may a report, a check of the whole journal, or
//!   cleaning a table. Those go on for as long as the server says that it is at work for them.

use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::error::SqlState;

use super::Address;
use super::connection::dial;

/// The longest time in which the question is answered, with the connection that is made for it.
pub(super) const QUESTION_MAX: Duration = Duration::from_secs(5);

/// The longest time for one of the addresses of a server to take a connection; others may follow.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A connection on which nothing is said is looked at by the system after this time ...
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);

/// ... again after each of these ...
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// ... and ended after so many without an answer: a machine that vanished is noticed within half a minute, also by a
/// node that has nothing to do.
const KEEPALIVE_RETRIES: u32 = 4;

/// What the server is asked about the session that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Whether somebody holds a lock that it wants.
    InTheWay,
    /// Whether it is being worked for, a wait for a lock included.
    AtWork,
}

impl Question {
    /// Who is in the way comes from the table of locks itself: a process that was stopped while it waited would be
    /// shown as waiting for ever.
    fn text(self) -> &'static str {
        match self {
            Question::InTheWay => "SELECT cardinality(pg_blocking_pids($1)) > 0",
            Question::AtWork => {
                "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND state NOT LIKE 'idle%')"
            }
        }
    }

    /// Asks about the session of that process. A server that does not tell has not said yes.
    pub(super) async fn ask(self, address: &Address, process: i32) -> bool {
        let time = address.answer_max.min(QUESTION_MAX);
        let asked = async {
            let (client, driver) = dial(address).await?;
            let told: bool = client.query_one(self.text(), &[&process]).await?.try_get(0)?;
            drop(client);
            let _ = driver.await;
            Ok::<bool, tokio_postgres::Error>(told)
        };
        match tokio::time::timeout(time, asked).await {
            Ok(Ok(told)) => told,
            // It is well, but has no connection left: that must not keep a long upgrade from ever coming to its end.
            Ok(Err(error)) if error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) => {
                self == Question::AtWork
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }
}

/// Has the system notice a machine that is gone, where the address does not say how.
pub(super) fn look_after(config: &mut Config, answer_max: Duration) {
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_MAX);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(answer_max);
    }
    if config.get_keepalives_idle() == Config::new().get_keepalives_idle() {
        config.keepalives_idle(KEEPALIVE_IDLE);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(KEEPALIVE_INTERVAL);
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(KEEPALIVE_RETRIES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the operator's address says is left as it is; the rest is ours.
    #[test]
    fn a_vanished_machine_is_noticed_as_the_address_says_or_within_half_a_minute() {
        let second = Duration::from_secs;
        let mut ours: Config = "postgres://posp@db/posp".parse().unwrap();
        look_after(&mut ours, second(30));
        assert_eq!(ours.get_connect_timeout(), Some(&second(10)));
        assert_eq!(ours.get_tcp_user_timeout(), Some(&second(30)));
        assert!(ours.get_keepalives());
        let (interval, retries) =
            (ours.get_keepalives_interval().unwrap(), ours.get_keepalives_retries().unwrap());
        assert!(ours.get_keepalives_idle() + interval * retries <= second(30));

        let said = "connect_timeout=3&tcp_user_timeout=4&keepalives=0&keepalives_idle=5&keepalives_interval=6\
                    &keepalives_retries=7";
        let mut theirs: Config = format!("postgres://posp@db/posp?{said}").parse().unwrap();
        let before = theirs.clone();
        look_after(&mut theirs, second(30));
        assert_eq!(theirs, before);
    }
}
