//! Blobs: streamed in and out through handles, found again by id. The state
//! keeps names, ids and sizes; the content lives in the node's blob store.

use std::collections::BTreeMap;

use calimero_sdk::borsh::{BorshDeserialize, BorshSerialize};
use calimero_sdk::serde::Serialize;
use calimero_sdk::{app, env, PublicKey};
use calimero_storage::collections::{LwwRegister, UnorderedMap};

/// Blob and context ids are 32 bytes, base58 in JSON, just like public keys.
type BlobId = PublicKey;
type ContextId = PublicKey;

#[app::state(emits = Event)]
#[derive(BorshSerialize, BorshDeserialize)]
#[borsh(crate = "calimero_sdk::borsh")]
pub struct Blobs {
    files: UnorderedMap<String, LwwRegister<File>>,
}

#[derive(Clone, BorshSerialize, BorshDeserialize)]
#[borsh(crate = "calimero_sdk::borsh")]
pub struct File {
    id: [u8; 32],
    size: u64,
}

#[derive(Serialize)]
#[serde(crate = "calimero_sdk::serde")]
pub struct FileView {
    id: BlobId,
    size: u64,
}

#[app::event]
pub enum Event {
    Stored { name: String, id: BlobId, size: u64 },
}

#[app::logic]
impl Blobs {
    #[app::init]
    pub fn init() -> Blobs {
        Blobs {
            files: UnorderedMap::new(),
        }
    }

    // Writing.

    /// Writes the text as one chunk and remembers the blob under the name.
    pub fn store(&mut self, name: String, text: String) -> app::Result<BlobId> {
        let fd = env::blob_create();
        env::blob_write(fd, text.as_bytes());
        self.keep(name, env::blob_close(fd), text.len() as u64)
    }
    /// One `blob_write` per chunk.
    pub fn store_chunks(&mut self, name: String, chunks: Vec<String>) -> app::Result<BlobId> {
        let fd = env::blob_create();
        let mut size = 0;
        for chunk in &chunks {
            size += env::blob_write(fd, chunk.as_bytes());
        }
        self.keep(name, env::blob_close(fd), size)
    }
    /// `size` bytes of the pattern `i mod 251`, written `chunk` bytes at a time.
    pub fn store_pattern(&mut self, name: String, size: u64, chunk: u32) -> app::Result<BlobId> {
        let fd = env::blob_create();
        let mut written = 0;
        while written < size {
            let n = u64::from(chunk.max(1)).min(size - written);
            let bytes: Vec<u8> = (written..written + n).map(pattern).collect();
            written += env::blob_write(fd, &bytes);
        }
        self.keep(name, env::blob_close(fd), size)
    }
    /// Remembers a blob that was uploaded by other means.
    pub fn adopt(&mut self, name: String, id: BlobId, size: u64) -> app::Result<()> {
        self.keep(name, *id, size)?;
        Ok(())
    }
    /// Two writers at a time; returns both ids.
    pub fn store_interleaved(&mut self, a: String, b: String) -> (BlobId, BlobId) {
        let (fd_a, fd_b) = (env::blob_create(), env::blob_create());
        env::blob_write(fd_a, a.as_bytes());
        env::blob_write(fd_b, b.as_bytes());
        env::blob_write(fd_a, b.as_bytes());
        (env::blob_close(fd_a).into(), env::blob_close(fd_b).into())
    }

    // Reading.

    pub fn files(&self) -> app::Result<BTreeMap<String, FileView>> {
        let mut out = BTreeMap::new();
        for (name, file) in self.files.entries()? {
            let (id, size) = (file.id.into(), file.size);
            out.insert(name, FileView { id, size });
        }
        Ok(out)
    }
    /// The content of a stored file as text.
    pub fn load(&self, name: String) -> app::Result<String> {
        let Some(file) = self.files.get(&name)? else {
            app::bail!(format_args!("no file {name:?}"));
        };
        Ok(String::from_utf8(read_all(&file.id, file.size))?)
    }
    /// The first `len` bytes of any blob; shorter when it is unknown or ends.
    pub fn read(&self, id: BlobId, len: u64) -> Vec<u8> {
        read_all(&id, len)
    }
    /// Reads a `store_pattern` blob `chunk` bytes at a time and checks every
    /// byte; returns how many there were.
    pub fn check_pattern(&self, name: String, chunk: u32) -> app::Result<u64> {
        let Some(file) = self.files.get(&name)? else {
            app::bail!(format_args!("no file {name:?}"));
        };
        let fd = env::blob_open(&file.id);
        let mut offset = 0;
        while offset < file.size {
            let n = u64::from(chunk.max(1)).min(file.size - offset);
            let mut buffer = vec![0; n as usize];
            let got = env::blob_read(fd, &mut buffer);
            if got != n || (0..n).any(|i| buffer[i as usize] != pattern(offset + i)) {
                app::bail!(format_args!(
                    "wrong content in {n} bytes at {offset}, read {got}"
                ));
            }
            offset += n;
        }
        env::blob_close(fd);
        Ok(offset)
    }
    /// Asks for `len` bytes in one read and returns how many came.
    pub fn read_len(&self, id: BlobId, len: u32) -> u64 {
        let fd = env::blob_open(&id);
        env::blob_read(fd, &mut vec![0; len as usize])
    }

    // Announcing.

    /// Announces a stored file in its own context.
    pub fn announce(&self, name: String) -> app::Result<bool> {
        let Some(file) = self.files.get(&name)? else {
            app::bail!(format_args!("no file {name:?}"));
        };
        Ok(env::blob_announce_to_context(&file.id, &env::context_id()))
    }
    /// Announces any blob in any context; the SDK refuses a foreign one.
    pub fn announce_in(&self, id: BlobId, context: ContextId) -> bool {
        env::blob_announce_to_context(&id, &context)
    }

    // Misuse: each of these is an error of the host.

    /// Creates n handles and closes none; returns the last.
    pub fn open_many(&self, n: u32) -> u64 {
        (0..n).fold(0, |_, _| env::blob_create())
    }
    /// Writes without closing: the content is abandoned.
    pub fn abandon(&mut self, text: String) -> u64 {
        let fd = env::blob_create();
        env::blob_write(fd, text.as_bytes())
    }
    pub fn close_twice(&self) -> BlobId {
        let fd = env::blob_create();
        env::blob_close(fd);
        env::blob_close(fd).into()
    }
    pub fn close_unknown(&self, fd: u64) -> BlobId {
        env::blob_close(fd).into()
    }
    pub fn write_to_reader(&self, id: BlobId) -> u64 {
        env::blob_write(env::blob_open(&id), b"x")
    }
    pub fn read_from_writer(&self) -> u64 {
        env::blob_read(env::blob_create(), &mut [0; 4])
    }
    /// One write of n bytes, for the chunk limit.
    pub fn write_large(&self, n: u32) -> u64 {
        env::blob_write(env::blob_create(), &vec![0; n as usize])
    }

    fn keep(&mut self, name: String, id: [u8; 32], size: u64) -> app::Result<BlobId> {
        self.files
            .insert(name.clone(), LwwRegister::new(File { id, size }))?;
        let id = id.into();
        app::emit!(Event::Stored { name, id, size });
        Ok(id)
    }
}

fn pattern(i: u64) -> u8 {
    (i % 251) as u8
}

/// Reads byte-exact pieces: the reference host fails a read that is longer than
/// what is left.
fn read_all(id: &[u8; 32], len: u64) -> Vec<u8> {
    let fd = env::blob_open(id);
    let mut out = Vec::new();
    while (out.len() as u64) < len {
        let n = (len - out.len() as u64).min(1 << 20);
        let mut buffer = vec![0; n as usize];
        let got = env::blob_read(fd, &mut buffer) as usize;
        out.extend_from_slice(&buffer[..got]);
        if got < buffer.len() {
            break;
        }
    }
    env::blob_close(fd);
    out
}
