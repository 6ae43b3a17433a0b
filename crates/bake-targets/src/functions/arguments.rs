//! The arguments of a call, as the kinds of values that a function wants.

use std::collections::BTreeMap;

use crate::inputs::Inputs;
use crate::value::{Number, Value};

/// The arguments of a call; as many as the table says are there.
pub(super) struct Arguments<'a> {
    pub(super) values: &'a [Value],
    pub(super) inputs: &'a Inputs,
}

impl Arguments<'_> {
    pub(super) fn value(&self, index: usize) -> &Value {
        self.values.get(index).unwrap_or(&Value::Null)
    }

    fn wrong<T>(&self, index: usize, wanted: &str) -> Result<T, String> {
        Err(format!("argument {} is a {}, and a {wanted} is needed", index + 1, self.value(index).kind()))
    }

    pub(super) fn text(&self, index: usize) -> Result<String, String> {
        self.value(index).as_text().map_or_else(|| self.wrong(index, "string"), Ok)
    }

    pub(super) fn number(&self, index: usize) -> Result<Number, String> {
        self.value(index).as_number().map_or_else(|| self.wrong(index, "number"), Ok)
    }

    /// A whole number that fits.
    pub(super) fn whole(&self, index: usize) -> Result<i64, String> {
        self.number(index)?.as_i64().map_or_else(|| self.wrong(index, "whole number"), Ok)
    }

    /// A whole number that is not negative.
    pub(super) fn count(&self, index: usize) -> Result<usize, String> {
        usize::try_from(self.whole(index)?).map_err(|_| format!("argument {} is negative", index + 1))
    }

    pub(super) fn truth(&self, index: usize) -> Result<bool, String> {
        self.value(index).as_bool().map_or_else(|| self.wrong(index, "bool"), Ok)
    }

    pub(super) fn list(&self, index: usize) -> Result<&[Value], String> {
        self.value(index).elements().map_or_else(|| self.wrong(index, "list"), Ok)
    }

    /// The texts of a list.
    pub(super) fn texts(&self, index: usize) -> Result<Vec<String>, String> {
        let text = |value: &Value| {
            value.as_text().ok_or_else(|| format!("argument {} holds a {}, not only strings", index + 1, value.kind()))
        };
        self.list(index)?.iter().map(text).collect()
    }

    pub(super) fn map(&self, index: usize) -> Result<&BTreeMap<String, Value>, String> {
        self.value(index).entries().map_or_else(|| self.wrong(index, "map"), Ok)
    }

    /// The indices of all arguments from `first`.
    pub(super) fn from(&self, first: usize) -> std::ops::Range<usize> {
        first..self.values.len()
    }
}
