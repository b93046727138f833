//! Recursion that the compiler cannot turn into a loop: the result of the inner
//! call is still worked on, in an order that matters.

use core::arch::{asm, wasm32};
use core::hint::black_box;

use crate::host;

fn mix(inner: u64, n: u64) -> u64 {
    inner.rotate_left(7) ^ n.wrapping_mul(31)
}

#[inline(never)]
pub fn plain(n: u64) -> u64 {
    if n == 0 {
        return 1;
    }
    mix(plain(n - 1), n)
}

/// Read back volatile, so that the call stays indirect.
static mut NEXT: fn(u64) -> u64 = indirect;

#[inline(never)]
pub fn indirect(n: u64) -> u64 {
    if n == 0 {
        return 1;
    }
    let next = unsafe { (&raw const NEXT).read_volatile() };
    mix(next(n - 1), n)
}

#[inline(never)]
pub fn frames(n: u64) -> u64 {
    let frame = black_box([n as u8; 1024]);
    if n == 0 {
        return 1;
    }
    mix(frames(n - 1), u64::from(frame[(n % 1024) as usize]))
}

#[inline(never)]
pub fn host_call(n: u64) -> u64 {
    let len = host::len_of_register(n);
    if n == 0 {
        return 1;
    }
    mix(host_call(n - 1), n ^ len)
}

#[inline(never)]
pub fn host_call_at_end(n: u64) -> u64 {
    if n == 0 {
        return host::len_of_register(0);
    }
    mix(host_call_at_end(n - 1), n)
}

/// Some writable memory that nothing else needs.
static mut PLACE: [u8; 128] = [0; 128];

#[inline(never)]
pub fn memory_copy(n: u64) -> u64 {
    let place = &raw mut PLACE as u32;
    unsafe {
        asm!("local.get {to}", "local.get {from}", "i32.const 64", "memory.copy 0, 0",
            to = in(local) place, from = in(local) place + 64);
    }
    if n == 0 {
        return 1;
    }
    mix(memory_copy(n - 1), n)
}

#[inline(never)]
pub fn memory_fill(n: u64) -> u64 {
    let place = &raw mut PLACE as u32;
    unsafe {
        asm!("local.get {to}", "i32.const 0", "i32.const 64", "memory.fill 0", to = in(local) place);
    }
    if n == 0 {
        return 1;
    }
    mix(memory_fill(n - 1), n)
}

#[inline(never)]
pub fn memory_grow(n: u64) -> u64 {
    let pages = wasm32::memory_grow(0, 0);
    if n == 0 {
        return 1;
    }
    mix(memory_grow(n - 1), n ^ pages as u64)
}
