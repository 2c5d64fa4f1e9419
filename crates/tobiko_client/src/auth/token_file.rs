//! The token that processes with the same credentials share: one file for each token URL, client and scope.
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tobiko_api::warn::warn_once;

use crate::Secret;
use crate::auth::private_file;
use crate::auth::token::Token;

/// Where the token of one client is stored.
pub(crate) struct TokenFile {
    path: PathBuf,
    owner: Owner,
}

/// Whose token it is. It is compared as a whole: the file's name, a hash, only finds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Owner {
    pub token_url: String,
    pub client_id: String,
    pub scope: String,
}

#[derive(Serialize, Deserialize)]
struct Content {
    version: u32,
    #[serde(flatten)]
    owner: Owner,
    /// Proves that the reader has the secret for which the token was granted.
    proof: String,
    id_token: String,
    renew_at: i64,
    expires_at: i64,
}

const VERSION: u32 = 1;

impl TokenFile {
    pub fn new(folder: &Path, owner: Owner) -> TokenFile {
        let name = hash(&[&owner.token_url, &owner.client_id, &owner.scope]);
        TokenFile { path: folder.join(format!("token-{}.json", &name[..32])), owner }
    }

    /// While it is held, this process is the only one that requests a token for this client.
    pub async fn lock(&self) -> Option<File> {
        private_file::lock(&self.path.with_extension("lock")).await
    }

    /// The stored token, if it was granted for this client with this secret. It may be due, or expired.
    pub fn read(&self, secret: &Secret) -> Option<Token> {
        let bytes = fs::read(&self.path).ok()?;
        let content: Content = match serde_json::from_slice(&bytes) {
            Ok(content) => content,
            Err(_) => {
                tracing::debug!("{} is no token file and will be replaced", self.path.display());
                return None;
            }
        };
        let mine = content.version == VERSION
            && content.owner == self.owner
            && content.proof == proof(&content.id_token, secret)
            && !content.id_token.is_empty();
        mine.then(|| Token {
            bearer: content.id_token.into(),
            renew_at: content.renew_at,
            expires_at: content.expires_at,
        })
    }

    /// Stores the token for others. Where that fails, each process gets its own.
    pub fn write(&self, token: &Token, secret: &Secret) {
        let content = Content {
            version: VERSION,
            owner: self.owner.clone(),
            proof: proof(token.bearer.expose(), secret),
            id_token: token.bearer.expose().to_owned(),
            renew_at: token.renew_at,
            expires_at: token.expires_at,
        };
        let written =
            serde_json::to_vec(&content).map_err(Into::into).and_then(|bytes| private_file::write(&self.path, &bytes));
        let Err(error) = written else { return };
        let why = format!("the token is not stored for other processes: cannot write {}: {error}", self.path.display());
        match error.kind() {
            // A container is like that on purpose, and has no other processes.
            io::ErrorKind::ReadOnlyFilesystem => tracing::debug!("{why}"),
            _ => warn_once(why),
        }
    }
}

/// The token, long and random, is the salt.
fn proof(id_token: &str, secret: &Secret) -> String {
    hash(&[id_token, secret.expose()])
}

fn hash(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(client_id: &str) -> Owner {
        Owner { token_url: "https://h/token".into(), client_id: client_id.into(), scope: "s".into() }
    }

    fn token() -> Token {
        Token { bearer: "bearer".into(), renew_at: 1, expires_at: 2 }
    }

    #[test]
    fn only_the_same_client_with_the_same_secret_gets_the_token() {
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile::new(folder.path(), owner("me"));
        let secret = Secret::from("right");
        assert_eq!(file.read(&secret), None);
        file.write(&token(), &secret);
        assert_eq!(file.read(&secret), Some(token()));
        assert_eq!(file.read(&"wrong".into()), None);
        assert_eq!(TokenFile::new(folder.path(), owner("you")).read(&secret), None);
        let elsewhere = Owner { token_url: "https://other/token".into(), ..owner("me") };
        assert_eq!(TokenFile::new(folder.path(), elsewhere).read(&secret), None);
        // Even when another client's file is at this one's path.
        let other = TokenFile { path: file.path.clone(), owner: owner("you") };
        assert_eq!(other.read(&secret), None);
    }

    #[test]
    fn a_corrupt_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile::new(folder.path(), owner("me"));
        let secret = Secret::from("right");
        for content in ["", "{", "[]", "{\"version\":1}", "\u{0}\u{1}"] {
            fs::write(&file.path, content).unwrap();
            assert_eq!(file.read(&secret), None, "{content:?}");
            file.write(&token(), &secret);
            assert_eq!(file.read(&secret), Some(token()));
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn only_the_owner_may_read() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("new/folder");
        let file = TokenFile::new(&below, owner("me"));
        let held = file.lock().await;
        assert!(held.is_some());
        file.write(&token(), &"right".into());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file.path), 0o600);
        assert_eq!(mode(&file.path.with_extension("lock")), 0o600);
        assert_eq!(mode(&below), 0o700);
        assert_eq!(fs::read_dir(&below).unwrap().count(), 2, "no temporary file stays");
        assert!(!fs::read_to_string(&file.path).unwrap().contains("right"));
    }
}
