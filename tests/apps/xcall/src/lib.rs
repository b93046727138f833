//! Calls between contexts. The node runs a queued call after the caller's own
//! commit; the target's result does not come back, so targets record what
//! reached them.

use calimero_sdk::borsh::{BorshDeserialize, BorshSerialize};
use calimero_sdk::serde::Serialize;
use calimero_sdk::serde_json::{self, json, Value};
use calimero_sdk::{app, env, PublicKey};
use calimero_storage::collections::{Counter, LwwRegister, Vector};

/// Context ids are 32 bytes, base58 in JSON, just like public keys.
type ContextId = PublicKey;

#[app::state(emits = Event)]
#[derive(BorshSerialize, BorshDeserialize)]
#[borsh(crate = "calimero_sdk::borsh")]
pub struct Xcall {
    hits: Counter,
    records: Vector<LwwRegister<Record>>,
}

/// One call that reached this context.
#[derive(Clone, BorshSerialize, BorshDeserialize, Serialize)]
#[borsh(crate = "calimero_sdk::borsh")]
#[serde(crate = "calimero_sdk::serde")]
pub struct Record {
    executor: String,
    note: String,
}

#[app::event]
pub enum Event {
    Recorded { executor: PublicKey, note: String },
}

#[app::logic]
impl Xcall {
    #[app::init]
    pub fn init() -> Xcall {
        Xcall {
            hits: Counter::new(),
            records: Vector::new(),
        }
    }

    pub fn context(&self) -> ContextId {
        env::context_id().into()
    }
    pub fn executor(&self) -> PublicKey {
        env::executor_id().into()
    }

    // Targets.

    /// Counts the call and records who made it.
    pub fn record(&mut self, note: String) -> app::Result<()> {
        self.remember(note)
    }
    /// Writes, then fails: nothing of it may stay.
    pub fn record_then_fail(&mut self, note: String) -> app::Result<()> {
        self.remember(note)?;
        app::bail!("target failed on purpose")
    }
    /// Writes, then panics: nothing of it may stay.
    pub fn record_then_panic(&mut self, note: String) -> app::Result<()> {
        self.remember(note)?;
        panic!("target panicked on purpose")
    }
    pub fn hits(&self) -> app::Result<u64> {
        Ok(self.hits.value()?)
    }
    /// All records, oldest first.
    pub fn records(&self) -> app::Result<Vec<Record>> {
        Ok(self.records.iter()?.map(LwwRegister::into_inner).collect())
    }

    // Callers.

    /// Queues `method(params)` in `context`; `params` is passed on as JSON.
    pub fn call(&mut self, context: ContextId, method: String, params: Value) -> app::Result<()> {
        queue(&context, &method, &params)
    }
    /// The same with raw parameter bytes, which need not be JSON.
    pub fn call_raw(&mut self, context: ContextId, method: String, params: Vec<u8>) {
        env::xcall(&context, &method, &params);
    }
    /// The same from a `&self` method, which commits nothing itself.
    pub fn call_in_view(
        &self,
        context: ContextId,
        method: String,
        params: Value,
    ) -> app::Result<()> {
        queue(&context, &method, &params)
    }
    /// Queues the call and fails: it must not run.
    pub fn call_then_fail(
        &mut self,
        context: ContextId,
        method: String,
        params: Value,
    ) -> app::Result<()> {
        queue(&context, &method, &params)?;
        app::bail!("caller failed on purpose")
    }
    /// Records locally, then queues: the target must see the caller's commit.
    pub fn record_and_call(
        &mut self,
        note: String,
        context: ContextId,
        method: String,
        params: Value,
    ) -> app::Result<()> {
        self.remember(note)?;
        queue(&context, &method, &params)
    }
    /// Queues `record("<prefix><i>")` n times, in order.
    pub fn call_many(&mut self, context: ContextId, n: u32, prefix: String) -> app::Result<()> {
        for i in 0..n {
            queue(
                &context,
                "record",
                &json!({ "note": format!("{prefix}{i}") }),
            )?;
        }
        Ok(())
    }
    /// Queues `record(note)` once in each context, in order.
    pub fn fan_out(&mut self, contexts: Vec<ContextId>, note: String) -> app::Result<()> {
        for context in contexts {
            queue(&context, "record", &json!({ "note": note }))?;
        }
        Ok(())
    }
    /// Records, then passes the call on along `path`; the note counts the rest.
    pub fn chain(&mut self, path: Vec<ContextId>) -> app::Result<()> {
        self.remember(format!("chain {}", path.len()))?;
        match path.split_first() {
            Some((next, rest)) => queue(next, "chain", &json!({ "path": rest })),
            None => Ok(()),
        }
    }
    /// Records, then bounces to `peer`, which bounces back, `depth` times.
    pub fn ping_pong(&mut self, peer: ContextId, depth: u32) -> app::Result<()> {
        self.remember(format!("ping_pong {depth}"))?;
        if depth == 0 {
            return Ok(());
        }
        let me: ContextId = env::context_id().into();
        queue(
            &peer,
            "ping_pong",
            &json!({ "peer": me, "depth": depth - 1 }),
        )
    }
    /// Calls itself twice at every level: 2^depth calls unless the node stops it.
    pub fn explode(&mut self, depth: u32) -> app::Result<()> {
        self.remember(format!("explode {depth}"))?;
        if depth == 0 {
            return Ok(());
        }
        let me: ContextId = env::context_id().into();
        for _ in 0..2 {
            queue(&me, "explode", &json!({ "depth": depth - 1 }))?;
        }
        Ok(())
    }

    fn remember(&mut self, note: String) -> app::Result<()> {
        let executor: PublicKey = env::executor_id().into();
        self.hits.increment()?;
        self.records.push(LwwRegister::new(Record {
            executor: executor.to_string(),
            note: note.clone(),
        }))?;
        app::emit!(Event::Recorded { executor, note });
        Ok(())
    }
}

fn queue(context: &ContextId, method: &str, params: &Value) -> app::Result<()> {
    env::xcall(context, method, &serde_json::to_vec(params)?);
    Ok(())
}
