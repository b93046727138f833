//! Data that never leaves the node, beside shared state.

use calimero_sdk::borsh::{BorshDeserialize, BorshSerialize};
use calimero_sdk::serde::Serialize;
use calimero_sdk::{app, env};
use calimero_storage::collections::LwwRegister;

#[app::state]
#[derive(BorshSerialize, BorshDeserialize)]
#[borsh(crate = "calimero_sdk::borsh")]
pub struct Private {
    shared: LwwRegister<String>,
}

/// Kept under the default key, sha256 of "Secret".
#[derive(Default, BorshSerialize, BorshDeserialize)]
#[borsh(crate = "calimero_sdk::borsh")]
#[app::private]
pub struct Secret {
    value: String,
    writes: u32,
}

/// Kept under a literal key.
#[derive(Default, BorshSerialize, BorshDeserialize)]
#[borsh(crate = "calimero_sdk::borsh")]
#[app::private(key = b"notes")]
pub struct Notes {
    lines: Vec<String>,
}

#[derive(Serialize)]
#[serde(crate = "calimero_sdk::serde")]
pub struct SecretView {
    value: String,
    writes: u32,
}

#[app::logic]
impl Private {
    #[app::init]
    pub fn init() -> Private {
        Private {
            shared: LwwRegister::new(String::new()),
        }
    }

    pub fn set_shared(&mut self, value: String) {
        self.shared.set(value);
    }
    pub fn shared(&self) -> String {
        self.shared.get().clone()
    }

    /// Writes the secret and counts the writes.
    pub fn set_secret(&mut self, value: String) -> app::Result<u32> {
        store(value)
    }
    /// The secret, or `null` when it was never written on this node.
    pub fn secret(&self) -> app::Result<Option<SecretView>> {
        Ok(Secret::private_load()?.map(|s| SecretView {
            value: s.value.clone(),
            writes: s.writes,
        }))
    }
    /// Writes in a `&self` method: nothing is committed, so it does not persist.
    pub fn set_secret_in_view(&self, value: String) -> app::Result<u32> {
        store(value)
    }
    /// Both stores in one call.
    pub fn set_both(&mut self, shared: String, secret: String) -> app::Result<u32> {
        self.shared.set(shared);
        store(secret)
    }
    /// Both stores, then an error: neither may persist.
    pub fn set_both_then_fail(&mut self, shared: String, secret: String) -> app::Result<()> {
        self.set_both(shared, secret)?;
        app::bail!("failed on purpose after both writes")
    }
    /// Both stores, then a panic: neither may persist.
    pub fn set_both_then_panic(&mut self, shared: String, secret: String) -> app::Result<()> {
        self.set_both(shared, secret)?;
        panic!("panicked on purpose after both writes")
    }
    /// True when there was a secret.
    pub fn forget_secret(&mut self) -> bool {
        env::private_storage_remove(SECRET_KEY)
    }

    pub fn add_note(&mut self, line: String) -> app::Result<usize> {
        let mut notes = Notes::private_load_or_default()?;
        let mut notes = notes.as_mut();
        notes.lines.push(line);
        Ok(notes.lines.len())
    }
    pub fn notes(&self) -> app::Result<Vec<String>> {
        Ok(Notes::private_load_or_default()?.lines.clone())
    }

    /// A private row under any key bytes. Keys shorter than 32 bytes are padded
    /// with zeros by the node, longer ones are dropped silently.
    pub fn raw_write(&mut self, key: Vec<u8>, value: Vec<u8>) -> bool {
        env::private_storage_write(&key, &value)
    }
    pub fn raw_read(&self, key: Vec<u8>) -> Option<Vec<u8>> {
        env::private_storage_read(&key)
    }
    pub fn raw_remove(&mut self, key: Vec<u8>) -> bool {
        env::private_storage_remove(&key)
    }
    /// Write, read back, remove, read again, all in one call.
    pub fn raw_round_trip(
        &mut self,
        key: Vec<u8>,
        value: Vec<u8>,
    ) -> (Option<Vec<u8>>, bool, Option<Vec<u8>>) {
        env::private_storage_write(&key, &value);
        let read = env::private_storage_read(&key);
        let removed = env::private_storage_remove(&key);
        (read, removed, env::private_storage_read(&key))
    }
    /// The shared store at a private key: the two must not mix.
    pub fn raw_read_shared(&self, key: Vec<u8>) -> Option<Vec<u8>> {
        env::storage_read(&key)
    }
}

fn store(value: String) -> app::Result<u32> {
    let mut secret = Secret::private_load_or_default()?;
    let mut secret = secret.as_mut();
    secret.value = value;
    secret.writes += 1;
    Ok(secret.writes)
}
