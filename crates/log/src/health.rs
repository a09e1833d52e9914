use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::error::{Error, Result};

/// Whether a log directory can still be written. Once it has failed it stays so until the node
/// is started again: after a failed sync nobody knows which of the bytes written are durable.
#[derive(Debug)]
pub struct LogDirectoryHealth {
    directory: PathBuf,
    failure: OnceLock<String>,
}

impl LogDirectoryHealth {
    /// A healthy log directory.
    #[must_use]
    pub fn new(directory: &Path) -> Arc<Self> {
        Arc::new(Self {
            directory: directory.to_owned(),
            failure: OnceLock::new(),
        })
    }

    /// The log directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Why it failed; `None` while it has not.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Takes the directory offline. The first reason stays.
    pub fn poison(&self, reason: &dyn std::fmt::Display) {
        if self.failure.set(reason.to_string()).is_ok() {
            tracing::error!(
                directory = %self.directory.display(),
                %reason,
                "the log directory is taken offline"
            );
        }
    }

    /// Fails if the directory has.
    pub fn check(&self) -> Result<()> {
        match self.failure.get() {
            None => Ok(()),
            Some(reason) => Err(Error::Poisoned {
                directory: self.directory.clone(),
                reason: reason.clone(),
            }),
        }
    }
}
