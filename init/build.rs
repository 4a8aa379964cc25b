//! Links the two programs without a C library, since they bring their own `_start`; and counts the pairs of characters
//! with which their texts are packed.

use std::collections::BTreeMap;
use std::env::var;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=program.ld");
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-env-changed=OPT_LEVEL");
    link();
    let mut texts = Vec::new();
    find_texts(Path::new("src"), &mut texts);
    let (pairs, depth) = frequent_pairs(texts);
    let source = format!("static PAIRS: [[u8; 2]; {}] = {pairs:?};\nconst DEPTH: usize = {depth};\n", pairs.len());
    let file = format!("{}/pairs.rs", var("OUT_DIR").unwrap_or_default());
    std::fs::write(&file, source).unwrap_or_else(|error| panic!("{file}: {error}"));
}

fn link() {
    let mut arguments = vec!["-nostartfiles", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none"];
    let folder = var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let script = format!("-Wl,-z,norelro,-T,{folder}/program.ld");
    // Unoptimised programs keep what a debugger reads, and writable data that optimisation removes.
    if var("OPT_LEVEL").is_ok_and(|level| level != "0") {
        arguments.push(&script);
    }
    for argument in arguments {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}

/// Adds what stands in the `text!` of the sources in this folder.
fn find_texts(folder: &Path, texts: &mut Vec<Vec<u8>>) {
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            find_texts(&path, texts);
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap_or_default();
        texts.extend(source.split("text!(").skip(1).filter_map(|rest| literal(rest.trim_start())));
    }
}

/// The string literal with which `source` begins, near enough: of what a backslash stands for, only the common.
fn literal(source: &str) -> Option<Vec<u8>> {
    let mut characters = source.strip_prefix('"')?.chars();
    let mut text = Vec::new();
    loop {
        match characters.next()? {
            '"' => return Some(text),
            '\\' => match characters.next()? {
                'n' => text.push(b'\n'),
                '\n' => characters = characters.as_str().trim_start().chars(),
                other => text.push(other as u8),
            },
            other => text.push(other as u8),
        }
    }
}

/// The pairs, each to be replaced by the byte 0x80 and its place, after those before; and how deep they stand in each other.
fn frequent_pairs(mut texts: Vec<Vec<u8>>) -> (Vec<[u8; 2]>, usize) {
    let mut pairs = Vec::new();
    let mut depths = vec![0; 0x80];
    for replacement in 0x80..=0xff {
        let mut counts = BTreeMap::new();
        for pair in texts.iter().flat_map(|text| text.windows(2)) {
            *counts.entry([pair[0], pair[1]]).or_insert(0) += 1;
        }
        match counts.into_iter().max_by_key(|(_, count)| *count) {
            // It takes two bytes itself.
            Some((pair, 4..)) => {
                for text in &mut texts {
                    replace(text, pair, replacement);
                }
                pairs.push(pair);
                depths.push(1 + pair.map(|byte| depths[usize::from(byte)]).into_iter().max().unwrap_or(0));
            }
            _ => break,
        }
    }
    (pairs, depths.into_iter().max().unwrap_or(0_usize).next_power_of_two())
}

fn replace(text: &mut Vec<u8>, pair: [u8; 2], replacement: u8) {
    let mut at = 0;
    while at + 1 < text.len() {
        if text[at..at + 2] == pair {
            text[at] = replacement;
            text.remove(at + 1);
        }
        at += 1;
    }
}
