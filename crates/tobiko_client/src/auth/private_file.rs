//! Files that only their owner may read, written whole or not at all, and locks between processes.
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Another process refreshes a token in seconds; who waits longer goes on without the lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Replaces the file in one step; its mode is 0600, that of folders made on the way 0700.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A symbolic link keeps its place: what it leads to is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().unwrap_or(Path::new("."));
    make_folder(folder)?;
    // tempfile creates with mode 0600.
    let mut file = tempfile::Builder::new().prefix(".tobiko-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(&path)?;
    Ok(())
}

/// Holds the lock until the file is dropped. `None` when it cannot be had: then one does without, since the worst that happens
/// is a token too many.
pub(crate) async fn lock(path: &Path) -> Option<File> {
    let file = match open(path) {
        Ok(file) => file,
        Err(error) => {
            tracing::debug!("no lock at {}: {error}", path.display());
            return None;
        }
    };
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Some(file),
            Err(TryLockError::WouldBlock) if started.elapsed() < LOCK_TIMEOUT => {
                tokio::time::sleep(LOCK_POLL_INTERVAL).await;
            }
            Err(error) => {
                tracing::debug!("no lock at {}: {error}", path.display());
                return None;
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}
