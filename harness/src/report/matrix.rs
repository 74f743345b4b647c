//! Claims × networks, one sign each.

use serde_json::{Value, json};

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The value and its whole interval are on the side of the claim.
    Holds,
    /// They are on the other side.
    Fails,
    /// The interval holds the threshold.
    Unsure,
    /// There is no value.
    NotMeasured,
}

impl Verdict {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Verdict::Holds => "holds",
            Verdict::Fails => "fails",
            Verdict::Unsure => "unsure",
            Verdict::NotMeasured => "not measured",
        }
    }

    /// As one sign.
    pub fn sign(self) -> &'static str {
        match self {
            Verdict::Holds => "✓",
            Verdict::Fails => "✗",
            Verdict::Unsure => "?",
            Verdict::NotMeasured => "–",
        }
    }
}

/// One claim about one network.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The network, or two that are compared.
    pub network: String,
    /// What became of it.
    pub verdict: Verdict,
    /// Whether the claim is about this network; the same number of others is shown beside it.
    pub claimed: bool,
    /// Value, interval, threshold and what was measured.
    pub detail: String,
}

/// A claim and the networks it was tested on.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The claim.
    pub claim: String,
    /// Its networks, in the same order in every row; none where it was not tested.
    pub cells: Vec<Option<Cell>>,
}

/// Claims × networks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    /// Its name in files and links.
    pub name: String,
    /// What the rows are of: a data set.
    pub title: String,
    /// The claims.
    pub rows: Vec<Row>,
}

impl Matrix {
    pub(super) fn json(&self) -> Value {
        let cell = |cell: &Cell| json!({ "network": cell.network, "verdict": cell.verdict.text(), "claimed": cell.claimed, "detail": cell.detail });
        let row = |row: &Row| json!({ "claim": row.claim, "cells": row.cells.iter().flatten().map(cell).collect::<Vec<_>>() });
        let rows: Vec<Value> = self.rows.iter().map(row).collect();
        json!({ "matrix": self.name, "title": self.title, "rows": rows })
    }
}
