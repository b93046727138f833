//! A key-value store that tells its watchers about every change.
//!
//! The plainest app of the set: string keys, string values, one event per
//! change. `set_quiet`, `set_then_fail` and `touch` separate the things a node
//! has to tell apart: a write without an event, a write that must be dropped,
//! and a commit that changes nothing.

use std::collections::BTreeMap;

use calimero_sdk::app;
use calimero_sdk::borsh::{BorshDeserialize, BorshSerialize};
use calimero_sdk::serde::Serialize;
use calimero_storage::collections::{LwwRegister, UnorderedMap};

#[app::state(emits = for<'a> Event<'a>)]
#[derive(BorshSerialize, BorshDeserialize)]
#[borsh(crate = "calimero_sdk::borsh")]
pub struct Kv {
    entries: UnorderedMap<String, LwwRegister<String>>,
}

#[app::event]
pub enum Event<'a> {
    Inserted { key: &'a str, value: &'a str },
    Updated { key: &'a str, value: &'a str },
    Removed { key: &'a str, value: &'a str },
    Cleared { count: usize },
}

/// Reaches the caller as `{"kind":"KeyNotFound","data":"<key>"}`.
#[derive(Serialize)]
#[serde(crate = "calimero_sdk::serde", tag = "kind", content = "data")]
pub enum Failure<'a> {
    KeyNotFound(&'a str),
}

#[app::logic]
impl Kv {
    #[app::init]
    pub fn init() -> Kv {
        Kv {
            entries: UnorderedMap::new_with_field_name("entries"),
        }
    }

    /// Stores the value and emits `Inserted` or `Updated`.
    pub fn set(&mut self, key: String, value: String) -> app::Result<()> {
        app::log!("set {:?} = {:?}", key, value);
        if self.entries.contains(&key)? {
            app::emit!(Event::Updated {
                key: &key,
                value: &value
            });
        } else {
            app::emit!(Event::Inserted {
                key: &key,
                value: &value
            });
        }
        self.put(key, value)
    }

    /// Stores the value without an event or a log line.
    pub fn set_quiet(&mut self, key: String, value: String) -> app::Result<()> {
        self.put(key, value)
    }

    /// Writes, then returns an error: the node must not commit the write.
    pub fn set_then_fail(&mut self, key: String, value: String) -> app::Result<()> {
        app::emit!(Event::Inserted {
            key: &key,
            value: &value
        });
        self.put(key, value)?;
        app::bail!("failed on purpose after the write")
    }

    /// The value, or `null`.
    pub fn get(&self, key: &str) -> app::Result<Option<String>> {
        Ok(self.entries.get(key)?.map(|v| v.get().clone()))
    }

    /// The value; panics when the key is missing.
    pub fn get_unchecked(&self, key: &str) -> app::Result<String> {
        Ok(self.get(key)?.expect("key not found"))
    }

    /// The value, or the error `Failure::KeyNotFound`.
    pub fn get_result(&self, key: &str) -> app::Result<String> {
        match self.get(key)? {
            Some(value) => Ok(value),
            None => app::bail!(Failure::KeyNotFound(key)),
        }
    }

    /// All entries, sorted by key.
    pub fn entries(&self) -> app::Result<BTreeMap<String, String>> {
        let all = self.entries.entries()?;
        Ok(all.map(|(k, v)| (k, v.get().clone())).collect())
    }

    pub fn len(&self) -> app::Result<usize> {
        Ok(self.entries.len()?)
    }

    /// Removes the key and returns its old value; emits only when there was one.
    pub fn remove(&mut self, key: &str) -> app::Result<Option<String>> {
        let old = self.entries.remove(key)?.map(|v| v.get().clone());
        if let Some(value) = &old {
            app::emit!(Event::Removed { key, value });
        }
        Ok(old)
    }

    /// Removes everything and returns how many entries there were.
    pub fn clear(&mut self) -> app::Result<usize> {
        let count = self.entries.len()?;
        self.entries.clear()?;
        app::emit!(Event::Cleared { count });
        Ok(count)
    }

    /// Changes nothing, yet commits: a `&mut self` method always does.
    pub fn touch(&mut self) {}

    fn put(&mut self, key: String, value: String) -> app::Result<()> {
        self.entries.insert(key, LwwRegister::new(value))?;
        Ok(())
    }
}
