//! The database as a file: whose it is, and whether another server has it open.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

/// Marks a SQLite file as a local cloud's: "Tobk".
const APPLICATION_ID: i64 = 0x546f_626b;

/// The tables of 2.0's first form, which had no mark.
const FIRST_TABLES: [&str; 6] = ["activity", "audit", "dag", "dag_node", "evaluation", "event"];

/// Held as long as a server has the database open.
#[derive(Debug)]
pub(super) enum Lock {
    Held(#[expect(dead_code, reason = "closing the file releases the lock")] File),
    HeldElsewhere,
    /// The file system has no locks, or the folder cannot be written: nothing is known.
    Unavailable,
}

impl Lock {
    pub fn is_held_elsewhere(&self) -> bool {
        matches!(self, Self::HeldElsewhere)
    }
}

/// Logs hold SQL: the file is its owner's alone.
pub(super) fn create(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// Whether the file is a local cloud's database, or empty. Changes nothing.
pub(super) fn is_own(path: &Path) -> rusqlite::Result<bool> {
    if std::fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0) {
        return Ok(true);
    }
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let application_id: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if application_id != 0 {
        return Ok(application_id == APPLICATION_ID);
    }
    let mut statement =
        connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")?;
    let tables = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    let has = |name: &&str| tables.iter().any(|table| table == name);
    Ok(tables.is_empty() || FIRST_TABLES.iter().all(has))
}

/// Marks the database as a local cloud's.
pub(super) fn stamp(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION_ID)
}

/// Takes the lock of the database. It is on a file beside it, since SQLite's own locks end when any handle of the database
/// file is closed; the system releases it when the process ends, however it does.
pub(super) fn lock(path: &Path) -> Lock {
    let mut name = path.as_os_str().to_owned();
    name.push("-lock");
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let Ok(file) = options.open(PathBuf::from(name)) else {
        return Lock::Unavailable;
    };
    match file.try_lock() {
        Ok(()) => Lock::Held(file),
        Err(TryLockError::WouldBlock) => Lock::HeldElsewhere,
        Err(TryLockError::Error(_)) => Lock::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::store::Store;

    #[test]
    fn a_database_of_another_application_is_refused_and_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, sql) in [
            ("state.db", "CREATE TABLE _snapshots (name TEXT)"),
            ("stamped.db", "PRAGMA application_id = 7"),
            ("similar.db", "CREATE TABLE event (id TEXT); CREATE TABLE audit (id TEXT)"),
        ] {
            let file = folder.path().join(name);
            let other = Connection::open(&file).expect("a database");
            other.execute_batch(sql).expect("a table");
            drop(other);
            let before = std::fs::read(&file).expect("its bytes");
            match Store::open(&file) {
                Err(Error::ForeignDatabase { path }) => assert_eq!(path, file),
                Err(error) => panic!("{name}: {error}"),
                Ok(_) => panic!("{name} was opened"),
            }
            assert_eq!(std::fs::read(&file).expect("its bytes"), before, "{name}");
        }
    }

    #[test]
    fn an_own_database_is_marked_and_opens_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("cloud.db");
        drop(Store::open(&file).expect("it opens"));
        let connection = Connection::open(&file).expect("a database");
        let mark: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).expect("a mark");
        assert_eq!(mark, APPLICATION_ID);
        drop(connection);
        Store::open(&file).expect("it opens again");
    }

    #[test]
    fn a_second_server_is_noticed_while_the_first_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("cloud.db");
        let first = lock(&file);
        assert!(matches!(first, Lock::Held(_)));
        assert!(lock(&file).is_held_elsewhere());
        drop(first);
        // The lock's file is still there: no false alarm.
        assert!(matches!(lock(&file), Lock::Held(_)));
    }
}
