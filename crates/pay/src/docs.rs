//! The JSON Schema and the reference pages, printed from the types: they cannot say anything else.

use std::fmt::Write;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::code::CALL_CODES;
use crate::event::Event;
use crate::fields::fields_of;
use crate::kind::{KINDS, KindRow};
use crate::request::{Goods, Notify, Order, Orig, Print, Request, Ui};
use crate::response::{CardResult, Discount, Merchant, Receipt, Recover, Response, Terminal, Wallet};

/// The schema of one message by itself.
fn schema_of<T: JsonSchema>() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    Schema::to_value(generator.into_root_schema_for::<T>())
}

/// The schema of all messages: `$defs` has `Request`, `Response` and `Event`; the root takes a request.
pub fn schema() -> Value {
    let mut defs = Map::new();
    for mut message in [schema_of::<Request>(), schema_of::<Response>(), schema_of::<Event>()] {
        let Some(object) = message.as_object_mut() else { continue };
        if let Some(Value::Object(inner)) = object.remove("$defs") {
            defs.extend(inner);
        }
        object.remove("$schema");
        let title = object.get("title").and_then(Value::as_str).unwrap_or_default().to_owned();
        if title == "Request" {
            object.insert("allOf".to_owned(), conditions());
        }
        defs.insert(title, message);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:posp:pay.v1",
        "title": "pay.v1",
        "$ref": "#/$defs/Request",
        "$defs": defs,
    })
}

/// Which types need which fields, as the table of types has it.
fn conditions() -> Value {
    let rule = |needs: fn(&KindRow) -> bool, field: &str| {
        let names: Vec<&str> = KINDS.iter().filter(|row| needs(row)).map(|row| row.name).collect();
        json!({
            "if": { "properties": { "type": { "enum": names } } },
            "then": { "required": [field], "properties": { field: { "not": { "type": "null" } } } },
        })
    };
    json!([rule(|row| row.amount, "amount"), rule(|row| row.money, "order"), rule(|row| row.orig, "orig"),])
}

/// `docs/pay.v1.md`.
pub fn page() -> String {
    let mut page = String::from(PREFACE);
    page.push_str("\n## Types\n\n");
    page.push_str("| type | | amount | order | orig | journaled |\n|---|---|---|---|---|---|\n");
    for row in &KINDS {
        let mark = |needed: bool| if needed { "required" } else { "" };
        let journaled = if row.trade { "yes" } else { "looks only" };
        let (amount, order, orig) = (mark(row.amount), mark(row.money), mark(row.orig));
        line(
            &mut page,
            format_args!("| `{}` | {} | {amount} | {order} | {orig} | {journaled} |", row.name, row.zh),
        );
    }
    page.push_str("\n## Request\n\n");
    table::<Request>(&mut page);
    part::<Order>(&mut page, "order");
    part::<Goods>(&mut page, "order.goods");
    part::<Orig>(&mut page, "orig");
    part::<Print>(&mut page, "print");
    part::<Ui>(&mut page, "ui");
    part::<Notify>(&mut page, "notify");
    page.push_str("\n## Response\n\n");
    table::<Response>(&mut page);
    part::<Merchant>(&mut page, "merchant");
    part::<Terminal>(&mut page, "terminal");
    part::<CardResult>(&mut page, "card");
    part::<Wallet>(&mut page, "wallet");
    part::<Discount>(&mut page, "wallet.discounts");
    part::<Receipt>(&mut page, "receipt");
    part::<Recover>(&mut page, "recover");
    page.push_str("\n## Event\n\nEvents are hints. Only the response and a query are truth.\n\n");
    table::<Event>(&mut page);
    page.push_str("\n## Call codes\n\n| code | meaning | text for the cashier |\n|---|---|---|\n");
    for row in &CALL_CODES {
        line(&mut page, format_args!("| {} | {} | {} |", row.code.number(), row.en, row.zh));
    }
    page
}

fn part<T: JsonSchema + for<'de> Deserialize<'de>>(page: &mut String, name: &str) {
    line(page, format_args!("\n### `{name}`\n"));
    table::<T>(page);
}

fn table<T: JsonSchema + for<'de> Deserialize<'de>>(page: &mut String) {
    let schema = schema_of::<T>();
    page.push_str("| field | type | | meaning |\n|---|---|---|---|\n");
    let empty = Vec::new();
    let required = schema.get("required").and_then(Value::as_array).unwrap_or(&empty);
    for name in fields_of::<T>() {
        let Some(field) = schema.get("properties").and_then(|properties| properties.get(name)) else {
            continue;
        };
        let must = if required.iter().any(|field| field == name) { "required" } else { "" };
        let meaning = field.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
        line(page, format_args!("| `{name}` | {} | {must} | {meaning} |", kind_of(field)));
    }
}

/// A field's type in words.
fn kind_of(field: &Value) -> String {
    let number = |key: &str| field.get(key).and_then(Value::as_u64);
    let reference = |value: &Value| {
        value
            .get("$ref")
            .and_then(Value::as_str)
            .map(|path| path.rsplit('/').next().unwrap_or(path).to_owned())
    };
    if let Some(name) = reference(field) {
        return format!("object ({name})");
    }
    if let Some(choices) = field.get("anyOf").or_else(|| field.get("oneOf")).and_then(Value::as_array) {
        let constants: Vec<String> = choices
            .iter()
            .filter_map(|choice| choice.get("const"))
            .map(|c| format!("`{}`", plain(c)))
            .collect();
        if !constants.is_empty() {
            return constants.join(", ");
        }
        let shown = choices.iter().find(|choice| choice.get("type") != Some(&json!("null")));
        return shown.map(kind_of).unwrap_or_default();
    }
    if let Some(constant) = field.get("const") {
        return format!("`{}`", plain(constant));
    }
    if let Some(values) = field.get("enum").and_then(Value::as_array) {
        if values.iter().any(Value::is_number) {
            return "integer, one of the call codes".to_owned();
        }
        let shown = values.iter().filter(|value| !value.is_null());
        return shown.map(|value| format!("`{}`", plain(value))).collect::<Vec<_>>().join(", ");
    }
    let name = match field.get("type") {
        Some(Value::String(name)) => name.clone(),
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).find(|name| *name != "null").unwrap_or_default().to_owned()
        }
        _ => "any".to_owned(),
    };
    match name.as_str() {
        "string" => match number("maxLength") {
            Some(most) => format!("string, ≤ {most}"),
            None => name,
        },
        "integer" => match (number("minimum"), number("maximum")) {
            (Some(least), Some(most)) => format!("integer, {least} to {most}"),
            (None, Some(most)) => format!("integer, ≤ {most}"),
            _ => name,
        },
        "array" => {
            let of = field.get("items").map(kind_of).unwrap_or_default();
            let most = number("maxItems").map(|most| format!("≤ {most} ")).unwrap_or_default();
            format!("array of {most}{of}")
        }
        "object" => "object of strings".to_owned(),
        _ => name,
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(page, "{text}");
}

const PREFACE: &str = "\
# pay.v1

How an app on the same terminal, a till, a web page or a server asks the acquiring app for a payment. This page is printed
from the types; `POSP_WRITE_DOCS=1 cargo test -p pay --test documents` writes it and [the schema](pay.v1.schema.json) anew.

1. Amounts are integer **fen**. A number with a decimal point is refused with 102, never rounded.
2. `request_id` is the caller's own number of the request. The same number with the same body is the same request: it never
   pays twice, and its stored result comes back byte for byte. With another body it is refused with 103.
3. A request is on disk before a card is read, its result before it is told. `query` works at any time.
4. `call_code` says what became of the call, `outcome` what became of the trade. Look at both: a call can be handled and its
   trade declined.
5. `outcome` is `approved`, `declined` or `unknown`; `none` where there is no trade. `unknown` obliges the caller to query.
6. One trade runs at a time. Others get 301, with `running_request_id` when the running one is the caller's own.
7. No card number, track, PIN or key is in any message; only the masked number.
8. Nothing is passed over: what a terminal cannot do of a field is refused with 102, whose message begins with the name of
   the field.
9. `orig` names the caller's own trades. Those of others are referred to by the numbers of their slips, and only where the
   grant says so; else they do not exist for the caller (105).

Two bodies are the same when the SHA-256 of their canonical form is: the JSON without `ui` and without fields that are absent
or null, `currency`, `lock_method` and `print` with their defaults written out, keys sorted by UTF-16 code units, no white
space.

| the same `request_id` again | answer |
|---|---|
| same body, ended | the stored result, byte for byte |
| same body, running | 302 with `state` |
| another body | 103, nothing is started |
| from another caller | a request of its own: ids belong to their caller |
| older than results are kept | 104, never a new trade |
";
