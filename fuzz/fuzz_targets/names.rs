//! Any text is a name: it has parts, an op and a check.
#![no_main]
#![allow(dead_code, reason = "the executable's modules, of which only the names are looked at")]

#[path = "../../crates/tobiko_facade/src/manifest.rs"]
mod manifest;
#[path = "../../crates/tobiko_facade/src/names.rs"]
mod names;
#[path = "../../crates/tobiko_facade/src/properties/sound.rs"]
mod sound;
#[path = "../../crates/tobiko_facade/src/text.rs"]
mod text;

use libfuzzer_sys::fuzz_target;
use names::{check_name, key_parts, op_name};

fuzz_target!(|name: &str| {
    let parts = key_parts(name);
    assert!(!parts.is_empty() && parts.iter().all(|part| !part.is_empty()));
    sound::check_op_name(&op_name(&parts, name));
    sound::check_check_name(&check_name(name));
    // Quoted, the parts are themselves again.
    let quoted: Vec<String> = parts.iter().map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect();
    assert_eq!(key_parts(&quoted.join(".")), parts);
});
