//! Management messages of a terminal: downloads of parameters, public keys, applications and card lists, status.

use std::collections::BTreeMap;

use acquiring::ResponseCode;
use acquiring::download::{List, PARAMETERS, ParameterRule, SWITCHES, Step};
use acquiring::kind::Kind;
use engine::authenticate::Authenticated;
use engine::downloads::PAGE;
use engine::{Engine, Refusal};
use iso8583::subfield::{Paging, PublicKey62, Status62, StatusItem, received_62, write_card_number};
use iso8583::{Message, tlv};
use jiff::Timestamp;

const fn format(reason: &'static str) -> Refusal {
    Refusal::new(ResponseCode::FORMAT_ERROR, reason)
}

const BAD_62: Refusal = format("field 62 malformed");

/// What a management message comes to: its time, and field 62 of the answer when it has one.
pub type Done = Result<(Timestamp, Option<Vec<u8>>), Refusal>;

/// Serves a message of a download, a status upload or a download of the terminal management system.
///
/// # Errors
/// 30 for a field 62 that cannot be read, 96 when the store fails.
pub async fn serve(engine: &Engine, auth: &Authenticated, message: &Message<'_>) -> Done {
    let field = message.bytes_of(62).unwrap_or_default();
    match auth.spec().kind {
        Kind::Download(list, Step::End) => Ok((engine.download_ended(auth, list).await?, None)),
        Kind::Download(list, Step::Query) => {
            let received = received_62(field).map_err(|_| BAD_62)?;
            let at = begun(engine, auth, list, received).await?;
            Ok((at, Some(names(&engine.list_for(auth, list), list, received))))
        }
        Kind::Download(list @ (List::PublicKeys | List::Applications), Step::Get) => {
            let name = wanted(list, field).ok_or(BAD_62)?;
            let items = engine.list_for(auth, list);
            let record = items.get(&name).and_then(|value| hex::decode(value).ok());
            let mut out = vec![if record.is_some() { Paging::Complete } else { Paging::Nothing }.byte()];
            out.extend(record.unwrap_or_default());
            Ok((engine.now(), Some(out)))
        }
        Kind::Download(list @ (List::BinsB | List::BinsC | List::Blacklist), Step::Get) => {
            let received = received_62(field).map_err(|_| BAD_62)?;
            let at = begun(engine, auth, list, received).await?;
            let page = engine.card_numbers(auth, list, received)?;
            let mut out = vec![paging(page.numbers.is_empty(), page.more).byte()];
            for number in &page.numbers {
                if !write_card_number(&mut out, number) {
                    return Err(Refusal::new(ResponseCode::MALFUNCTION, "card list cannot be written"));
                }
            }
            Ok((at, Some(out)))
        }
        Kind::Download(List::Contactless, Step::Get) => {
            let at = begun(engine, auth, List::Contactless, 0).await?;
            Ok((at, Some(switches(&engine.list_for(auth, List::Contactless)))))
        }
        Kind::Download(List::Parameters, Step::Get) => {
            let at = begun(engine, auth, List::Parameters, 0).await?;
            Ok((at, Some(parameters(engine, auth))))
        }
        Kind::SoftwareDownload => {
            let at = engine.done(auth, acquiring::download::Demand::Software).await?;
            Ok((at, Some(parameters(engine, auth))))
        }
        _ => {
            if Status62::new(field).items().any(|item| item.is_err()) {
                return Err(BAD_62);
            }
            Ok((engine.status_uploaded(auth, field.to_vec()).await?, None))
        }
    }
}

/// A list is begun with its first page.
async fn begun(
    engine: &Engine,
    auth: &Authenticated,
    list: List,
    received: usize,
) -> Result<Timestamp, Refusal> {
    if received == 0 { engine.download_begun(auth, list).await } else { Ok(engine.now()) }
}

fn paging(nothing: bool, more: bool) -> Paging {
    match (nothing, more) {
        (true, _) => Paging::Nothing,
        (false, true) => Paging::More,
        (false, false) => Paging::Complete,
    }
}

/// A page of names: for a key RID, index and last day, for an application its AID.
fn names(items: &BTreeMap<String, String>, list: List, received: usize) -> Vec<u8> {
    let page: Vec<_> = items.iter().skip(received).take(PAGE).collect();
    let mut out = vec![paging(page.is_empty(), received + page.len() < items.len()).byte()];
    for (name, value) in page {
        match list {
            List::PublicKeys => {
                if let Some(key) = hex::decode(value).ok().and_then(|v| PublicKey62::parse(&v).ok()) {
                    key.write_name(&mut out);
                }
            }
            _ => tlv::write(&mut out, 0x9F06, &hex::decode(name).unwrap_or_default()),
        }
    }
    out
}

/// The item that a request names by 9F06, and for a key 9F22.
fn wanted(list: List, field: &[u8]) -> Option<String> {
    let aid = tlv::find(field, 0x9F06).ok()??;
    let mut name = hex::encode_upper(aid);
    if list == List::PublicKeys {
        name.push_str(&hex::encode_upper(tlv::find(field, 0x9F22).ok()??));
    }
    Some(name)
}

/// The contactless switches: packed digits, an odd number of them with a zero before (modelled).
fn switches(items: &BTreeMap<String, String>) -> Vec<u8> {
    let mut out = Vec::new();
    for switch in SWITCHES {
        let digits = items.get(switch.name).map_or(switch.default, String::as_str);
        let even = if digits.len().is_multiple_of(2) { digits.to_owned() } else { format!("0{digits}") };
        tlv::write(&mut out, switch.tag, &hex::decode(even).unwrap_or_default());
    }
    out
}

/// The terminal parameters, each with its item code.
fn parameters(engine: &Engine, auth: &Authenticated) -> Vec<u8> {
    let items = engine.list_for(auth, List::Parameters);
    let merchant = auth.terminal().merchant.name.as_str();
    let mut out = Vec::new();
    for parameter in PARAMETERS {
        let own = (parameter.name == "merchant_name").then_some(merchant);
        let value = items.get(parameter.name).map(String::as_str).or(own).or(parameter.default);
        let Some(value) = value else { continue };
        let width = parameter.width;
        let value = match parameter.rule {
            ParameterRule::Number(..) => format!("{value:0>width$}").into_bytes(),
            ParameterRule::Text => {
                let mut text = iso8583::to_gbk(value).unwrap_or_default();
                text.resize(width, b' ');
                text
            }
            _ => format!("{value:<width$}").into_bytes(),
        };
        if !(StatusItem { code: parameter.code, value: &value }).write(&mut out) {
            tracing::error!(parameter = parameter.name, "a parameter does not fit and is not sent");
        }
    }
    out
}
