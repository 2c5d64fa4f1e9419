//! What goes over the wire of Tobiko Cloud's V1 API, in one place for all who read or write it: the client, the local cloud, the
//! tests' clouds and the fuzz targets. No network.
//!
//! Everything is read leniently: unknown fields are ignored, unknown values are kept as text, a field of the wrong type becomes a
//! text or nothing, and a record is lost only when it lacks what identifies it. [`records`] reads whole lists like that.
//!
//! The fields that only a local cloud sends are optional, and everything works without them.

mod dag;
mod enums;
mod info;
mod plan;
mod run;

mod lenient;
pub mod records;
mod secret;
mod truncate;
pub mod warn;

pub use dag::{Dag, DagAudit, DagNode};
pub use enums::{NodeType, SourceType, Status};
pub use info::{Info, Project};
pub use plan::Plan;
pub use run::{AuditEvaluation, Evaluation, Run};
pub use secret::Secret;
pub use truncate::{excerpt, truncate_middle};
