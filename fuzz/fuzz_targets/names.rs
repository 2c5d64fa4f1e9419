//! Any text is a name: it has parts, an op and a check.
#![no_main]
#![allow(dead_code, reason = "only the names are tested here")]

#[path = "../../crates/tobiko_facade/src/manifest/mod.rs"]
mod manifest;
#[path = "../../crates/tobiko_facade/src/properties/sound.rs"]
mod sound;

use libfuzzer_sys::fuzz_target;
use manifest::names::{check_name, key_parts, op_name};

fuzz_target!(|name: &str| {
    let parts = key_parts(name);
    assert!(!parts.is_empty() && parts.iter().all(|part| !part.is_empty()));
    sound::check_op_name(&op_name(&parts, name));
    sound::check_check_name(&check_name(name));
    // Quoted, the parts are themselves again.
    let quoted: Vec<String> = parts.iter().map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect();
    assert_eq!(key_parts(&quoted.join(".")), parts);
});
