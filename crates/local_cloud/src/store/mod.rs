//! The database: one SQLite file in WAL mode, one writer at a time, readers beside it.
//! The modules below hold the tables as types, and their queries.

mod activities;
mod dags;
mod database_file;
mod enums;
mod environments;
mod evaluations;
mod plans;
mod projects;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use rusqlite_migration::{M, Migrations};

use crate::Error;
use crate::timestamp::Timestamp;

pub(crate) use activities::{Activity, ActivityFilter};
pub(crate) use dags::{Dag, Node, NodeAudit, NodeVersion};
pub(crate) use enums::{Kind, NodeType};
pub use enums::{SourceType, Status};
pub(crate) use evaluations::{Audit, Evaluation, EvaluationFilter};
pub(crate) use plans::{Plan, PlanFilter};
pub(crate) use projects::{NO_PROJECT, Project, name_of_segment};

/// Every query about one of these is a function of its module.
pub(crate) mod queries {
    pub(crate) use super::activities::*;
    pub(crate) use super::dags::*;
    pub(crate) use super::environments::*;
    pub(crate) use super::evaluations::*;
    pub(crate) use super::plans::*;
    pub(crate) use super::projects::*;
}

/// In the order in which they were written; a released one never changes.
const STEPS: &[M<'static>] = &[
    M::up(include_str!("../schema/0001_runs_evaluations_dags.sql")),
    M::up(include_str!("../schema/0002_projects_plans_due.sql")),
    M::up(include_str!("../schema/0003_audits_rows.sql")),
    M::up(include_str!("../schema/0004_crons.sql")),
];
const MIGRATIONS: Migrations<'static> = Migrations::from_slice(STEPS);

/// For how long the ids of events are kept: longer than a recorder keeps what it could not send.
const EVENT_IDS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long a connection waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// More idle connections than this are closed.
const MAX_IDLE: usize = 8;

pub(crate) struct Store {
    path: PathBuf,
    writer: Mutex<Connection>,
    /// Idle connections for reading.
    readers: Mutex<Vec<Connection>>,
    _lock: database_file::Lock,
}

/// Why a query failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("query the database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("query the database: the query panicked or the server is stopping")]
    Stopped(#[from] tokio::task::JoinError),
}

impl Store {
    /// Opens the file, creates it when it is missing, and brings it up to date. Another application's database stays as it is.
    pub fn open(path: &Path) -> Result<Arc<Self>, Error> {
        database_file::create(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
        let failed = |source| Error::Database { path: path.to_owned(), source };
        if !database_file::is_own(path).map_err(failed)? {
            return Err(Error::ForeignDatabase { path: path.to_owned() });
        }
        let lock = database_file::lock(path);
        if lock.is_held_elsewhere() {
            tracing::warn!("another server has the database {} open: stop one of them", path.display());
        }
        let mut writer = connect(path).map_err(failed)?;
        MIGRATIONS.to_latest(&mut writer).map_err(|source| Error::Migration { path: path.to_owned(), source })?;
        database_file::stamp(&writer).map_err(failed)?;
        let now = Timestamp::now();
        let expired = now.earlier_by(EVENT_IDS_KEPT);
        writer.execute("DELETE FROM event WHERE received_at < ?1", [expired]).map_err(failed)?;
        // While the server was down, no heartbeat could reach it.
        queries::record_all_heartbeats(&writer, now).map_err(failed)?;
        Ok(Arc::new(Self { path: path.to_owned(), writer: Mutex::new(writer), readers: Mutex::default(), _lock: lock }))
    }

    /// Runs a query; all statements within one call see the same state.
    pub async fn read<T, F>(self: &Arc<Self>, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let store = Arc::clone(self);
        let answer = tokio::task::spawn_blocking(move || {
            let idle = locked(&store.readers).pop();
            let connection = idle.map_or_else(|| connect(&store.path), Ok)?;
            let transaction = connection.unchecked_transaction()?;
            let answer = query(&transaction);
            drop(transaction);
            let mut idle = locked(&store.readers);
            if idle.len() < MAX_IDLE {
                idle.push(connection);
            }
            answer
        });
        Ok(answer.await??)
    }

    /// Runs a change: all of it, or nothing.
    pub async fn write<T, F>(self: &Arc<Self>, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let store = Arc::clone(self);
        let answer = tokio::task::spawn_blocking(move || {
            let mut writer = locked(&store.writer);
            // Immediate: a transaction that reads first must not find out later that another process has written.
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let answer = change(&transaction)?;
            transaction.commit()?;
            Ok::<_, rusqlite::Error>(answer)
        });
        Ok(answer.await??)
    }
}

/// A panic in a query rolls its transaction back: the connection stays sound.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // In WAL mode this loses at most the last moments before a power failure, and never the file.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_database_of_the_first_form_keeps_its_rows() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("cloud.db");
        let old = Connection::open(&file).expect("a database");
        old.execute_batch(include_str!("../schema/0001_runs_evaluations_dags.sql")).expect("tables");
        old.execute_batch(
            "PRAGMA user_version = 1;
             INSERT INTO activity (kind, id, environment, status, start_at, end_at, heard_at) VALUES
                 ('run', 'r1', 'prod', 'success', 1, 2, 2), ('plan', 'p1', 'prod', 'success', 5, 9, 9),
                 ('plan', 'p2', 'prod', 'failed', 6, 7, 7), ('plan', 'p3', 'prod', 'in_progress', 6, NULL, 7);
             INSERT INTO evaluation (id, activity, node_name, version, status, start_at)
                 VALUES ('e1', 1, 'n', 'v', 'success', 1);
             INSERT INTO dag (environment, at, start_at, schedule_cron, schedule_seconds) VALUES ('prod', 1, 1, '', 1);
             INSERT INTO dag_node VALUES (1, 'n', 0, 'v', 'n', NULL, 'sql', 'model', '[]', '[]', '[]');",
        )
        .expect("rows");
        drop(old);

        let store = Store::open(&file).expect("it opens");
        let check = store.read(|connection| {
            let [project] = &queries::projects(connection)?[..] else { panic!("one project") };
            assert_eq!((project.name.as_str(), &project.state), ("", &None));
            let filter =
                PlanFilter { project: project.seq, environment: None, since_seq: 0, newest_first: false, limit: 9 };
            let plans = queries::ended_plans(connection, &filter)?;
            let ids: Vec<&str> = plans.iter().map(|plan| plan.activity.id.as_str()).collect();
            assert_eq!(ids, ["p2", "p1"]);
            let latest = EvaluationFilter {
                project: project.seq,
                environment: Some("prod".to_owned()),
                latest: true,
                ..EvaluationFilter::default()
            };
            let evaluations = queries::evaluations(connection, &latest)?;
            assert_eq!((evaluations.len(), evaluations[0].rows_processed), (1, None));
            let dag = queries::dag(connection, project.seq, "prod")?.expect("a DAG");
            assert_eq!(dag.nodes[0].audits, []);
            assert!(queries::environment_exists(connection, project.seq, "prod")?);
            Ok(())
        });
        check.await.expect("it answers");
    }

    #[tokio::test]
    async fn a_new_database_holds_no_project() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("cloud.db")).expect("it opens");
        assert_eq!(store.read(queries::projects).await.expect("it answers"), []);
    }
}
