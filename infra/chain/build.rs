//! Builds the wiring of the template into the program.

// The same code is tested as a module of the crate.
#[path = "src/wiring.rs"]
mod wiring;

use std::error::Error;
use std::path::Path;
use std::{env, fs};

const TEMPLATE: &str = "../../template.yaml";

fn main() {
    println!("cargo::rerun-if-changed={TEMPLATE}");
    println!("cargo::rerun-if-changed=src/wiring.rs");
    if let Err(error) = build() {
        println!("cargo::error={error}");
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    let template = fs::read_to_string(TEMPLATE).map_err(|error| format!("{TEMPLATE}: {error}"))?;
    let wiring = wiring::follow(&template)?;
    let folder = env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    fs::write(Path::new(&folder).join("patterns.rs"), wiring::code(&wiring))?;
    Ok(())
}
