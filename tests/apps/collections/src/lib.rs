//! One state field of every CRDT collection the SDK offers.

use std::collections::BTreeMap;

use calimero_sdk::borsh::{BorshDeserialize, BorshSerialize};
use calimero_sdk::{app, PublicKey};
use calimero_storage::collections::{
    Counter, LwwRegister, PNCounter, ReplicatedGrowableArray, UnorderedMap, UnorderedSet, Vector,
};

#[app::state]
#[derive(BorshSerialize, BorshDeserialize)]
#[borsh(crate = "calimero_sdk::borsh")]
pub struct Collections {
    /// Only grows.
    visits: Counter,
    /// Grows and shrinks.
    stock: PNCounter,
    /// Last write wins.
    title: LwwRegister<String>,
    lines: Vector<LwwRegister<String>>,
    tags: UnorderedSet<String>,
    scores: UnorderedMap<String, Counter>,
    /// A map of maps.
    table: UnorderedMap<String, UnorderedMap<String, LwwRegister<String>>>,
    /// Collaborative text.
    text: ReplicatedGrowableArray,
}

#[app::logic]
impl Collections {
    #[app::init]
    pub fn init() -> Collections {
        Collections {
            visits: Counter::new(),
            stock: PNCounter::new(),
            title: LwwRegister::new(String::new()),
            lines: Vector::new(),
            tags: UnorderedSet::new(),
            scores: UnorderedMap::new(),
            table: UnorderedMap::new(),
            text: ReplicatedGrowableArray::new(),
        }
    }

    // Counters.

    pub fn visit(&mut self) -> app::Result<u64> {
        self.visits.increment()?;
        Ok(self.visits.value()?)
    }
    pub fn visits(&self) -> app::Result<u64> {
        Ok(self.visits.value()?)
    }
    /// What one member contributed.
    pub fn visits_of(&self, member: PublicKey) -> app::Result<u64> {
        Ok(self.visits.get_positive_count(&member)?)
    }
    /// Moves the stock up or down by `by` single steps.
    pub fn change_stock(&mut self, by: i32) -> app::Result<i64> {
        for _ in 0..by.unsigned_abs() {
            if by > 0 {
                self.stock.increment()?;
            } else {
                self.stock.decrement()?;
            }
        }
        Ok(self.stock.value()?)
    }
    pub fn stock(&self) -> app::Result<i64> {
        Ok(self.stock.value()?)
    }

    // Register.

    pub fn set_title(&mut self, title: String) {
        self.title.set(title);
    }
    pub fn title(&self) -> String {
        self.title.get().clone()
    }

    // Vector.

    /// Appends and returns the new length.
    pub fn push_line(&mut self, line: String) -> app::Result<usize> {
        self.lines.push(LwwRegister::new(line))?;
        Ok(self.lines.len()?)
    }
    pub fn pop_line(&mut self) -> app::Result<Option<String>> {
        Ok(self.lines.pop()?.map(LwwRegister::into_inner))
    }
    /// Replaces a line and returns the old one; `null` when there is no such line.
    pub fn set_line(&mut self, index: usize, line: String) -> app::Result<Option<String>> {
        let old = self.lines.update(index, LwwRegister::new(line))?;
        Ok(old.map(LwwRegister::into_inner))
    }
    pub fn line(&self, index: usize) -> app::Result<Option<String>> {
        Ok(self.lines.get(index)?.map(LwwRegister::into_inner))
    }
    pub fn lines(&self) -> app::Result<Vec<String>> {
        Ok(self.lines.iter()?.map(LwwRegister::into_inner).collect())
    }
    pub fn clear_lines(&mut self) -> app::Result<()> {
        Ok(self.lines.clear()?)
    }

    // Set.

    /// True when the tag is new.
    pub fn add_tag(&mut self, tag: String) -> app::Result<bool> {
        Ok(self.tags.insert(tag)?)
    }
    /// True when there was such a tag.
    pub fn remove_tag(&mut self, tag: String) -> app::Result<bool> {
        Ok(self.tags.remove(&tag)?)
    }
    pub fn has_tag(&self, tag: String) -> app::Result<bool> {
        Ok(self.tags.contains(&tag)?)
    }
    /// Sorted.
    pub fn tags(&self) -> app::Result<Vec<String>> {
        let mut tags: Vec<String> = self.tags.iter()?.collect();
        tags.sort();
        Ok(tags)
    }
    pub fn clear_tags(&mut self) -> app::Result<()> {
        Ok(self.tags.clear()?)
    }

    // Map of counters.

    pub fn score(&mut self, player: String) -> app::Result<u64> {
        let mut counter = match self.scores.get(&player)? {
            Some(counter) => counter,
            None => Counter::new(),
        };
        counter.increment()?;
        let value = counter.value()?;
        self.scores.insert(player, counter)?;
        Ok(value)
    }
    pub fn scores(&self) -> app::Result<BTreeMap<String, u64>> {
        let mut out = BTreeMap::new();
        for (player, counter) in self.scores.entries()? {
            out.insert(player, counter.value()?);
        }
        Ok(out)
    }

    // Map of maps.

    /// Returns the cell's old value.
    pub fn set_cell(
        &mut self,
        row: String,
        column: String,
        value: String,
    ) -> app::Result<Option<String>> {
        let mut cells = self.table.get(&row)?.unwrap_or_default();
        let old = cells.insert(column, LwwRegister::new(value))?;
        self.table.insert(row, cells)?;
        Ok(old.map(LwwRegister::into_inner))
    }
    pub fn cell(&self, row: String, column: String) -> app::Result<Option<String>> {
        let Some(cells) = self.table.get(&row)? else {
            return Ok(None);
        };
        Ok(cells.get(&column)?.map(LwwRegister::into_inner))
    }
    pub fn remove_cell(&mut self, row: String, column: String) -> app::Result<Option<String>> {
        let Some(mut cells) = self.table.get(&row)? else {
            return Ok(None);
        };
        let old = cells.remove(&column)?;
        self.table.insert(row, cells)?;
        Ok(old.map(LwwRegister::into_inner))
    }
    /// True when there was such a row.
    pub fn remove_row(&mut self, row: String) -> app::Result<bool> {
        Ok(self.table.remove(&row)?.is_some())
    }
    pub fn table(&self) -> app::Result<BTreeMap<String, BTreeMap<String, String>>> {
        let mut out = BTreeMap::new();
        for (row, cells) in self.table.entries()? {
            let cells = cells.entries()?.map(|(k, v)| (k, v.into_inner())).collect();
            out.insert(row, cells);
        }
        Ok(out)
    }

    // Collaborative text. Positions count characters, not bytes.

    pub fn insert_text(&mut self, position: usize, text: String) -> app::Result<()> {
        Ok(self.text.insert_str(position, &text)?)
    }
    /// Deletes `[start, end)`; an `end` behind the text is cut.
    pub fn delete_text(&mut self, start: usize, end: usize) -> app::Result<()> {
        Ok(self.text.delete_range(start, end)?)
    }
    pub fn text(&self) -> app::Result<String> {
        Ok(self.text.get_text()?)
    }
    pub fn text_len(&self) -> app::Result<usize> {
        Ok(self.text.len()?)
    }

    /// Touches every field in one call: one delta with many actions.
    pub fn change_all(&mut self, word: String) -> app::Result<()> {
        self.visits.increment()?;
        self.stock.increment()?;
        self.title.set(word.clone());
        self.lines.push(LwwRegister::new(word.clone()))?;
        self.tags.insert(word.clone())?;
        self.score(word.clone())?;
        self.set_cell(word.clone(), "c".to_owned(), word.clone())?;
        let end = self.text.len()?;
        self.text.insert_str(end, &word)?;
        Ok(())
    }
}
