//! The next release of `kv`: its state has a label besides the entries.
//!
//! `migrate` turns a state of `kv` into one of this app and fails on any other,
//! one that was migrated already included. `migrate_badly` always fails.

use std::collections::BTreeMap;

use calimero_sdk::app;
use calimero_sdk::borsh::{self, BorshDeserialize, BorshSerialize};
use calimero_storage::collections::{LwwRegister, UnorderedMap};

#[app::state]
#[derive(BorshSerialize, BorshDeserialize)]
#[borsh(crate = "calimero_sdk::borsh")]
pub struct KvNext {
    entries: UnorderedMap<String, LwwRegister<String>>,
    label: String,
}

/// The state of `kv`.
#[derive(BorshDeserialize)]
#[borsh(crate = "calimero_sdk::borsh")]
struct Kv {
    entries: UnorderedMap<String, LwwRegister<String>>,
}

#[app::migrate]
pub fn migrate() -> KvNext {
    let raw = calimero_sdk::read_raw().expect("there is no state to migrate");
    let old: Kv = borsh::from_slice(&raw).expect("this is no state of kv");
    KvNext {
        entries: old.entries,
        label: "migrated".to_owned(),
    }
}

#[app::migrate]
pub fn migrate_badly() -> KvNext {
    panic!("failed on purpose in the migration")
}

#[app::logic]
impl KvNext {
    #[app::init]
    pub fn init() -> KvNext {
        KvNext {
            entries: UnorderedMap::new_with_field_name("entries"),
            label: "new".to_owned(),
        }
    }

    pub fn set(&mut self, key: String, value: String) -> app::Result<()> {
        self.entries.insert(key, LwwRegister::new(value))?;
        Ok(())
    }

    /// The value, or `null`.
    pub fn get(&self, key: &str) -> app::Result<Option<String>> {
        Ok(self.entries.get(key)?.map(|v| v.get().clone()))
    }

    /// All entries, sorted by key.
    pub fn entries(&self) -> app::Result<BTreeMap<String, String>> {
        let all = self.entries.entries()?;
        Ok(all.map(|(k, v)| (k, v.get().clone())).collect())
    }

    pub fn label(&self) -> String {
        self.label.clone()
    }

    pub fn set_label(&mut self, label: String) {
        self.label = label;
    }
}
