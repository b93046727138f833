//! Best scores by player, kept in the bytes of the tree root itself, which only
//! this app can merge: where two nodes differ, the higher score stays.
//!
//! `#[app::state]` never does that: the tree root of its apps holds nothing but
//! its own id, and their state is an entry below it. So this app uses
//! calimero-storage directly and writes its exports by hand.

use std::collections::BTreeMap;

use calimero_sdk::borsh::{from_slice, to_vec, BorshDeserialize, BorshSerialize};
use calimero_sdk::serde::Deserialize;
use calimero_sdk::{env, serde_json};
use calimero_storage::action::Action;
use calimero_storage::address::Id;
use calimero_storage::collections::crdt_meta::MergeError;
use calimero_storage::collections::Mergeable;
use calimero_storage::delta::StorageDelta;
use calimero_storage::entities::{Data, Element};
use calimero_storage::interface::MainInterface;
use calimero_storage::AtomicUnit;

#[derive(AtomicUnit, BorshSerialize, BorshDeserialize)]
#[borsh(crate = "calimero_sdk::borsh")]
struct Board {
    best: BTreeMap<String, u64>,
    #[storage]
    storage: Element,
}

impl Mergeable for Board {
    fn merge(&mut self, other: &Self) -> Result<(), MergeError> {
        for (player, score) in &other.best {
            let mine = self.best.entry(player.clone()).or_default();
            *mine = (*mine).max(*score);
        }
        Ok(())
    }
}

impl Board {
    fn load() -> Board {
        MainInterface::root()
            .expect("read the board")
            .expect("there is no board")
    }

    fn commit(mut self) {
        self.element_mut().update();
        MainInterface::commit_root(Some(self)).expect("commit the board");
    }
}

#[derive(Deserialize)]
#[serde(crate = "calimero_sdk::serde")]
struct Score {
    player: String,
    score: u64,
}

/// Called before every method: the SDK merges what is stored and what is saved.
#[no_mangle]
pub extern "C" fn __calimero_register_merge() {
    calimero_storage::register_crdt_merge::<Board>();
}

#[no_mangle]
pub extern "C" fn init() {
    env::setup_panic_hook();
    let old: Option<Board> = MainInterface::root().expect("look for a board");
    assert!(
        old.is_none(),
        "Cannot initialize over already existing state."
    );
    Board {
        best: BTreeMap::new(),
        storage: Element::root(),
    }
    .commit();
}

#[no_mangle]
pub extern "C" fn submit() {
    env::setup_panic_hook();
    let input = env::input().expect("submit takes arguments");
    let Score { player, score } = serde_json::from_slice(&input).expect("read the arguments");
    let mut board = Board::load();
    let best = board.best.entry(player).or_default();
    if score > *best {
        *best = score;
        board.commit();
    }
}

#[no_mangle]
pub extern "C" fn best() {
    env::setup_panic_hook();
    let best = serde_json::to_vec(&Board::load().best).expect("encode the scores");
    env::value_return(&Ok::<_, Vec<u8>>(best));
}

/// Applies a delta of another node. The SDK's own version drops a board that is
/// older than the stored one, and nodes would differ; this one merges it and
/// keeps the later time, so that the order of deltas does not matter.
#[no_mangle]
pub extern "C" fn __calimero_sync_next() {
    env::setup_panic_hook();
    let input = env::input().expect("sync takes a delta");
    let StorageDelta::Actions(actions) = from_slice(&input).expect("read the delta") else {
        panic!("the delta has no actions");
    };
    for action in actions {
        let (Action::Add {
            id,
            data,
            mut metadata,
            ..
        }
        | Action::Update {
            id,
            data,
            mut metadata,
            ..
        }) = action
        else {
            continue;
        };
        assert!(id.is_root(), "the board is all there is");
        let mut board: Board = from_slice(&data).expect("read the board of the delta");
        if let Some(mine) = MainInterface::root::<Board>().expect("read the board") {
            board.merge(&mine).expect("merge the boards");
            let late = mine.element().updated_at().max(metadata.updated_at());
            *metadata.updated_at = late;
        }
        let data = to_vec(&board).expect("encode the board");
        let _hash = MainInterface::save_raw(Id::root(), data, metadata).expect("save the board");
    }
    MainInterface::commit_root::<Board>(None).expect("commit the board");
}
