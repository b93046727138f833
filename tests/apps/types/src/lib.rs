//! Every kind of value in and out, and every way a call can fail politely.
//!
//! The `echo_*` methods return what they were given, so a test can send JSON
//! through the whole node and compare. `init` takes arguments of all shapes and
//! `setup` reads them back from the stored state.

use std::collections::{BTreeMap, HashSet};

use calimero_sdk::borsh::{BorshDeserialize, BorshSerialize};
use calimero_sdk::serde::{Deserialize, Serialize};
use calimero_sdk::{app, env, PublicKey};
use calimero_storage::collections::LwwRegister;

#[app::state(emits = for<'a> Event<'a>)]
#[derive(BorshSerialize, BorshDeserialize)]
#[borsh(crate = "calimero_sdk::borsh")]
pub struct Types {
    setup: LwwRegister<Setup>,
}

/// The arguments of `init`, as stored.
#[derive(Clone, BorshSerialize, BorshDeserialize, Serialize)]
#[borsh(crate = "calimero_sdk::borsh")]
#[serde(crate = "calimero_sdk::serde")]
pub struct Setup {
    name: String,
    limit: u32,
    ratio: f64,
    note: Option<String>,
    tags: Vec<String>,
    weights: BTreeMap<String, i64>,
    mode: Mode,
    frame: Frame,
}

/// All variant forms: unit, newtype, tuple, struct.
#[derive(Clone, Debug, PartialEq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(crate = "calimero_sdk::borsh")]
#[serde(crate = "calimero_sdk::serde")]
pub enum Mode {
    Off,
    Level(u8),
    Range(u8, u8),
    Custom { low: i32, label: String },
}

#[derive(Clone, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(crate = "calimero_sdk::borsh")]
#[serde(crate = "calimero_sdk::serde")]
pub struct Point {
    x: i32,
    y: i32,
}

/// A struct of structs, lists, options and enums.
#[derive(Clone, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(crate = "calimero_sdk::borsh")]
#[serde(crate = "calimero_sdk::serde")]
pub struct Frame {
    title: String,
    corner: Point,
    path: Vec<Point>,
    center: Option<Point>,
    mode: Mode,
}

/// Fields spelled differently in Rust and JSON.
#[derive(Serialize, Deserialize)]
#[serde(crate = "calimero_sdk::serde", rename_all = "camelCase")]
pub struct Renamed {
    first_name: String,
    #[serde(default)]
    home_town: String,
}

/// Internally tagged: `{"shape":"Circle","radius":1}`.
#[derive(Serialize, Deserialize)]
#[serde(crate = "calimero_sdk::serde", tag = "shape")]
pub enum Shape {
    Circle { radius: u32 },
    Square { side: u32 },
}

#[app::event]
pub enum Event<'a> {
    Unit,
    Newtype(&'a str),
    Tuple(u32, &'a str),
    Struct { id: u32, name: &'a str },
}

/// An error that is a value, tagged like the SDK's own examples do.
#[derive(Serialize)]
#[serde(crate = "calimero_sdk::serde", tag = "kind", content = "data")]
pub enum Failure {
    Empty,
    TooLarge { limit: u32, got: u32 },
}

#[app::logic]
impl Types {
    #[app::init]
    #[allow(clippy::too_many_arguments)]
    pub fn init(
        name: String,
        limit: u32,
        ratio: f64,
        note: Option<String>,
        tags: Vec<String>,
        weights: BTreeMap<String, i64>,
        mode: Mode,
        frame: Frame,
    ) -> Types {
        Types {
            setup: LwwRegister::new(Setup {
                name,
                limit,
                ratio,
                note,
                tags,
                weights,
                mode,
                frame,
            }),
        }
    }

    /// The arguments `init` was called with.
    pub fn setup(&self) -> Setup {
        self.setup.get().clone()
    }

    /// Replaces two of them, so that the app can also be written to.
    pub fn rename(&mut self, name: String, mode: Mode) -> app::Result<Setup> {
        let mut setup = self.setup.get().clone();
        setup.name = name;
        setup.mode = mode;
        self.setup.set(setup.clone());
        Ok(setup)
    }

    // Scalars.

    pub fn echo_bool(&self, v: bool) -> bool {
        v
    }
    pub fn echo_u8(&self, v: u8) -> u8 {
        v
    }
    pub fn echo_u16(&self, v: u16) -> u16 {
        v
    }
    pub fn echo_u32(&self, v: u32) -> u32 {
        v
    }
    pub fn echo_u64(&self, v: u64) -> u64 {
        v
    }
    pub fn echo_u128(&self, v: u128) -> u128 {
        v
    }
    pub fn echo_i8(&self, v: i8) -> i8 {
        v
    }
    pub fn echo_i16(&self, v: i16) -> i16 {
        v
    }
    pub fn echo_i32(&self, v: i32) -> i32 {
        v
    }
    pub fn echo_i64(&self, v: i64) -> i64 {
        v
    }
    pub fn echo_i128(&self, v: i128) -> i128 {
        v
    }
    pub fn echo_f32(&self, v: f32) -> f32 {
        v
    }
    pub fn echo_f64(&self, v: f64) -> f64 {
        v
    }
    pub fn echo_char(&self, v: char) -> char {
        v
    }
    pub fn echo_string(&self, v: String) -> String {
        v
    }
    /// Borrowed from the input: a JSON string with an escape panics.
    pub fn echo_str(&self, v: &str) -> String {
        v.to_owned()
    }
    /// A 32-byte key, base58 in JSON.
    pub fn echo_key(&self, v: PublicKey) -> PublicKey {
        v
    }
    /// Decimal text, because JSON numbers above 2^64 lose digits on the way.
    pub fn max_u128(&self) -> String {
        u128::MAX.to_string()
    }

    // Compounds.

    pub fn echo_list(&self, v: Vec<i64>) -> Vec<i64> {
        v
    }
    pub fn echo_bytes(&self, v: Vec<u8>) -> Vec<u8> {
        v
    }
    pub fn echo_array(&self, v: [u8; 4]) -> [u8; 4] {
        v
    }
    pub fn echo_tuple(&self, v: (u32, String, bool)) -> (u32, String, bool) {
        v
    }
    pub fn echo_map(&self, v: BTreeMap<String, u32>) -> BTreeMap<String, u32> {
        v
    }
    /// JSON object keys are text; these are numbers in the app.
    pub fn echo_number_map(&self, v: BTreeMap<u32, String>) -> BTreeMap<u32, String> {
        v
    }
    /// Duplicates fall out; the answer is sorted.
    pub fn echo_set(&self, v: HashSet<String>) -> Vec<String> {
        let mut out: Vec<String> = v.into_iter().collect();
        out.sort();
        out
    }
    pub fn echo_option(&self, v: Option<u32>) -> Option<u32> {
        v
    }
    pub fn echo_nested(
        &self,
        v: BTreeMap<String, Vec<Option<Point>>>,
    ) -> BTreeMap<String, Vec<Option<Point>>> {
        v
    }
    pub fn echo_mode(&self, v: Mode) -> Mode {
        v
    }
    pub fn echo_frame(&self, v: Frame) -> Frame {
        v
    }
    pub fn echo_renamed(&self, v: Renamed) -> Renamed {
        v
    }
    pub fn echo_shape(&self, v: Shape) -> Shape {
        v
    }
    /// Several arguments, the last one optional.
    pub fn join(&self, a: String, b: &str, n: u32, separator: Option<String>) -> String {
        let separator = separator.unwrap_or_else(|| "-".to_owned());
        format!("{a}{separator}{b}{separator}{n}")
    }

    // Results without an argument or a value.

    /// Declares no return type: `value_return` is never called.
    pub fn nothing(&self) {}
    #[allow(clippy::unused_unit)]
    pub fn unit(&self) -> () {}
    /// No `self`: runs without reading the state.
    pub fn stateless(a: u32, b: u32) -> u32 {
        a + b
    }
    /// JSON has no NaN: serde writes `null`.
    pub fn not_a_number(&self) -> f64 {
        f64::NAN
    }
    pub fn unicode(&self) -> String {
        "\u{1F980} \"quoted\" <&> \u{2028}\n\u{0}\u{7f}".to_owned()
    }

    // Errors.

    /// An error that is a plain string.
    pub fn error_string(&self, fail: bool) -> Result<u32, String> {
        if fail {
            return Err("no".to_owned());
        }
        Ok(7)
    }
    /// An error that is a value of the app's own type.
    pub fn error_value(&self, got: u32) -> Result<u32, Failure> {
        match got {
            0 => Err(Failure::Empty),
            1..=10 => Ok(got),
            _ => Err(Failure::TooLarge { limit: 10, got }),
        }
    }
    /// `app::bail!` with a message.
    pub fn bail_text(&self) -> app::Result<u32> {
        app::bail!("refused")
    }
    /// `app::bail!` with a formatted message.
    pub fn bail_format(&self, n: u32) -> app::Result<u32> {
        app::bail!(format_args!("refused {n} times"))
    }
    /// `app::bail!` with a value.
    pub fn bail_value(&self) -> app::Result<u32> {
        app::bail!(Failure::TooLarge { limit: 1, got: 2 })
    }
    /// A std error through `?`: its Display text.
    pub fn error_std(&self, number: &str) -> app::Result<i32> {
        Ok(number.parse::<i32>()?)
    }
    pub fn unit_error(&self) -> Result<(), ()> {
        Err(())
    }
    /// `Ok(())` is `null` too, but with a `value_return`.
    pub fn ok_unit(&self) -> app::Result<()> {
        Ok(())
    }

    // Panics.

    pub fn panic_text(&self) -> u32 {
        panic!("on purpose")
    }
    pub fn panic_format(&self, text: &str) -> u32 {
        panic!("on purpose: {text}")
    }
    /// The host function without a message.
    pub fn panic_host(&self) -> u32 {
        env::panic()
    }
    pub fn panic_unwrap(&self, v: Option<u32>) -> u32 {
        v.unwrap()
    }
    pub fn panic_expect(&self, fail: bool) -> u32 {
        let result: Result<u32, String> = if fail { Err("cause".to_owned()) } else { Ok(1) };
        result.expect("expected a value")
    }
    pub fn panic_index(&self, list: Vec<u32>, index: usize) -> u32 {
        list[index]
    }
    pub fn panic_divide(&self, a: i32, b: i32) -> i32 {
        a / b
    }
    pub fn panic_overflow(&self, a: u8, b: u8) -> u8 {
        a + b
    }

    // Events and logs.

    /// Emits one event of each form, in order of declaration.
    pub fn emit_all(&mut self) -> app::Result<()> {
        app::emit!(Event::Unit);
        app::emit!(Event::Newtype("one"));
        app::emit!(Event::Tuple(2, "two"));
        app::emit!(Event::Struct {
            id: 3,
            name: "three"
        });
        Ok(())
    }
    /// Logs each line.
    pub fn log_lines(&self, lines: Vec<String>) {
        for line in lines {
            env::log(&line);
        }
    }
}
