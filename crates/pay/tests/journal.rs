//! The journal on disk: a caller that is killed in whatever state hears the one result afterwards, and the same request
//! again never begins a second trade.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::path::Path;

use pay::request::parse;
use pay::{
    Answer, CallCode, CallerId, Hint, Journal, JournalError, Key, Orig, Outcome, Reason, Request, RequestId,
    Response, State, Step, Text, Viewer,
};

const RETENTION_MS: u64 = 180 * 86_400_000;
const NOW: u64 = 1_795_000_000_000;

fn caller(name: &str) -> CallerId {
    CallerId::new(name).unwrap()
}

fn id(text: &str) -> RequestId {
    RequestId::new(text).unwrap()
}

fn sale(request_id: &str, amount: u64) -> Request {
    let body = format!(
        r#"{{"v":"1.0","request_id":"{request_id}","type":"sale","amount":{amount},"order":{{"order_no":"O-{request_id}"}}}}"#
    );
    parse(body.as_bytes()).unwrap()
}

fn other(request_id: &str, kind: &str) -> Request {
    parse(format!(r#"{{"v":"1.0","request_id":"{request_id}","type":"{kind}"}}"#).as_bytes()).unwrap()
}

fn open(folder: &Path) -> Journal {
    Journal::open(folder, RETENTION_MS).unwrap()
}

fn begin(journal: &mut Journal, who: &CallerId, request: &Request) -> Key {
    match journal.arrive(who, request, NOW).unwrap() {
        Answer::Begin(key) => key,
        other => panic!("{other:?}"),
    }
}

fn reply(journal: &mut Journal, who: &CallerId, request: &Request, now: u64) -> Response {
    match journal.arrive(who, request, now).unwrap() {
        Answer::Reply(bytes) => serde_json::from_slice(&bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn approved(request_id: &str) -> Response {
    let mut response = Response::of(CallCode::Handled, Outcome::Approved, Some(id(request_id)));
    response.resp_code = Some("00".into());
    response.resp_msg = Some("交易成功 \u{1F44D} \"ok\"".into());
    response.trace_no = Some("000123".into());
    response.batch_no = Some("000007".into());
    response.trade_time = Some("2026-11-23T10:01:02+08:00".into());
    response
}

/// The terminal is killed in each state of a sale and comes up again. The caller asks for the same again, and by query:
/// both get the one result, byte for byte, and nothing begins again.
#[test]
fn killed_in_every_state_the_caller_hears_the_one_result() {
    let who = caller("app");
    /// A step, or the end with an approval.
    const END: Option<Step> = None;
    let (card, pin, online) = (Some(Step::WaitCard), Some(Step::EnterPin), Some(Step::GoOnline));
    let (print, told) = (Some(Step::Print), Some(Step::Return));
    let plays: [(&str, &[Option<Step>], Outcome); 7] = [
        ("journaled", &[], Outcome::Declined),
        ("waiting_card", &[card], Outcome::Declined),
        ("pin", &[card, pin], Outcome::Declined),
        ("online", &[online], Outcome::Unknown),
        ("approved", &[online, END], Outcome::Approved),
        ("printed", &[online, END, print], Outcome::Approved),
        ("returned", &[online, END, print, told], Outcome::Approved),
    ];
    for (state, steps, outcome) in plays {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open(folder.path());
        let key = begin(&mut journal, &who, &sale("A", 1250));
        for step in steps {
            match step {
                Some(step) => journal.step(&key, *step).unwrap(),
                None => drop(journal.finish(&key, &approved("A")).unwrap()),
            }
        }
        let before = journal.ledger().get(&key).unwrap().state;
        assert_eq!(serde_json::to_value(before).unwrap(), state);
        let told = before.is_running().then(Vec::new).unwrap_or_else(|| journal.result(&key).unwrap());
        drop(journal);

        let mut journal = open(folder.path());
        let Answer::Reply(again) = journal.arrive(&who, &sale("A", 1250), NOW + 1).unwrap() else {
            panic!("{state}: a second trade")
        };
        let orig = Orig { request_id: Some(id("A")), ..Orig::default() };
        assert_eq!(journal.query(Viewer::Caller(&who), &id("Q"), &orig).unwrap(), again, "{state}");
        let response: Response = serde_json::from_slice(&again).unwrap();
        assert_eq!(response.outcome, outcome, "{state}");
        match outcome {
            Outcome::Unknown => {
                assert_eq!(response.call_code, CallCode::NoAnswer);
                assert_eq!(response.recover.unwrap().hint, Hint::Query);
                assert_eq!(journal.unknown(), [key]);
            }
            Outcome::Declined => {
                assert_eq!(response.reason, Some(Reason::Interrupted));
                assert_eq!(response.call_code, CallCode::NotSent);
            }
            _ => assert_eq!(again, told, "{state}: the bytes that were told"),
        }
        begin(&mut journal, &who, &sale("B", 1));
    }
}

/// Unknown until the platform has settled it; then every way gives the settled result, and nothing settles it again.
#[test]
fn an_unknown_outcome_is_settled_once_and_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let who = caller("app");
    let mut journal = open(folder.path());
    let key = begin(&mut journal, &who, &sale("A", 1250));
    journal.step(&key, Step::GoOnline).unwrap();
    let unknown = journal.finish(&key, &Response::unknown(id("A"))).unwrap();
    assert_eq!(journal.arrive(&who, &sale("A", 1250), NOW).unwrap(), Answer::Reply(unknown));
    let settled = journal.finish(&key, &approved("A")).unwrap();
    assert_eq!(journal.arrive(&who, &sale("A", 1250), NOW).unwrap(), Answer::Reply(settled.clone()));
    let mut declined = approved("A");
    declined.outcome = Outcome::Declined;
    assert!(matches!(journal.finish(&key, &declined), Err(JournalError::Misstep(_))));
    drop(journal);
    assert_eq!(open(folder.path()).result(&key).unwrap(), settled);
}

#[test]
fn the_same_id_again_as_the_table_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let (app, till) = (caller("app"), caller("till"));
    let mut journal = open(folder.path());
    let key = begin(&mut journal, &app, &sale("A", 1250));
    journal.step(&key, Step::WaitCard).unwrap();

    let running = reply(&mut journal, &app, &sale("A", 1250), NOW);
    assert_eq!((running.call_code, running.outcome), (CallCode::InProgress, Outcome::None));
    assert_eq!(running.state, Some(State::WaitingCard));
    assert_eq!(reply(&mut journal, &app, &sale("A", 1251), NOW).call_code, CallCode::OtherBody);

    // Others find the terminal taken; only the caller of the running request is told which.
    let busy = reply(&mut journal, &app, &sale("B", 1), NOW);
    assert_eq!((busy.call_code, busy.running_request_id), (CallCode::Busy, Some(id("A"))));
    let busy = reply(&mut journal, &till, &sale("A", 1250), NOW);
    assert_eq!((busy.call_code, busy.running_request_id), (CallCode::Busy, None));

    journal.step(&key, Step::GoOnline).unwrap();
    let told = journal.finish(&key, &approved("A")).unwrap();
    assert_eq!(journal.arrive(&app, &sale("A", 1250), NOW).unwrap(), Answer::Reply(told));
    assert_eq!(reply(&mut journal, &app, &sale("A", 1251), NOW).call_code, CallCode::OtherBody);
    let own = begin(&mut journal, &till, &sale("A", 1250));
    assert_ne!(own, key, "ids belong to their caller");
}

#[test]
fn while_it_settles_the_terminal_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    let key = begin(&mut journal, &caller("app"), &other("S", "settle"));
    let busy = reply(&mut journal, &caller("till"), &sale("A", 1), NOW);
    assert_eq!(busy.call_code, CallCode::Settling);
    journal.finish(&key, &Response::of(CallCode::Handled, Outcome::None, Some(id("S")))).unwrap();
    begin(&mut journal, &caller("till"), &sale("A", 1));
}

/// Results are dropped when their time is over. Their ids are not: after a restart too, none begins a trade again.
#[test]
fn an_expired_id_never_begins_again() {
    let folder = tempfile::tempdir().unwrap();
    let who = caller("app");
    let mut journal = open(folder.path());
    for (name, response) in [("A", approved("A")), ("U", Response::unknown(id("U")))] {
        let key = begin(&mut journal, &who, &sale(name, 1250));
        journal.step(&key, Step::GoOnline).unwrap();
        journal.finish(&key, &response).unwrap();
    }
    let later = NOW + RETENTION_MS + 1;
    assert_eq!(
        reply(&mut journal, &who, &sale("A", 1250), later).call_code,
        CallCode::Expired,
        "before it is dropped"
    );
    assert_eq!(journal.prune(NOW).unwrap(), 0);
    assert_eq!(journal.prune(later).unwrap(), 1, "what is unknown is kept until it is settled");
    assert_eq!(reply(&mut journal, &who, &sale("A", 1250), later).call_code, CallCode::Expired);
    drop(journal);
    let mut journal = open(folder.path());
    assert_eq!(reply(&mut journal, &who, &sale("A", 1), later).call_code, CallCode::Expired);
    assert_eq!(reply(&mut journal, &who, &sale("U", 1250), later).outcome, Outcome::Unknown);
}

/// A caller finds its own by any number; the operator finds all; the newest counts.
#[test]
fn a_result_is_found_by_its_numbers_and_by_its_caller_only() {
    let folder = tempfile::tempdir().unwrap();
    let (app, till) = (caller("app"), caller("till"));
    let mut journal = open(folder.path());
    for name in ["A", "B"] {
        let key = begin(&mut journal, &app, &sale(name, 1250));
        journal.step(&key, Step::GoOnline).unwrap();
        journal.finish(&key, &approved(name)).unwrap();
    }
    let text = |text: &str| Some(Text::new(text).unwrap());
    let six = |digits: &str| Some(Text::new(digits).unwrap());
    let ask = |viewer: Viewer<'_>, orig: Orig| -> Response {
        serde_json::from_slice(&journal.query(viewer, &id("Q"), &orig).unwrap()).unwrap()
    };
    let by_trace = Orig { trace_no: six("000123"), batch_no: six("000007"), ..Orig::default() };
    assert_eq!(ask(Viewer::Caller(&app), by_trace.clone()).request_id, Some(id("B")), "the newest");
    let by_order = Orig { order_no: text("O-A"), ..Orig::default() };
    assert_eq!(ask(Viewer::Caller(&app), by_order.clone()).request_id, Some(id("A")));
    let by_date = |date: &str| Orig { date: Some(Text::new(date).unwrap()), ..Orig::default() };
    assert_eq!(ask(Viewer::Operator, by_date("20261123")).outcome, Outcome::Approved);
    let missing = [
        ask(Viewer::Caller(&till), by_trace.clone()),
        ask(Viewer::Caller(&app), Orig { batch_no: six("000008"), ..by_trace }),
        ask(Viewer::Operator, by_date("1124")),
    ];
    for response in missing {
        assert_eq!((response.call_code, response.request_id), (CallCode::NoOriginal, Some(id("Q"))));
    }
    let last: Response =
        serde_json::from_slice(&journal.last_trade(Viewer::Caller(&app), &id("L")).unwrap()).unwrap();
    assert_eq!(last.request_id, Some(id("B")));
}

/// What a request said of itself comes back with its result, also with one that a crash has made; and a response of another
/// request is not taken.
#[test]
fn a_result_says_what_was_asked() {
    let folder = tempfile::tempdir().unwrap();
    let who = caller("app");
    let body = r#"{"v":"1.0","request_id":"A","type":"sale","amount":1250,"order":{"order_no":"SO-1"},"ext":{"till":"7"}}"#;
    let request = parse(body.as_bytes()).unwrap();
    let mut journal = open(folder.path());
    let key = begin(&mut journal, &who, &request);
    journal.step(&key, Step::GoOnline).unwrap();
    drop(journal);
    let mut journal = open(folder.path());
    let unknown = journal.result(&key).unwrap();
    assert!(matches!(journal.finish(&key, &approved("B")), Err(JournalError::OtherResponse)));
    let settled = journal.finish(&key, &approved("A")).unwrap();
    for bytes in [unknown, settled] {
        let response: Response = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(response.request_id, Some(id("A")));
        assert_eq!(response.order_no.as_deref(), Some("SO-1"));
        assert_eq!(response.amount, request.amount);
        assert_eq!(response.ext, request.ext);
    }
}

/// Looking leaves nothing behind and is possible while a trade runs; a caller breaks off only its own request, and only as
/// long as nothing can have moved.
#[test]
fn looking_and_breaking_off() {
    let folder = tempfile::tempdir().unwrap();
    let (app, till) = (caller("app"), caller("till"));
    let mut journal = open(folder.path());
    let key = begin(&mut journal, &app, &sale("A", 1250));
    let query = parse(br#"{"v":"1.0","request_id":"A","type":"query","orig":{"request_id":"A"}}"#).unwrap();
    let running = reply(&mut journal, &app, &query, NOW);
    assert_eq!((running.call_code, running.state), (CallCode::InProgress, Some(State::Journaled)));
    assert_eq!(reply(&mut journal, &till, &query, NOW).call_code, CallCode::NoOriginal);
    assert_eq!(reply(&mut journal, &till, &other("L", "last_trade"), NOW).call_code, CallCode::NoOriginal);
    assert_eq!(reply(&mut journal, &till, &other("X", "abort"), NOW).call_code, CallCode::NoOriginal);
    assert_eq!(journal.arrive(&app, &other("X", "abort"), NOW).unwrap(), Answer::Abort(key.clone()));
    journal.step(&key, Step::GoOnline).unwrap();
    let late = reply(&mut journal, &app, &other("X", "abort"), NOW);
    assert_eq!((late.call_code, late.state), (CallCode::InProgress, Some(State::Online)));
    journal.finish(&key, &approved("A")).unwrap();
    assert_eq!(reply(&mut journal, &app, &query, NOW).outcome, Outcome::Approved);
    assert_eq!(reply(&mut journal, &app, &other("L", "last_trade"), NOW).request_id, Some(id("A")));
    assert_eq!(journal.ledger().entries().count(), 1);
}

/// What stands in the files: no body, no pay code; and ids that no file name could hold.
#[test]
fn files_hold_neither_pay_codes_nor_names_made_from_ids() {
    let folder = tempfile::tempdir().unwrap();
    let body = r#"{"v":"1.0","request_id":"../../etc/passwd","type":"sale","amount":1,"auth_code":"134567890123456789",
        "order":{"order_no":"1"}}"#;
    let mut journal = open(folder.path());
    begin(&mut journal, &caller("app"), &parse(body.as_bytes()).unwrap());
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "the request and the lock");
    for file in files {
        assert!(!fs::read_to_string(file).unwrap().contains("134567890123456789"));
    }
}

/// A second process, a damaged file and a file under another name are refused; a write that never ended does not count.
#[test]
fn a_journal_that_cannot_be_trusted_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    assert!(matches!(Journal::open(folder.path(), 1), Err(JournalError::Locked(_))));
    begin(&mut journal, &caller("app"), &sale("A", 1250));
    drop(journal);

    let file = fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "json"))
        .unwrap();
    fs::write(file.with_extension("new"), "{\"version\":").unwrap();
    let mut journal = open(folder.path());
    assert_eq!(reply(&mut journal, &caller("app"), &sale("A", 1250), NOW).outcome, Outcome::Declined);
    assert!(!file.with_extension("new").exists());
    drop(journal);

    let bytes = fs::read(&file).unwrap();
    let elsewhere = folder.path().join(format!("{}.json", "0".repeat(64)));
    fs::write(&elsewhere, &bytes).unwrap();
    assert!(matches!(Journal::open(folder.path(), 1), Err(JournalError::Damaged { .. })));
    fs::remove_file(elsewhere).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(Journal::open(folder.path(), 1), Err(JournalError::Damaged { .. })));
}
