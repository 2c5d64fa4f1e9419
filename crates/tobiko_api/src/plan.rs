//! A plan that was applied to an environment. Only a local cloud lists them.
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Status;
use crate::lenient;
use crate::records::Record;

/// One plan. What it evaluated is had by its id, like the evaluations of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    #[serde(deserialize_with = "lenient::text")]
    pub plan_id: String,
    #[serde(deserialize_with = "lenient::text")]
    pub environment: String,
    pub status: Status,
    #[serde(deserialize_with = "lenient::time")]
    pub start_at: Option<Timestamp>,
    #[serde(deserialize_with = "lenient::time")]
    pub end_at: Option<Timestamp>,
    /// Never blank.
    #[serde(deserialize_with = "lenient::some_text")]
    pub error_message: Option<String>,
    #[serde(deserialize_with = "lenient::some_text")]
    pub link: Option<String>,
    /// Order in which the server's plans ended; `None` while it is open.
    #[serde(deserialize_with = "lenient::unsigned")]
    pub seq: Option<u64>,
    /// How many evaluations it has.
    #[serde(deserialize_with = "lenient::count")]
    pub evaluations: u64,
}

impl Plan {
    /// It has `end_at` or a final status.
    pub fn ended(&self) -> bool {
        self.end_at.is_some() || self.status.is_final()
    }

    /// By status or by message.
    pub fn failed(&self) -> bool {
        self.status == Status::Failed || self.error_message.is_some()
    }
}

impl Record for Plan {
    const KIND: &'static str = "a plan";
    fn is_named(&self) -> bool {
        !self.plan_id.is_empty()
    }
}
