//! The guest that misbehaves on purpose: endless loops, endless allocation,
//! deep recursion, wild pointers, oversized everything, traps. Sizes and counts
//! are arguments, so that a test can stand on either side of a limit. `set` and
//! `get` show that the next call still works.

// Wasm instructions that Rust guards against, or never emits, are written as
// inline assembly.
#![feature(asm_experimental_arch)]

use core::arch::{asm, wasm32};
use core::hint::black_box;
use std::borrow::Cow;

use calimero_sdk::borsh::{BorshDeserialize, BorshSerialize};
use calimero_sdk::event::AppEvent;
use calimero_sdk::{app, env};
use calimero_storage::collections::{LwwRegister, UnorderedMap};

mod host;
mod recursion;

use host::{Slice, REGISTER};

#[app::state]
#[derive(BorshSerialize, BorshDeserialize)]
#[borsh(crate = "calimero_sdk::borsh")]
pub struct Rogue {
    items: UnorderedMap<String, LwwRegister<String>>,
}

/// An event of any kind and size, past the SDK's enum.
struct RawEvent {
    kind: String,
    data: Vec<u8>,
}

impl AppEvent for RawEvent {
    fn kind(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.kind)
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }
}

#[app::logic]
impl Rogue {
    #[app::init]
    pub fn init() -> Rogue {
        Rogue {
            items: UnorderedMap::new(),
        }
    }

    // Good behaviour.

    pub fn set(&mut self, key: String, value: String) -> app::Result<()> {
        self.items.insert(key, LwwRegister::new(value))?;
        Ok(())
    }
    pub fn get(&self, key: String) -> app::Result<Option<String>> {
        Ok(self.items.get(&key)?.map(LwwRegister::into_inner))
    }
    pub fn len(&self) -> app::Result<usize> {
        Ok(self.items.len()?)
    }
    /// Writes the entries `<prefix>0` … `<prefix><n-1>`, `size` bytes each:
    /// large deltas. Returns the new number of entries.
    pub fn write_n(&mut self, prefix: String, n: u32, size: u32) -> app::Result<usize> {
        for i in 0..n {
            self.items
                .insert(format!("{prefix}{i}"), LwwRegister::new(text(size)))?;
        }
        Ok(self.items.len()?)
    }
    /// Reads one key n times: a storm of host calls.
    pub fn read_n(&self, key: String, n: u32) -> app::Result<u32> {
        let mut found = 0;
        for _ in 0..n {
            found += u32::from(self.items.get(&key)?.is_some());
        }
        Ok(found)
    }
    /// n cheap host calls and nothing else.
    pub fn host_calls(&self, n: u64) -> u64 {
        (0..n).fold(0, |sum, i| sum ^ host::len_of_register(i))
    }

    // Time.

    pub fn loop_forever(&mut self) {
        let mut i = 0u64;
        loop {
            i = black_box(i.wrapping_add(1));
        }
    }
    /// Endless, with a host call in every round.
    pub fn loop_host_calls(&mut self) {
        loop {
            black_box(host::len_of_register(REGISTER));
        }
    }
    /// Writes, then loops: the write must not stay.
    pub fn set_and_loop(&mut self, key: String, value: String) -> app::Result<()> {
        self.set(key, value)?;
        loop {
            black_box(());
        }
    }
    /// A bounded busy loop.
    pub fn spin(&self, rounds: u64) -> u64 {
        (0..rounds).fold(0, |sum, i| black_box(sum ^ i))
    }
    /// Busy until the host's clock moved on by `ms`.
    pub fn spin_ms(&self, ms: u64) -> u64 {
        let start = env::time_now();
        let mut rounds = 0;
        while env::time_now().saturating_sub(start) < ms * 1_000_000 {
            rounds += 1;
        }
        rounds
    }

    // Memory.

    /// Allocates and touches 1 MiB at a time until something gives.
    pub fn allocate_forever(&mut self) {
        let mut all = Vec::new();
        loop {
            all.push(black_box(vec![1u8; 1 << 20]));
        }
    }
    /// Allocates and touches `bytes` at once.
    pub fn allocate(&self, bytes: usize) -> usize {
        black_box(vec![1u8; bytes]).len()
    }
    /// memory.grow by `pages`; the old size in pages, -1 when refused.
    pub fn grow(&self, pages: usize) -> isize {
        wasm32::memory_grow(0, pages) as isize
    }
    /// memory.grow page by page until refused; the final size in pages.
    pub fn grow_to_the_end(&self) -> usize {
        while wasm32::memory_grow(0, 1) != usize::MAX {}
        wasm32::memory_size(0)
    }
    /// memory.grow in an endless loop, refused or not.
    pub fn grow_forever(&mut self) {
        loop {
            black_box(wasm32::memory_grow(0, 1));
        }
    }
    /// memory.fill over `bytes`, `rounds` times: long instructions.
    pub fn fill(&self, bytes: usize, rounds: u32) -> u32 {
        let mut buffer = vec![0u8; bytes];
        for i in 0..rounds {
            black_box(&mut buffer).fill(i as u8);
        }
        rounds
    }
    /// A load `offset` bytes behind the end of memory.
    pub fn load_beyond(&self, offset: usize) -> u8 {
        let address = wasm32::memory_size(0) * 65536 + offset;
        unsafe { black_box(address as *const u8).read_volatile() }
    }
    pub fn store_beyond(&self, offset: usize) {
        let address = wasm32::memory_size(0) * 65536 + offset;
        unsafe { black_box(address as *mut u8).write_volatile(1) }
    }

    // Recursion. Each returns after `depth` levels, if it gets there.

    pub fn recurse(&self, depth: u64) -> u64 {
        recursion::plain(depth)
    }
    /// Through a function pointer: call_indirect at every level.
    pub fn recurse_indirect(&self, depth: u64) -> u64 {
        recursion::indirect(depth)
    }
    /// With a 1 KiB array in every frame, on the guest's own stack in memory.
    pub fn recurse_frames(&self, depth: u64) -> u64 {
        recursion::frames(depth)
    }
    /// A host call at every level.
    pub fn recurse_host(&self, depth: u64) -> u64 {
        recursion::host_call(depth)
    }
    /// A host call at the deepest level only.
    pub fn recurse_host_at_end(&self, depth: u64) -> u64 {
        recursion::host_call_at_end(depth)
    }
    /// memory.copy at every level.
    pub fn recurse_copy(&self, depth: u64) -> u64 {
        recursion::memory_copy(depth)
    }
    /// memory.fill at every level.
    pub fn recurse_fill(&self, depth: u64) -> u64 {
        recursion::memory_fill(depth)
    }
    /// memory.grow by 0 pages at every level.
    pub fn recurse_grow(&self, depth: u64) -> u64 {
        recursion::memory_grow(depth)
    }

    // Traps.

    pub fn trap(&self) {
        wasm32::unreachable()
    }
    /// Writes, then traps: the write must not stay.
    pub fn set_and_trap(&mut self, key: String, value: String) -> app::Result<()> {
        self.set(key, value)?;
        wasm32::unreachable()
    }
    /// i32.div_s without Rust's check.
    pub fn divide(&self, a: i32, b: i32) -> i32 {
        let out: i32;
        unsafe {
            asm!("local.get {a}", "local.get {b}", "i32.div_s", "local.set {out}",
                a = in(local) a, b = in(local) b, out = out(local) out);
        }
        out
    }
    /// i64.rem_u without Rust's check.
    pub fn remainder(&self, a: u64, b: u64) -> u64 {
        let out: u64;
        unsafe {
            asm!("local.get {a}", "local.get {b}", "i64.rem_u", "local.set {out}",
                a = in(local) a, b = in(local) b, out = out(local) out);
        }
        out
    }
    /// i32.trunc_f64_s, which traps where Rust's `as` saturates; `null` is NaN.
    pub fn truncate(&self, v: Option<f64>) -> i32 {
        let v = v.unwrap_or(f64::NAN);
        let out: i32;
        unsafe {
            asm!("local.get {v}", "i32.trunc_f64_s", "local.set {out}",
                v = in(local) v, out = out(local) out);
        }
        out
    }
    /// call_indirect of type () -> () on any table slot: 0 is null, a slot of
    /// another type mismatches, one behind the table is out of bounds.
    pub fn call_slot(&self, slot: u32) {
        unsafe {
            asm!("local.get {slot}", "call_indirect () -> ()", slot = in(local) slot);
        }
    }
    /// The table slot of a function of another type, for `call_slot`.
    pub fn slot_of_other_type(&self) -> usize {
        black_box(recursion::plain as fn(u64) -> u64) as usize
    }
    /// The table slot of a function of the right type, for `call_slot`.
    pub fn slot_of_right_type(&self) -> usize {
        black_box(harmless as fn()) as usize
    }
    /// A panic with a message of n bytes.
    pub fn panic_bytes(&self, n: u32) {
        panic!("{}", text(n))
    }
    /// panic_utf8 with a message that is not UTF-8.
    pub fn panic_bad_utf8(&self) {
        host::panic_bytes(&[0xff, 0xfe])
    }

    // Pointers.

    /// Calls the named host function with `pointer` where the address of its
    /// descriptor belongs (both addresses, when it takes two).
    pub fn wild_descriptor(&mut self, function: String, pointer: u64) -> app::Result<u64> {
        match host::call_at(&function, pointer) {
            Some(result) => Ok(result),
            None => app::bail!(format_args!("no host function {function:?} to try")),
        }
    }
    /// Calls the named host function with a good descriptor of bad memory.
    pub fn wild_slice(&mut self, function: String, pointer: u64, len: u64) -> app::Result<u64> {
        match host::call_with(&function, Slice::at(pointer, len)) {
            Some(result) => Ok(result),
            None => app::bail!(format_args!("no host function {function:?} to try")),
        }
    }
    /// The size of the guest's memory in bytes, to aim pointers at its end.
    pub fn memory_bytes(&self) -> usize {
        wasm32::memory_size(0) * 65536
    }

    // Logs, events, calls, returns.

    /// n logs of `size` bytes.
    pub fn logs(&self, n: u32, size: u32) {
        let line = text(size);
        for _ in 0..n {
            env::log(&line);
        }
    }
    /// A log that is not UTF-8.
    pub fn log_bad_utf8(&self) {
        host::log(&[b'a', 0xff, b'b']);
    }
    /// n events with a kind of `kind` bytes and data of `data` bytes.
    pub fn events(&mut self, n: u32, kind: u32, data: u32) {
        let event = RawEvent {
            kind: text(kind),
            data: text(data).into_bytes(),
        };
        for _ in 0..n {
            env::emit(&event);
        }
    }
    /// An event whose handler name has n bytes.
    pub fn event_handler_name(&mut self, n: u32) {
        let event = RawEvent {
            kind: "Named".to_owned(),
            data: b"{}".to_vec(),
        };
        env::emit_with_handler(&event, &text(n));
    }
    /// n calls into this context with a function name of `function` bytes and
    /// parameters of `params` bytes.
    pub fn calls(&mut self, n: u32, function: u32, params: u32) {
        let (function, params) = (text(function), text(params));
        let me = env::context_id();
        for _ in 0..n {
            env::xcall(&me, &function, params.as_bytes());
        }
    }
    /// A call whose context id has n bytes.
    pub fn call_context_len(&mut self, n: u32) {
        host::xcall(text(n).as_bytes(), b"get", b"{}");
    }
    /// A JSON string of n characters (n + 2 bytes).
    pub fn return_bytes(&self, n: u32) -> String {
        text(n)
    }
    /// Any bytes as the result, JSON or not; `error` makes them an app error.
    pub fn return_raw(&self, bytes: Vec<u8>, error: bool) {
        host::value_return(u64::from(error), &bytes);
    }
    /// Returns 1, then 2: the last one wins.
    pub fn return_twice(&self) {
        host::value_return(0, b"1");
        host::value_return(0, b"2");
    }
    /// A value, then a trap: the value is lost.
    pub fn return_then_trap(&self) {
        host::value_return(0, b"1");
        wasm32::unreachable()
    }
    /// A result with a tag that is neither Ok (0) nor Err (1).
    pub fn return_tag(&self, tag: u64) {
        host::value_return(tag, b"1");
    }

    // Registers.

    /// Sets n registers, 32 bytes each.
    pub fn registers(&self, n: u64) {
        (0..n).for_each(host::context_id_into);
    }
    /// Sets `n` registers of `size` bytes each, by way of a private row.
    pub fn registers_of(&mut self, n: u64, size: u32) {
        env::private_storage_write(b"fill", &vec![7; size as usize]);
        (0..n).for_each(|i| host::private_read_into(b"fill", i));
    }
    /// Reads a register that was never set.
    pub fn read_register_unset(&self, register: u64) -> u32 {
        host::read_register(register, &mut [0; 8])
    }
    /// Reads the 32-byte context id into a buffer of n bytes: 1 when it fits
    /// exactly, else 0.
    pub fn read_register_into(&self, n: u32) -> u32 {
        host::context_id_into(REGISTER);
        host::read_register(REGISTER, &mut vec![0; n as usize])
    }

    // Storage.

    /// A row of the shared store with any key and value size, past the SDK's
    /// own layout. Whether there was one before.
    pub fn raw_write(&mut self, key: u32, value: u32) -> bool {
        env::storage_write(text(key).as_bytes(), text(value).as_bytes())
    }
    /// The size of such a row, `null` when there is none.
    pub fn raw_read(&self, key: u32) -> Option<usize> {
        env::storage_read(text(key).as_bytes()).map(|v| v.len())
    }
    pub fn raw_remove(&mut self, key: u32) -> bool {
        env::storage_remove(text(key).as_bytes())
    }
    /// The same in the private store.
    pub fn private_write(&mut self, key: u32, value: u32) -> bool {
        env::private_storage_write(text(key).as_bytes(), text(value).as_bytes())
    }
    pub fn private_read(&self, key: u32) -> Option<usize> {
        env::private_storage_read(text(key).as_bytes()).map(|v| v.len())
    }
    pub fn private_remove(&mut self, key: u32) -> bool {
        env::private_storage_remove(text(key).as_bytes())
    }

    // Commit.

    /// Commits by hand in a `&mut self` method, whose end commits again.
    pub fn commit_twice(&mut self) {
        env::commit(&[1; 32], b"\x00\x00\x00\x00\x00");
    }
    /// Commits a root hash and an artifact of the caller's choice, once, from a
    /// `&self` method. An empty artifact, or one that does not decode, is the
    /// node's to refuse.
    pub fn commit_raw(&self, root: Vec<u8>, artifact: Vec<u8>) {
        host::commit(&root, &artifact);
    }
    /// The same with an artifact of n zero bytes.
    pub fn commit_bytes(&self, n: u32) {
        host::commit(&[1; 32], &vec![0; n as usize]);
    }

    // Nondeterminism and crypto.

    pub fn random(&self, n: u32) -> Vec<u8> {
        let mut out = vec![0; n as usize];
        env::random_bytes(&mut out);
        out
    }
    /// Unix time in nanoseconds.
    pub fn now(&self) -> u64 {
        env::time_now()
    }
    /// time_now into a buffer of n bytes; only 8 will do.
    pub fn now_into(&self, n: u32) {
        host::time_now(&mut vec![0; n as usize]);
    }
    pub fn verify(&self, signature: Vec<u8>, key: Vec<u8>, message: Vec<u8>) -> u32 {
        host::ed25519_verify(&signature, &key, &message)
    }
    /// What `env.fetch` answers: its status and the text it left.
    pub fn fetch_url(&self, url: String) -> (u32, String) {
        let status = host::fetch(url.as_bytes());
        let text = host::register(REGISTER);
        (status, String::from_utf8_lossy(&text).into_owned())
    }
}

/// Exported with a parameter: calling it is an invalid signature.
#[no_mangle]
pub extern "C" fn takes_argument(_: i32) {}

/// Exported with a result: calling it is an invalid signature.
#[no_mangle]
pub extern "C" fn gives_result() -> i32 {
    1
}

/// Exported past the SDK: no panic hook, no state, no result.
#[no_mangle]
pub extern "C" fn bare() {}

/// Panics without the SDK's hook: plain `unreachable`.
#[no_mangle]
pub extern "C" fn bare_panic() {
    panic!("nobody hears this")
}

fn harmless() {
    black_box(());
}

fn text(n: u32) -> String {
    "x".repeat(n as usize)
}
