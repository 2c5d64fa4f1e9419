//! What holds for every project, run and text: property tests. The cases that people thought of stand beside the code.

mod manifest;
mod names;
mod odd;
mod sensor;
mod sound;
mod text;
mod watcher;
