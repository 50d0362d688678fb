//! Indexes: which landing objects of readings ever held a key; who ever had a device.
//!
//! A set of (key, value) pairs that only grows, kept in [sorted runs](crate::runs).

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;
use crate::key::KeyHash;
use crate::lake::Lake;
use crate::runs::{Added, Runs};
use crate::search::leading;

/// Bytes of an entry: the first half of the key's hash, then the value.
const ENTRY_BYTES: usize = 16;

/// What a key leads to: a [`Source`](crate::key::Source), or the first half of a person's hash.
pub type Value = [u8; 8];
/// What a run of an index holds: sorted by key, then by value.
pub type Entry = [u8; ENTRY_BYTES];

fn entry(key: &KeyHash, value: &Value) -> Entry {
    let mut entry = [0; ENTRY_BYTES];
    entry[..8].copy_from_slice(&key.as_bytes()[..8]);
    entry[8..].copy_from_slice(value);
    entry
}

/// An index of the lake.
pub struct Index<'a>(Runs<'a, Entry>);

impl<'a> Index<'a> {
    /// The index whose runs are below `prefix`.
    pub fn new(lake: &'a Lake, prefix: &'a str) -> Self {
        Self(Runs::new(lake, prefix, ENTRY_BYTES))
    }

    /// Adds some pairs.
    pub async fn add(self, pairs: Vec<(KeyHash, Value)>) -> Result<Added<'a, Entry>, Error> {
        self.0.add(pairs.iter().map(|(key, value)| entry(key, value)).collect()).await
    }

    /// What each of some keys leads to; and, very seldom, what others do.
    pub async fn find(
        &self,
        keys: &BTreeSet<KeyHash>,
    ) -> Result<BTreeMap<KeyHash, BTreeSet<Value>>, Error> {
        let by_prefix: BTreeMap<u64, KeyHash> =
            keys.iter().map(|key| (leading(key.as_bytes()), *key)).collect();
        let prefixes: Vec<u64> = by_prefix.keys().copied().collect();
        let mut found: BTreeMap<KeyHash, BTreeSet<Value>> =
            keys.iter().map(|key| (*key, BTreeSet::new())).collect();
        for entry in self.0.find(&prefixes).await? {
            let values = by_prefix.get(&leading(&entry)).and_then(|key| found.get_mut(key));
            if let (Some(values), Some(value)) = (values, entry.last_chunk()) {
                values.insert(*value);
            }
        }
        Ok(found)
    }
}
