//! A statement with its parameters, as data: what a database is given to run, alone or as a part
//! of one transaction, so that a transaction costs one trip to it.

use crate::value::{Row, Value};

/// One statement.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) sql: &'static str,
    pub(crate) values: Vec<Value>,
    /// Whether the transaction is to be undone when the statement changes no row.
    pub(crate) must_change: bool,
}

impl Statement {
    /// A statement without parameters yet.
    pub(crate) fn new(sql: &'static str) -> Self {
        Self { sql, values: Vec::new(), must_change: false }
    }

    /// Adds the next parameter.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Undoes the transaction if this changes no row.
    pub(crate) fn must_change(self) -> Self {
        Self { must_change: true, ..self }
    }
}

/// What a statement did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    /// Rows that it changed.
    pub(crate) changed: u64,
    /// Rows that it returned.
    pub(crate) rows: Vec<Row>,
}

/// What became of a transaction.
#[derive(Clone, Debug)]
pub(crate) enum Written {
    /// It is committed; what each statement did, in order.
    Committed(Vec<Done>),
    /// A statement that had to change a row did not, and nothing of the transaction is left.
    Unchanged,
}

impl Written {
    /// How many rows the statement at `index` changed.
    pub(crate) fn changed_by(&self, index: usize) -> u64 {
        match self {
            Self::Committed(all) => all.get(index).map_or(0, |done| done.changed),
            Self::Unchanged => 0,
        }
    }
}
