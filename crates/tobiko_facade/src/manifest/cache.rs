//! The last manifest on disk: what a code location loads from while the cloud cannot be asked.
//!
//! One file for each base URL, environment and prefix; mode 0600; replaced in one step, so that a reader never sees half of
//! it. Trouble with the file is never worse than having none.

use std::env;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Manifest;

/// What stands in the file; of all releases.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kept<M = Value> {
    /// When, in ISO 8601.
    pub saved_at: String,
    pub manifest: M,
}

/// Where one environment's manifest is kept.
#[derive(Debug)]
pub struct ManifestCache {
    path: PathBuf,
}

impl ManifestCache {
    /// In the folder of the environment variables; `None`: there is no folder for it.
    pub fn new(base_url: &str, environment: &str, prefix: Option<&str>) -> Option<Self> {
        Some(Self::in_folder(&folder()?, base_url, environment, prefix))
    }

    fn in_folder(folder: &Path, base_url: &str, environment: &str, prefix: Option<&str>) -> Self {
        // The prefix too: it is part of all names in the manifest.
        let key = [base_url.trim_end_matches('/'), environment, prefix.unwrap_or_default()].join("\n");
        let digest: String = Sha256::digest(key.as_bytes()).iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        Self { path: folder.join(format!("manifest-{digest}.json")) }
    }

    /// Replaces the kept manifest, or logs why that is not possible.
    pub fn keep(&self, manifest: &Manifest) {
        if let Err(error) = self.write(manifest) {
            tracing::warn!("the manifest could not be kept in {}: {error}", self.path.display());
        }
    }

    fn write(&self, manifest: &Manifest) -> io::Result<()> {
        let record = serde_json::to_vec(&Kept { saved_at: Timestamp::now().to_string(), manifest })?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).create(folder)?;
        // tempfile creates with mode 0600.
        let mut file = tempfile::Builder::new().prefix("manifest-").suffix(".tmp").tempfile_in(folder)?;
        file.write_all(&record)?;
        file.persist(&self.path)?;
        Ok(())
    }

    /// The kept manifest; `None` if there is none that can be read.
    pub fn read(&self) -> Option<Kept> {
        match self.try_read() {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!("the kept manifest {} cannot be used: {error:#}", self.path.display());
                None
            }
        }
    }

    fn try_read(&self) -> Result<Option<Kept>> {
        let text = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.context("cannot read it")?,
        };
        let kept: Kept = serde_json::from_slice(&text).context("it is no kept manifest")?;
        anyhow::ensure!(kept.manifest.is_object(), "it is no kept manifest");
        Ok(Some(kept))
    }
}

/// `TOBIKO_FACADE_CACHE_DIR`, else Dagster's home, else the user's cache folder.
fn folder() -> Option<PathBuf> {
    let named = |variable: &str| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(given) = named("TOBIKO_FACADE_CACHE_DIR") {
        return Some(expand_user(given));
    }
    let of_user = || {
        let home = env::home_dir();
        if cfg!(windows) {
            named("LOCALAPPDATA").or_else(|| Some(home?.join("AppData").join("Local")))
        } else if cfg!(target_os = "macos") {
            Some(home?.join("Library").join("Caches"))
        } else {
            named("XDG_CACHE_HOME").or_else(|| Some(home?.join(".cache")))
        }
    };
    Some(named("DAGSTER_HOME").map(expand_user).or_else(of_user)?.join("tobiko-facade"))
}

fn expand_user(path: PathBuf) -> PathBuf {
    match (path.strip_prefix("~"), env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file's name, as the Python package of 2.0's first form computed it.
    #[test]
    fn what_the_first_form_kept_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ManifestCache::in_folder(folder.path(), "http://cloud.test/project/", "prod", None);
        assert_eq!(cache.path.file_name().unwrap(), "manifest-8ffa0d4d7c0e5133880c7641.json");
        fs::write(&cache.path, r#"{"saved_at": "2026-01-02T03:04:05+00:00", "manifest": {"version": 1}}"#).unwrap();
        let kept = cache.read().unwrap();
        assert_eq!((kept.saved_at.as_str(), &kept.manifest["version"]), ("2026-01-02T03:04:05+00:00", &1.into()));
    }

    #[test]
    fn what_is_kept_is_read_and_what_is_damaged_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ManifestCache::in_folder(&folder.path().join("made"), "http://a", "prod", Some("p"));
        assert!(cache.read().is_none());
        cache.keep(&Manifest::new("prod", None, None));
        assert_eq!(cache.read().unwrap().manifest["environment"], "prod");
        for damaged in [r#"{"manifest": "#, "[]", r#"{"saved_at": "", "manifest": 7}"#] {
            fs::write(&cache.path, damaged).unwrap();
            assert!(cache.read().is_none(), "{damaged}");
        }
    }

    #[test]
    fn each_url_environment_and_prefix_has_its_own() {
        let path = |url, environment, prefix| ManifestCache::in_folder(Path::new("/f"), url, environment, prefix).path;
        let one = path("http://a", "prod", None);
        assert_eq!(path("http://a/", "prod", None), one);
        for other in
            [path("http://b", "prod", None), path("http://a", "dev", None), path("http://a", "prod", Some("p"))]
        {
            assert_ne!(other, one);
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let cache = ManifestCache::in_folder(folder.path(), "http://a", "prod", None);
        cache.keep(&Manifest::new("prod", None, None));
        assert_eq!(fs::metadata(&cache.path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
