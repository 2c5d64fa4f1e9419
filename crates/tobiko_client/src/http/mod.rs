//! One call: its URL, its retries, the exchange, and what the response means.
pub(crate) mod pagination;
pub(crate) mod response;
pub(crate) mod retry;
pub(crate) mod transport;
