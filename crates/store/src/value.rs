//! What goes into a statement and comes out of it: text, whole numbers, or nothing. These are what
//! every database has and reads alike; rows are made from them in [`crate::row`] and
//! [`crate::record`].

use model::Failure;

use crate::failure::damaged;

/// A value of a column or a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// SQL's NULL.
    Null,
    /// A BIGINT.
    Integer(i64),
    /// A TEXT.
    Text(String),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Integer(i64::from(number))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// One row of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row(pub(crate) Vec<Value>);

impl Row {
    /// A number that must be there.
    pub(crate) fn integer(&self, column: usize) -> Result<i64, Failure> {
        match self.0.get(column) {
            Some(Value::Integer(number)) => Ok(*number),
            other => Err(wrong(column, other)),
        }
    }

    /// A number that may be missing.
    pub(crate) fn optional_integer(&self, column: usize) -> Result<Option<i64>, Failure> {
        match self.0.get(column) {
            Some(Value::Null) => Ok(None),
            Some(_) | None => self.integer(column).map(Some),
        }
    }

    /// A number that fits a `u32`.
    pub(crate) fn number(&self, column: usize) -> Result<u32, Failure> {
        let value = self.integer(column)?;
        u32::try_from(value).map_err(|_| damaged("number", &value.to_string()))
    }

    /// A text that must be there.
    pub(crate) fn text(&self, column: usize) -> Result<&str, Failure> {
        match self.0.get(column) {
            Some(Value::Text(text)) => Ok(text),
            other => Err(wrong(column, other)),
        }
    }

    /// A text that may be missing.
    pub(crate) fn optional_text(&self, column: usize) -> Result<Option<&str>, Failure> {
        match self.0.get(column) {
            Some(Value::Null) => Ok(None),
            Some(_) | None => self.text(column).map(Some),
        }
    }
}

fn wrong(column: usize, value: Option<&Value>) -> Failure {
    damaged("column", &format!("{column}: {value:?}"))
}
