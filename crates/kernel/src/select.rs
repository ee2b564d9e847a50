//! Which applications card and terminal share.

use iso8583::tlv;

use crate::apdu;
use crate::channel::CardChannel;
use crate::data::{Store, tag};
use crate::params::Application;
use crate::step::{Candidate, Reason};
use crate::trans::{Halt, Set, Trans};

const PSE: &[u8] = b"1PAY.SYS.DDF01";
const PPSE: &[u8] = b"2PAY.SYS.DDF01";

/// Records of a directory that are read at most: more is a card that has no end.
const DIRECTORY_RECORDS: u8 = 32;

/// The terminal's record for an application of the card: the longest name that fits.
pub(crate) fn known<'a>(set: &'a Set, aid: &[u8]) -> Option<&'a Application> {
    set.tables
        .applications
        .iter()
        .filter(|app| if app.partial { aid.starts_with(&app.aid) } else { aid == app.aid.as_slice() })
        .max_by_key(|app| app.aid.len())
}

/// Text that a terminal may show: printable ASCII, Latin letters of code table 1.
fn text(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| char::from(*byte))
        .filter(|c| !c.is_control())
        .collect::<String>()
        .trim()
        .to_owned()
}

/// An entry of a directory (the content of template 61), or the data of an application's own answer.
fn candidate(set: &Set, objects: &Store, aid: &[u8]) -> Option<Candidate> {
    known(set, aid)?;
    let priority = objects.get(0x87).and_then(<[u8]>::first).copied().unwrap_or(0);
    let latin = objects.get(tag::CODE_TABLE).is_none_or(|table| table == [0x01]);
    let preferred = objects.get(tag::PREFERRED).filter(|_| latin).map(text).filter(|name| !name.is_empty());
    let label = objects.get(tag::LABEL).map(text).filter(|name| !name.is_empty());
    Some(Candidate {
        aid: aid.to_vec(),
        label: preferred.or(label).unwrap_or_else(|| hex::encode_upper(aid)),
        priority: priority & 0x0F,
        confirm: priority & 0x80 != 0,
    })
}

/// Every template 61 in `data`, also inside others.
fn entries(data: &[u8], set: &Set, out: &mut Vec<Candidate>, depth: u8) {
    for item in tlv::iter(data).map_while(Result::ok) {
        if item.tag == 0x61 {
            let mut objects = Store::default();
            if objects.take(item.value)
                && let Some(aid) = objects.get(0x4F)
                && (5..=16).contains(&aid.len())
                && let Some(found) = candidate(set, &objects, aid)
                && !out.iter().any(|known| known.aid == found.aid)
            {
                out.push(found);
            }
        } else if tlv::is_constructed(item.tag) && depth < 4 {
            entries(item.value, set, out, depth + 1);
        }
    }
}

/// Lowest number first, those without one last; the card's order among equals.
fn by_priority(candidates: &mut [Candidate]) {
    candidates.sort_by_key(|found| if found.priority == 0 { 16 } else { found.priority });
}

/// The list of common applications, contact: the card's directory, else one question for each known name.
pub(crate) fn contact(set: &Set, card: &mut dyn CardChannel) -> Result<Vec<Candidate>, Halt> {
    let mut out = directory(set, card)?;
    if out.is_empty() {
        out = one_by_one(set, card)?;
    }
    by_priority(&mut out);
    Ok(out)
}

fn directory(set: &Set, card: &mut dyn CardChannel) -> Result<Vec<Candidate>, Halt> {
    let mut out = Vec::new();
    let answer = apdu::select(card, PSE, false)?;
    if answer.sw == 0x6A81 {
        return Err(Halt::terminated(Reason::CardBlocked));
    }
    if !answer.ok() {
        return Ok(out);
    }
    let mut objects = Store::default();
    if !objects.take(&answer.data) {
        return Ok(out);
    }
    let Some([sfi @ 1..=10]) = objects.get(0x88) else { return Ok(out) };
    let sfi = *sfi;
    for number in 1..=DIRECTORY_RECORDS {
        let record = apdu::read_record(card, sfi, number)?;
        if record.sw == 0x6A83 {
            return Ok(out);
        }
        if !record.ok() || tlv::validate(&record.data).is_err() {
            return Ok(Vec::new());
        }
        entries(&record.data, set, &mut out, 0);
    }
    Ok(out)
}

fn one_by_one(set: &Set, card: &mut dyn CardChannel) -> Result<Vec<Candidate>, Halt> {
    let mut out: Vec<Candidate> = Vec::new();
    let mut blocked = false;
    for app in &set.tables.applications {
        let mut next = false;
        // A card that gives the same name again and again is left after as many as a directory may have.
        for _ in 0..DIRECTORY_RECORDS {
            let answer = apdu::select(card, &app.aid, next)?;
            if answer.sw == 0x6A81 {
                return Err(Halt::terminated(Reason::CardBlocked));
            }
            blocked |= answer.sw == 0x6283;
            if !answer.ok() {
                break;
            }
            let mut objects = Store::default();
            if objects.take(&answer.data)
                && let Some(aid) = objects.get(tag::AID_CARD)
                && let Some(found) = candidate(set, &objects, aid)
                && !out.iter().any(|known| known.aid == found.aid)
            {
                out.push(found);
            }
            if !app.partial {
                break;
            }
            next = true;
        }
    }
    if out.is_empty() && blocked {
        return Err(Halt::terminated(Reason::ApplicationBlocked));
    }
    Ok(out)
}

/// The list of common applications of a tapped card; nobody is asked, the first is taken.
pub(crate) fn tap(set: &Set, card: &mut dyn CardChannel) -> Result<Vec<Candidate>, Halt> {
    let answer = apdu::select(card, PPSE, false)?;
    if answer.sw == 0x6A81 {
        return Err(Halt::terminated(Reason::CardBlocked));
    }
    let mut out = Vec::new();
    if answer.ok() {
        entries(&answer.data, set, &mut out, 0);
    }
    if out.is_empty() {
        out = one_by_one(set, card)?;
    }
    by_priority(&mut out);
    Ok(out)
}

/// The last selection. False: this one cannot be used, take another.
pub(crate) fn last(
    trans: &mut Trans,
    set: &Set,
    card: &mut dyn CardChannel,
    found: &Candidate,
) -> Result<bool, Halt> {
    let answer = apdu::select(card, &found.aid, false)?;
    if answer.sw == 0x6A81 {
        return Err(Halt::terminated(Reason::CardBlocked));
    }
    if answer.sw == 0x6283 && trans.candidates.is_empty() {
        return Err(Halt::terminated(Reason::ApplicationBlocked));
    }
    if !answer.ok() || !trans.store.take(&answer.data) {
        return Ok(false);
    }
    let aid = trans.store.get(tag::AID_CARD).map_or_else(|| found.aid.clone(), <[u8]>::to_vec);
    let Some(app) = known(set, &aid) else { return Ok(false) };
    trans.store.set(tag::AID_CARD, &aid);
    trans.store.set(tag::AID_TERMINAL, &app.aid);
    trans.store.set(tag::VERSION, &app.version);
    trans.store.set(tag::FLOOR, &u32::try_from(app.floor).unwrap_or(u32::MAX).to_be_bytes());
    trans.label = trans.store.get(tag::LABEL).map_or_else(|| found.label.clone(), text);
    let latin = trans.store.get(tag::CODE_TABLE) == Some(&[0x01]);
    trans.preferred_name = trans.store.get(tag::PREFERRED).filter(|_| latin).map(text);
    trans.app = Some(app.clone());
    trans.aid = aid;
    Ok(true)
}
