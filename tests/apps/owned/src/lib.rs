//! User storage (one slot per identity, writable only by it) and frozen storage
//! (content-addressed, written once).

use std::fmt::Write;

use calimero_sdk::borsh::{BorshDeserialize, BorshSerialize};
use calimero_sdk::serde::Serialize;
use calimero_sdk::{app, env, PublicKey};
use calimero_storage::collections::crdt_meta::MergeError;
use calimero_storage::collections::{
    FrozenStorage, LwwRegister, Mergeable, UnorderedMap, UserStorage,
};

#[app::state(emits = for<'a> Event<'a>)]
#[derive(BorshSerialize, BorshDeserialize)]
#[borsh(crate = "calimero_sdk::borsh")]
pub struct Owned {
    profiles: UserStorage<LwwRegister<String>>,
    drawers: UserStorage<Drawer>,
    documents: FrozenStorage<String>,
}

/// A user's own key-value map.
#[derive(Default, BorshSerialize, BorshDeserialize)]
#[borsh(crate = "calimero_sdk::borsh")]
pub struct Drawer {
    items: UnorderedMap<String, LwwRegister<String>>,
}

impl Mergeable for Drawer {
    fn merge(&mut self, other: &Self) -> Result<(), MergeError> {
        self.items.merge(&other.items)
    }
}

#[app::event]
pub enum Event<'a> {
    ProfileSet { user: PublicKey, value: &'a str },
    Frozen { hash: &'a str },
}

#[derive(Serialize)]
#[serde(crate = "calimero_sdk::serde", tag = "kind", content = "data")]
pub enum Failure {
    BadHash(String),
    NotFound(String),
}

#[app::logic]
impl Owned {
    #[app::init]
    pub fn init() -> Owned {
        Owned {
            profiles: UserStorage::new(),
            drawers: UserStorage::new(),
            documents: FrozenStorage::new(),
        }
    }

    /// The caller's identity.
    pub fn whoami(&self) -> PublicKey {
        env::executor_id().into()
    }

    // User storage.

    /// Writes the caller's own slot and returns its old value.
    pub fn set_profile(&mut self, value: String) -> app::Result<Option<String>> {
        app::emit!(Event::ProfileSet {
            user: env::executor_id().into(),
            value: &value
        });
        let old = self.profiles.insert(LwwRegister::new(value))?;
        Ok(old.map(LwwRegister::into_inner))
    }
    pub fn profile(&self) -> app::Result<Option<String>> {
        Ok(self.profiles.get()?.map(LwwRegister::into_inner))
    }
    /// Anyone may read anyone's slot.
    pub fn profile_of(&self, user: PublicKey) -> app::Result<Option<String>> {
        let value = self.profiles.get_for_user(&user)?;
        Ok(value.map(LwwRegister::into_inner))
    }
    pub fn has_profile(&self, user: PublicKey) -> app::Result<bool> {
        Ok(self.profiles.contains_user(&user)?)
    }
    pub fn remove_profile(&mut self) -> app::Result<Option<String>> {
        Ok(self.profiles.remove()?.map(LwwRegister::into_inner))
    }

    /// Puts an item into the caller's own map.
    pub fn put(&mut self, key: String, value: String) -> app::Result<()> {
        let mut drawer = self.drawers.get()?.unwrap_or_default();
        drawer.items.insert(key, LwwRegister::new(value))?;
        self.drawers.insert(drawer)?;
        Ok(())
    }
    pub fn item_of(&self, user: PublicKey, key: String) -> app::Result<Option<String>> {
        let Some(drawer) = self.drawers.get_for_user(&user)? else {
            return Ok(None);
        };
        Ok(drawer.items.get(&key)?.map(LwwRegister::into_inner))
    }

    // Frozen storage.

    /// Stores the value for ever and returns its hash in hex. Doing it again
    /// gives the same hash.
    pub fn freeze(&mut self, value: String) -> app::Result<String> {
        let hash = hex(&self.documents.insert(value)?);
        app::emit!(Event::Frozen { hash: &hash });
        Ok(hash)
    }
    pub fn frozen(&self, hash: String) -> app::Result<String> {
        match self.documents.get(&unhex(&hash)?)? {
            Some(value) => Ok(value),
            None => app::bail!(Failure::NotFound(hash)),
        }
    }
    pub fn is_frozen(&self, hash: String) -> app::Result<bool> {
        Ok(self.documents.contains(&unhex(&hash)?)?)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}"); // writing to a String cannot fail
        out
    })
}

fn unhex(text: &str) -> app::Result<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        app::bail!(Failure::BadHash(text.to_owned()));
    }
    for (i, byte) in out.iter_mut().enumerate() {
        match u8::from_str_radix(&text[2 * i..2 * i + 2], 16) {
            Ok(b) => *byte = b,
            Err(_) => app::bail!(Failure::BadHash(text.to_owned())),
        }
    }
    Ok(out)
}
