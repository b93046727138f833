//! The `env` imports as the host sees them: addresses of descriptors in linear
//! memory. The SDK's wrappers never pass a bad one; these do.

mod sys {
    #[link(wasm_import_module = "env")]
    extern "C" {
        pub fn panic_utf8(message: u64, location: u64) -> !;
        pub fn register_len(register: u64) -> u64;
        pub fn read_register(register: u64, buffer: u64) -> u32;
        pub fn context_id(register: u64);
        pub fn value_return(value: u64);
        pub fn log_utf8(message: u64);
        pub fn emit(event: u64);
        pub fn emit_with_handler(event: u64, handler: u64);
        pub fn xcall(call: u64);
        pub fn commit(root: u64, artifact: u64);
        pub fn storage_read(key: u64, register: u64) -> u32;
        pub fn storage_remove(key: u64, register: u64) -> u32;
        pub fn storage_write(key: u64, value: u64, register: u64) -> u32;
        pub fn private_storage_read(key: u64, register: u64) -> u32;
        pub fn private_storage_remove(key: u64, register: u64) -> u32;
        pub fn private_storage_write(key: u64, value: u64) -> u32;
        pub fn fetch(url: u64, method: u64, headers: u64, body: u64, register: u64) -> u32;
        pub fn random_bytes(buffer: u64);
        pub fn time_now(buffer: u64);
        pub fn ed25519_verify(signature: u64, key: u64, message: u64) -> u32;
        pub fn blob_open(id: u64) -> u64;
        pub fn blob_create() -> u64;
        pub fn blob_read(fd: u64, buffer: u64) -> u64;
        pub fn blob_write(fd: u64, data: u64) -> u64;
        pub fn blob_close(fd: u64, id: u64) -> u32;
        pub fn blob_announce_to_context(id: u64, context: u64) -> u32;
    }
}

/// The register these tests use; any number will do.
pub const REGISTER: u64 = 7;

/// A buffer descriptor: address and length, 64 bits each.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Slice {
    pointer: u64,
    len: u64,
}

impl Slice {
    pub fn at(pointer: u64, len: u64) -> Slice {
        Slice { pointer, len }
    }
    pub fn of(bytes: &[u8]) -> Slice {
        Slice::at(bytes.as_ptr() as u64, bytes.len() as u64)
    }
}

/// File (empty), line, column.
#[repr(C)]
struct Location(Slice, u32, u32);

#[repr(C)]
struct ValueReturn(u64, Slice);

fn address<T>(value: &T) -> u64 {
    core::ptr::from_ref(value) as u64
}

pub fn len_of_register(register: u64) -> u64 {
    unsafe { sys::register_len(register) }
}
pub fn read_register(register: u64, into: &mut [u8]) -> u32 {
    unsafe { sys::read_register(register, address(&Slice::of(into))) }
}
/// The content of a register that is set.
pub fn register(register: u64) -> Vec<u8> {
    let mut out = vec![0; len_of_register(register) as usize];
    read_register(register, &mut out);
    out
}
pub fn context_id_into(register: u64) {
    unsafe { sys::context_id(register) }
}
pub fn private_read_into(key: &[u8], register: u64) {
    unsafe { sys::private_storage_read(address(&Slice::of(key)), register) };
}
pub fn value_return(tag: u64, bytes: &[u8]) {
    unsafe { sys::value_return(address(&ValueReturn(tag, Slice::of(bytes)))) }
}
pub fn log(bytes: &[u8]) {
    unsafe { sys::log_utf8(address(&Slice::of(bytes))) }
}
pub fn panic_bytes(message: &[u8]) -> ! {
    let location = Location(Slice::at(0, 0), 0, 0);
    unsafe { sys::panic_utf8(address(&Slice::of(message)), address(&location)) }
}
pub fn xcall(context: &[u8], function: &[u8], params: &[u8]) {
    let call = [Slice::of(context), Slice::of(function), Slice::of(params)];
    unsafe { sys::xcall(address(&call)) }
}
pub fn commit(root: &[u8], artifact: &[u8]) {
    unsafe { sys::commit(address(&Slice::of(root)), address(&Slice::of(artifact))) }
}
pub fn time_now(into: &mut [u8]) {
    unsafe { sys::time_now(address(&Slice::of(into))) }
}
pub fn ed25519_verify(signature: &[u8], key: &[u8], message: &[u8]) -> u32 {
    let (signature, key, message) = (Slice::of(signature), Slice::of(key), Slice::of(message));
    unsafe { sys::ed25519_verify(address(&signature), address(&key), address(&message)) }
}
/// Leaves the host's answer in REGISTER.
pub fn fetch(url: &[u8]) -> u32 {
    let (url, method, empty) = (Slice::of(url), Slice::of(b"GET"), Slice::of(b""));
    unsafe {
        sys::fetch(
            address(&url),
            address(&method),
            address(&empty),
            address(&empty),
            REGISTER,
        )
    }
}

/// Calls a host function with `at` for every descriptor address it takes.
pub fn call_at(function: &str, at: u64) -> Option<u64> {
    Some(unsafe {
        match function {
            "panic_utf8" => sys::panic_utf8(at, at),
            "read_register" => {
                sys::context_id(REGISTER);
                sys::read_register(REGISTER, at).into()
            }
            "value_return" => nothing(sys::value_return(at)),
            "log_utf8" => nothing(sys::log_utf8(at)),
            "emit" => nothing(sys::emit(at)),
            "emit_with_handler" => nothing(sys::emit_with_handler(at, at)),
            "xcall" => nothing(sys::xcall(at)),
            "commit" => nothing(sys::commit(at, at)),
            "storage_read" => sys::storage_read(at, REGISTER).into(),
            "storage_remove" => sys::storage_remove(at, REGISTER).into(),
            "storage_write" => sys::storage_write(at, at, REGISTER).into(),
            "private_storage_read" => sys::private_storage_read(at, REGISTER).into(),
            "private_storage_remove" => sys::private_storage_remove(at, REGISTER).into(),
            "private_storage_write" => sys::private_storage_write(at, at).into(),
            "fetch" => sys::fetch(at, at, at, at, REGISTER).into(),
            "random_bytes" => nothing(sys::random_bytes(at)),
            "time_now" => nothing(sys::time_now(at)),
            "ed25519_verify" => sys::ed25519_verify(at, at, at).into(),
            "blob_open" => sys::blob_open(at),
            "blob_read" => sys::blob_read(1, at),
            "blob_write" => sys::blob_write(sys::blob_create(), at),
            "blob_close" => sys::blob_close(sys::blob_create(), at).into(),
            "blob_announce_to_context" => sys::blob_announce_to_context(at, at).into(),
            _ => return None,
        }
    })
}

/// Calls a host function with `bad` for every buffer it takes.
pub fn call_with(function: &str, bad: Slice) -> Option<u64> {
    match function {
        "panic_utf8" => {
            let location = Location(bad, 0, 0);
            unsafe { sys::panic_utf8(address(&bad), address(&location)) }
        }
        "read_register" => {
            // The register must match the buffer's length before its place is looked at.
            let fits = Slice::at(bad.pointer, 32);
            call_at(function, address(&fits))
        }
        "value_return" => call_at(function, address(&ValueReturn(0, bad))),
        "emit" => call_at(function, address(&[Slice::of(b"Kind"), bad])),
        "emit_with_handler" => {
            let event = [Slice::of(b"Kind"), Slice::of(b"{}")];
            unsafe { sys::emit_with_handler(address(&event), address(&bad)) };
            Some(0)
        }
        "xcall" => call_at(
            function,
            address(&[Slice::of(&[1; 32]), Slice::of(b"get"), bad]),
        ),
        "blob_announce_to_context" | "blob_open" | "blob_close" => {
            call_at(function, address(&Slice::at(bad.pointer, 32)))
        }
        "blob_read" => {
            // Only a read that has something to deliver looks at the place for it.
            let mut id = [0; 32];
            unsafe {
                let writer = sys::blob_create();
                sys::blob_write(writer, address(&Slice::of(b"8 bytes.")));
                sys::blob_close(writer, address(&Slice::of(&mut id)));
                let reader = sys::blob_open(address(&Slice::of(&id)));
                Some(sys::blob_read(reader, address(&bad)))
            }
        }
        "time_now" => call_at(function, address(&Slice::at(bad.pointer, 8))),
        "ed25519_verify" => {
            let (signature, key) = (Slice::at(bad.pointer, 64), Slice::at(bad.pointer, 32));
            let result =
                unsafe { sys::ed25519_verify(address(&signature), address(&key), address(&bad)) };
            Some(result.into())
        }
        _ => call_at(function, address(&bad)),
    }
}

fn nothing((): ()) -> u64 {
    0
}
