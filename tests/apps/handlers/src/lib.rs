//! Events that name a handler: the node calls that method, with the event's
//! data as arguments, after the emitting call has been committed and answered.

use std::collections::BTreeMap;

use calimero_sdk::app;
use calimero_sdk::borsh::{BorshDeserialize, BorshSerialize};
use calimero_storage::collections::{Counter, LwwRegister, UnorderedMap, Vector};

#[app::state(emits = for<'a> Event<'a>)]
#[derive(BorshSerialize, BorshDeserialize)]
#[borsh(crate = "calimero_sdk::borsh")]
pub struct Handlers {
    value: LwwRegister<String>,
    runs: UnorderedMap<String, Counter>,
    journal: Vector<LwwRegister<String>>,
}

#[app::event]
pub enum Event<'a> {
    Fired { value: &'a str },
    Pair { left: &'a str, right: u32 },
    Listed(&'a str, u32),
    Bare,
    Nested { depth: u32 },
}

#[app::logic]
impl Handlers {
    #[app::init]
    pub fn init() -> Handlers {
        Handlers {
            value: LwwRegister::new(String::new()),
            runs: UnorderedMap::new(),
            journal: Vector::new(),
        }
    }

    // Emitters.

    /// Sets the value and has `on_fired` run.
    pub fn fire(&mut self, value: String) -> app::Result<()> {
        app::emit!((Event::Fired { value: &value }, "on_fired"));
        self.value.set(value);
        Ok(())
    }
    /// The same event without a handler.
    pub fn fire_plain(&mut self, value: String) -> app::Result<()> {
        app::emit!(Event::Fired { value: &value });
        self.value.set(value);
        Ok(())
    }
    /// Two arguments for the handler.
    pub fn fire_pair(&mut self, left: String, right: u32) -> app::Result<()> {
        app::emit!((Event::Pair { left: &left, right }, "on_pair"));
        Ok(())
    }
    /// A tuple variant: the handler's input is a JSON list.
    pub fn fire_listed(&mut self, left: String, right: u32) -> app::Result<()> {
        app::emit!((Event::Listed(&left, right), "on_pair"));
        Ok(())
    }
    /// A unit variant: the handler takes no arguments, its input is `null`.
    pub fn fire_bare(&mut self) -> app::Result<()> {
        app::emit!((Event::Bare, "on_bare"));
        Ok(())
    }
    /// n handlers, to run in order: `<prefix>0`, `<prefix>1`, …
    pub fn fire_many(&mut self, n: u32, prefix: String) -> app::Result<()> {
        for i in 0..n {
            let value = format!("{prefix}{i}");
            app::emit!((Event::Fired { value: &value }, "on_fired"));
        }
        Ok(())
    }
    /// A handler that writes and then returns an error, then a good one.
    pub fn fire_failing(&mut self, value: String) -> app::Result<()> {
        app::emit!((Event::Fired { value: &value }, "on_failing"));
        app::emit!((Event::Fired { value: &value }, "on_fired"));
        Ok(())
    }
    /// A handler that writes and then panics, then a good one.
    pub fn fire_panicking(&mut self, value: String) -> app::Result<()> {
        app::emit!((Event::Fired { value: &value }, "on_panicking"));
        app::emit!((Event::Fired { value: &value }, "on_fired"));
        Ok(())
    }
    /// A handler that does not exist, then a good one.
    pub fn fire_missing(&mut self, value: String) -> app::Result<()> {
        app::emit!((Event::Fired { value: &value }, "no_such_handler"));
        app::emit!((Event::Fired { value: &value }, "on_fired"));
        Ok(())
    }
    /// A handler whose handler has a handler, `depth` levels down.
    pub fn fire_nested(&mut self, depth: u32) -> app::Result<()> {
        app::emit!((Event::Nested { depth }, "on_nested"));
        Ok(())
    }
    /// The call fails: no handler may run.
    pub fn fire_then_fail(&mut self, value: String) -> app::Result<()> {
        app::emit!((Event::Fired { value: &value }, "on_fired"));
        app::bail!("failed on purpose after the event")
    }
    /// Emits from a `&self` method, which commits nothing.
    pub fn fire_in_view(&self, value: String) -> app::Result<()> {
        app::emit!((Event::Fired { value: &value }, "on_fired"));
        Ok(())
    }

    // Handlers.

    pub fn on_fired(&mut self, value: String) -> app::Result<()> {
        self.ran("on_fired", value)
    }
    pub fn on_pair(&mut self, left: String, right: u32) -> app::Result<()> {
        self.ran("on_pair", format!("{left} {right}"))
    }
    pub fn on_bare(&mut self) -> app::Result<()> {
        self.ran("on_bare", String::new())
    }
    pub fn on_failing(&mut self, value: String) -> app::Result<()> {
        self.ran("on_failing", value)?;
        app::bail!("handler failed on purpose")
    }
    pub fn on_panicking(&mut self, value: String) -> app::Result<()> {
        self.ran("on_panicking", value)?;
        panic!("handler panicked on purpose")
    }
    pub fn on_nested(&mut self, depth: u32) -> app::Result<()> {
        self.ran("on_nested", depth.to_string())?;
        if depth > 0 {
            app::emit!((Event::Nested { depth: depth - 1 }, "on_nested"));
        }
        Ok(())
    }

    // Readers.

    pub fn value(&self) -> String {
        self.value.get().clone()
    }
    /// How often each handler ran (and was committed).
    pub fn runs(&self) -> app::Result<BTreeMap<String, u64>> {
        let mut out = BTreeMap::new();
        for (name, counter) in self.runs.entries()? {
            out.insert(name, counter.value()?);
        }
        Ok(out)
    }
    /// `<handler>: <arguments>` of every run, oldest first.
    pub fn journal(&self) -> app::Result<Vec<String>> {
        Ok(self.journal.iter()?.map(LwwRegister::into_inner).collect())
    }

    fn ran(&mut self, handler: &str, arguments: String) -> app::Result<()> {
        app::log!("{} ran with {:?}", handler, arguments);
        let mut counter = match self.runs.get(handler)? {
            Some(counter) => counter,
            None => Counter::new(),
        };
        counter.increment()?;
        self.runs.insert(handler.to_owned(), counter)?;
        self.journal
            .push(LwwRegister::new(format!("{handler}: {arguments}")))?;
        Ok(())
    }
}
