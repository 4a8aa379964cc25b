//! Archives as the `tar` crate and tar(1) write them, and as nobody should.

use super::*;

fn header(kind: EntryType, path: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_path(path).unwrap();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(7);
    header.set_cksum();
    header
}

fn block(header: &Header, data: &[u8]) -> Vec<u8> {
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut data = String::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (1..9).map(|digits| rest + digits).find(|n| n.to_string().len() + rest == *n).unwrap();
        data.push_str(&format!("{length} {key}={value}\n"));
    }
    block(&header(EntryType::XHeader, "pax", data.len() as u64), data.as_bytes())
}

fn all(bytes: &[u8]) -> io::Result<Vec<(Entry, Vec<u8>)>> {
    let mut reader = Reader::new(Stream(bytes));
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut data = Vec::new();
        reader.read_to_end(&mut data)?;
        entries.push((entry, data));
    }
    Ok(entries)
}

#[test]
fn the_pax_size_wins_over_the_header() {
    // A reader that trusts the header's 0 would take the data for another entry (RUSTSEC-2026-0068).
    let hidden = header(EntryType::Regular, "smuggled", 0);
    let mut bytes = pax(&[("size", "512"), ("uid", "70000")]);
    bytes.extend(header(EntryType::Regular, "file", 0).as_bytes());
    bytes.extend(hidden.as_bytes());
    bytes.extend(block(&header(EntryType::Regular, "after", 1), b"x"));
    let entries = all(&bytes).unwrap();
    let names: Vec<_> = entries.iter().map(|(e, data)| (show(&e.path), data.len(), e.uid)).collect();
    assert_eq!(names, [("file".to_string(), 512, 70000), ("after".to_string(), 1, 0)]);
}

#[test]
fn malformed_and_oversized_extensions_are_errors() {
    let mut bytes = block(&header(EntryType::XHeader, "pax", 9), b"9 size=x\n");
    bytes.extend(block(&header(EntryType::Regular, "file", 0), b""));
    assert!(all(&bytes).unwrap_err().to_string().contains("not a number"));
    let bomb = block(&header(EntryType::XHeader, "pax", 1 << 30), b"");
    assert!(all(&bomb).unwrap_err().to_string().contains("limit"));
    let bomb = block(&header(EntryType::GNULongName, "name", 1 << 30), b"");
    assert!(all(&bomb).unwrap_err().to_string().contains("limit"));
    let mut twice = pax(&[("path", "a")]);
    twice.extend(pax(&[("path", "b")]));
    assert!(all(&twice).unwrap_err().to_string().contains("two headers"));
    let alone = pax(&[("path", "a")]);
    assert!(all(&alone).unwrap_err().to_string().contains("truncated"));
}

#[test]
fn truncation_and_damage_are_errors() {
    let bytes = block(&header(EntryType::Regular, "file", 600), &[b'x'; 600]);
    assert_eq!(all(&bytes).unwrap()[0].1.len(), 600);
    for cut in [100, 512 + 10, 512 + 600] {
        assert!(all(&bytes[..cut]).is_err(), "{cut}");
    }
    let mut damaged = bytes;
    damaged[0] ^= 1;
    assert!(all(&damaged).unwrap_err().to_string().contains("checksum"));
}

#[test]
fn ids_that_do_not_fit_are_errors() {
    for id in ["4294967295", "4294967296", "9223372036854775807"] {
        let mut bytes = pax(&[("uid", id)]);
        bytes.extend(block(&header(EntryType::Regular, "file", 0), b""));
        assert!(all(&bytes).unwrap_err().to_string().contains("out of range"), "{id}");
    }
}

#[test]
fn long_names_links_and_sparse_files_of_tar_are_read() {
    let directory = std::env::temp_dir().join(format!("pipkin-archive-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let long = "n".repeat(180);
    std::fs::write(directory.join(&long), "long").unwrap();
    std::os::unix::fs::symlink(&long, directory.join("link")).unwrap();
    let sparse = File::create(directory.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"hello", 1 << 20).unwrap();
    sparse.set_len(3 << 20).unwrap();
    for format in ["gnu", "posix"] {
        let output = std::process::Command::new("tar")
            .args(["-S", "--sparse-version=1.0", "--sort=name"])
            .arg(format!("--format={format}"))
            .args(["-cC"])
            .arg(&directory)
            .arg(".")
            .output()
            .unwrap();
        let entries = all(&output.stdout).unwrap();
        let find = |name: &str| {
            entries
                .iter()
                .find(|(e, _)| e.path == format!("./{name}").as_bytes())
                .unwrap_or_else(|| panic!("{format} {name}"))
        };
        assert_eq!(find(&long).1, b"long");
        assert_eq!(find("link").0.kind, Kind::Symlink(long.clone().into_bytes()));
        let (entry, data) = find("sparse");
        assert_eq!(
            (entry.size, data.len() as u64),
            (3 << 20, entry.pieces.as_ref().unwrap().iter().map(|p| p.1).sum()),
            "{format}"
        );
        assert!(data.windows(5).any(|w| w == b"hello"));
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

/// Thousands of damaged archives, checksums made right again: an error or other entries, but never a panic or a hang.
#[test]
fn damaged_headers_never_panic() {
    let mut sparse = header(EntryType::GNUSparse, "sparse", 512);
    let gnu = sparse.as_gnu_mut().unwrap();
    gnu.set_is_extended(true);
    gnu.set_real_size(4096);
    gnu.sparse[0].set_offset(1024);
    gnu.sparse[0].set_length(512);
    sparse.set_cksum();
    let whole = [
        block(&header(EntryType::GNULongName, "x", 300), &[b'n'; 300]),
        block(&header(EntryType::Regular, "file", 700), &[b'x'; 700]),
        pax(&[("size", "3"), ("mtime", "1.5"), ("path", "p"), ("SCHILY.xattr.user.a", "b"), ("uid", "7")]),
        block(&header(EntryType::Regular, "file", 3), b"abc"),
        pax(&[
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.name", "s"),
            ("GNU.sparse.realsize", "99"),
        ]),
        block(&header(EntryType::Regular, "s", 512 + 3), &[&b"1\n5\n3\n"[..], &[0; 506], b"xyz"].concat()),
        block(&sparse, &[0; 512]),
        vec![b'd'; 512],
        block(&header(EntryType::Char, "dev", 0), b""),
        vec![0; 1024],
    ]
    .concat();
    let untouched = all(&whole).unwrap();
    assert_eq!(untouched.len(), 5, "{untouched:?}");
    let mut state = 0x9e37_79b9_u32;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as usize % below
    };
    let mut survived = 0;
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            bytes[at] = [0, b'0', b'7', b'9', 0x80, 0xff, b'\n', b' '][random(8)];
            let start = at / 512 * 512;
            let block = &mut bytes[start..start + 512];
            let sum: u32 =
                block.iter().enumerate().map(|(at, b)| if (148..156).contains(&at) { 32 } else { u32::from(*b) }).sum();
            block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
        survived += u32::from(all(&bytes).is_ok());
    }
    assert!(survived > 100 && survived < 19_900, "{survived}");
}
