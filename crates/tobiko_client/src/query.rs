//! The parameters of the list calls. What is `None` is left out of the request.

/// Order of a list by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    Asc,
    Desc,
}

impl Sort {
    /// The value that the API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Sort::Asc => "asc",
            Sort::Desc => "desc",
        }
    }
}

/// For [`crate::Client::runs`]. The API sorts newest first when `sort` is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunsQuery {
    pub environment: Option<String>,
    /// True: only the last run.
    pub last: Option<bool>,
    /// The runs that happened since this one. Whether it is among them is not documented: expect both.
    pub since_run_id: Option<String>,
    pub sort: Option<Sort>,
    /// Without it: all.
    pub limit: Option<u32>,
}

/// For [`crate::Client::evaluations`]. The API sorts oldest first when `sort` is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EvaluationsQuery {
    pub run_id: Option<String>,
    pub plan_id: Option<String>,
    pub environment: Option<String>,
    /// True: only the newest evaluation of each node.
    pub latest: Option<bool>,
    pub node_name: Option<String>,
    pub sort: Option<Sort>,
    /// Without it: all.
    pub limit: Option<u32>,
}

/// For [`crate::Client::plans`]: the plans of an environment that have ended, in the order in which they ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlansQuery {
    pub environment: String,
    /// Those with a larger `seq` than this.
    pub since_seq: Option<u64>,
    /// The API sends 100 when it is left out.
    pub limit: Option<u32>,
    /// Ascending when it is left out.
    pub sort: Option<Sort>,
}
