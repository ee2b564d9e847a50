//! Values to the server's types and back.

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::db::{Cells, Value, WrongType};

/// A parameter as its column wants it. What does not fit is refused by the client before it is sent.
pub(super) fn parameter<'a>(value: &Value<'a>, kind: &Type) -> Box<dyn ToSql + Sync + 'a> {
    match *value {
        Value::Int(number) if *kind == Type::INT4 => match i32::try_from(number) {
            Ok(number) => Box::new(number),
            Err(_) => Box::new(number),
        },
        Value::Int(number) if *kind == Type::INT2 => match i16::try_from(number) {
            Ok(number) => Box::new(number),
            Err(_) => Box::new(number),
        },
        Value::Int(number) => Box::new(number),
        Value::Text(text) => Box::new(text),
        Value::Blob(bytes) => Box::new(bytes),
        Value::Null if *kind == Type::INT8 => Box::new(None::<i64>),
        Value::Null if *kind == Type::INT4 => Box::new(None::<i32>),
        Value::Null if *kind == Type::INT2 => Box::new(None::<i16>),
        Value::Null if *kind == Type::BYTEA => Box::new(None::<&[u8]>),
        Value::Null => Box::new(None::<&str>),
    }
}

pub(super) struct PgRow<'a>(pub(super) &'a Row);

impl Cells for PgRow<'_> {
    fn int(&self, at: usize) -> Result<Option<i64>, WrongType> {
        let kind = self.0.columns().get(at).ok_or(WrongType)?.type_();
        let number = if *kind == Type::INT8 {
            self.0.try_get::<_, Option<i64>>(at)
        } else if *kind == Type::INT4 {
            self.0.try_get::<_, Option<i32>>(at).map(|n| n.map(i64::from))
        } else {
            self.0.try_get::<_, Option<i16>>(at).map(|n| n.map(i64::from))
        };
        number.map_err(|_| WrongType)
    }

    fn text(&self, at: usize) -> Result<Option<&str>, WrongType> {
        self.0.try_get(at).map_err(|_| WrongType)
    }

    fn blob(&self, at: usize) -> Result<Option<&[u8]>, WrongType> {
        self.0.try_get(at).map_err(|_| WrongType)
    }
}
