//! The linker's map: which address belongs to which section of which file.

use std::path::Path;

/// The sections of the program's text, by address.
pub struct Map(Vec<Section>);

/// A function, mostly.
pub struct Section {
    /// Where it begins.
    pub address: u64,
    /// In bytes.
    pub length: u64,
    /// As in a linker script: `*(.text.name)` of Rust, `*libc.a:malloc.o(.text)` or `*crt1.o(.text)` of C.
    pub pattern: String,
}

impl Map {
    /// Reads what lld writes with `-Map`: of each section its virtual address, load address, length and alignment, then its place.
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).expect("read the map");
        let mut sections: Vec<Section> = text.lines().filter_map(section).collect();
        sections.sort_by_key(|section| section.address);
        assert!(!sections.is_empty(), "{}: no sections of text in it: is it lld's?", path.display());
        Self(sections)
    }

    /// The section at an address.
    pub fn section(&self, address: u64) -> Option<&Section> {
        let after = self.0.partition_point(|section| section.address <= address);
        let section = self.0.get(after.checked_sub(1)?)?;
        (address < section.address + section.length).then_some(section)
    }

    /// How long all sections of a pattern are together, in bytes.
    pub fn length(&self, pattern: &str) -> u64 {
        self.0.iter().filter(|section| section.pattern == pattern).map(|section| section.length).sum()
    }
}

fn section(line: &str) -> Option<Section> {
    let mut words = line.split_whitespace();
    let mut number = || u64::from_str_radix(words.next()?, 16).ok();
    let (address, _, length) = (number()?, number()?, number()?);
    // FILE:(SECTION) or ARCHIVE(MEMBER):(SECTION)
    let (file, name) = words.nth(1)?.strip_suffix(')')?.split_once(":(")?;
    if length == 0 || !name.starts_with(".text") {
        return None;
    }
    let pattern = match file.strip_suffix(')').and_then(|file| file.rsplit_once('(')) {
        Some((archive, member)) if !archive.ends_with(".rlib") => {
            format!("*{}:{member}({name})", archive.rsplit('/').next().unwrap_or(archive))
        }
        _ if name == ".text" => format!("*{}({name})", file.rsplit('/').next().unwrap_or(file)),
        _ => format!("*({})", lasting(name)),
    };
    Some(Section { address, length, pattern })
}

/// A section's name without what depends on the compiler's version and on the day: hashes of legacy names (17h and 16 digits),
/// numbers of crates in new ones (`Cs…_`), the optimizer's suffixes.
fn lasting(name: &str) -> String {
    if let Some((path, rest)) = name.rsplit_once("17h")
        && rest.len() >= 17
        && rest[..16].bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return format!("{path}17h*");
    }
    let Some((prefix, symbol)) = name.split_once("._R") else { return name.to_owned() };
    let symbol = symbol.split_once('.').map_or(symbol, |(symbol, _)| symbol);
    let mut parts = symbol.split("Cs");
    let mut lasting = format!("{prefix}._R{}", parts.next().unwrap_or_default());
    for part in parts {
        lasting.push_str("Cs");
        match part.split_once('_') {
            Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                lasting.push_str("*_");
                lasting.push_str(rest);
            }
            _ => lasting.push_str(part),
        }
    }
    lasting.push('*');
    lasting
}
