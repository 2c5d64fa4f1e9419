//! `auth.yaml`, the login of the `tcloud` command line tool. The tool reads and writes it too: fields unknown here stay.
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_norway::{Mapping, Value};

use crate::Secret;
use crate::auth::oauth::Granted;
use crate::auth::private_file;
use crate::auth::token::Token;

/// Where the tool stores its login.
pub(crate) struct TcloudLogin {
    path: PathBuf,
}

/// Its content when it was read.
pub(crate) struct Login {
    fields: Mapping,
}

impl TcloudLogin {
    pub fn new(tcloud_home: &Path) -> TcloudLogin {
        TcloudLogin { path: tcloud_home.join("auth.yaml") }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// While it is held, no other process of ours refreshes this login.
    pub async fn lock(&self) -> Option<File> {
        private_file::lock(&self.path.with_file_name(".auth.yaml.lock")).await
    }

    /// The login, or what is wrong with it.
    pub async fn read(&self) -> Result<Login, String> {
        match self.read_now() {
            // The tool does not write in one step: it may be in the middle of it.
            Err(_) if self.path.exists() => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                self.read_now()
            }
            result => result,
        }
    }

    fn read_now(&self) -> Result<Login, String> {
        let path = self.path.display();
        if !self.path.exists() {
            return Err(format!("there is no {path}"));
        }
        let text = fs::read_to_string(&self.path).map_err(|error| format!("{path} cannot be read: {error}"))?;
        // The parser's own message may show what stands there.
        let fields = serde_norway::from_str(&text).map_err(|_| format!("{path} is no YAML mapping"))?;
        Ok(Login { fields })
    }

    pub fn write(&self, login: &Login) -> Result<(), String> {
        let text = serde_norway::to_string(&login.fields).map_err(|error| error.to_string())?;
        private_file::write(&self.path, text.as_bytes()).map_err(|error| error.to_string())
    }
}

impl Login {
    /// Its token, which may be due, or expired.
    pub fn token(&self) -> Option<Token> {
        let expires_at = match self.fields.get("expires_at")? {
            Value::Number(number) => number.as_f64()? as i64,
            Value::String(text) => text.parse::<f64>().ok()? as i64,
            _ => return None,
        };
        Some(Token::ending(self.text("id_token")?.into(), expires_at))
    }

    pub fn refresh_token(&self) -> Option<Secret> {
        self.text("refresh_token").map(Secret::from)
    }

    pub fn scope(&self) -> Option<&str> {
        self.text("scope")
    }

    /// Puts in what was granted. A refresh token that is not replaced stays valid, and stays.
    pub fn update(&mut self, granted: &Granted, token: &Token) {
        let texts = [
            ("scope", granted.scope.as_deref()),
            ("token_type", Some(granted.token_type.as_str())),
            ("access_token", Some(granted.access_token.expose())),
            ("id_token", Some(token.bearer.expose())),
            ("refresh_token", granted.refresh_token.as_ref().map(Secret::expose)),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                self.fields.insert(name.into(), text.into());
            }
        }
        self.fields.insert("expires_at".into(), token.expires_at.into());
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str().filter(|text| !text.is_empty())
    }
}
