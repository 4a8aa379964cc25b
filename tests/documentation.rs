//! Man pages and shell completions are made from the same definitions as `--help`, and are as they are committed.
//!
//! `make docs` (`PIPKIN_UPDATE_DOCS=1`) writes them anew.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command};
use clap_complete::Shell;
use pipkin_harness::{Lab, Program};

/// Every file, by its path below docs/.
type Files = BTreeMap<PathBuf, Vec<u8>>;

#[test]
fn man_pages_and_completions_are_those_of_help() {
    let init = init_command(&init_help());
    let mut files = Files::new();
    for (command, section) in [(pipkin::command(), "1"), (pipkin_runtime::cli::command(), "8"), (init, "1")] {
        add_completions(&command, &mut files);
        add_man_pages(command.disable_help_subcommand(true), section, &mut files);
    }
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    if std::env::var_os("PIPKIN_UPDATE_DOCS").is_some() {
        write(&docs, &files);
    }
    for directory in ["man", "completions"] {
        for entry in std::fs::read_dir(docs.join(directory)).expect("docs").flatten() {
            let path = Path::new(directory).join(entry.file_name());
            assert!(files.contains_key(&path), "docs/{}: nothing makes it any more: make docs", path.display());
        }
    }
    for (path, made) in files {
        let committed = std::fs::read(docs.join(&path)).unwrap_or_default();
        assert!(committed == made, "docs/{} is not current: make docs", path.display());
    }
}

/// What the shells themselves say of their syntax; where one is not installed, it is not asked.
#[test]
fn completions_are_understood_by_their_shells() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/completions");
    for entry in std::fs::read_dir(docs).unwrap().flatten() {
        let shell = match entry.file_name().to_str().unwrap() {
            name if name.ends_with(".bash") => "bash",
            name if name.ends_with(".fish") => "fish",
            _ => "zsh",
        };
        if pipkin_harness::host::which(shell).is_some() {
            Program::new(shell).arg("-n").arg(entry.path()).run().ok();
        }
    }
}

fn write(docs: &Path, files: &Files) {
    for directory in ["man", "completions"] {
        let _ = std::fs::remove_dir_all(docs.join(directory));
        std::fs::create_dir_all(docs.join(directory)).unwrap();
    }
    for (path, made) in files {
        std::fs::write(docs.join(path), made).unwrap();
    }
}

fn add_completions(command: &Command, files: &mut Files) {
    let name = command.get_name().to_owned();
    for (shell, file) in
        [(Shell::Bash, format!("{name}.bash")), (Shell::Zsh, format!("_{name}")), (Shell::Fish, format!("{name}.fish"))]
    {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command.clone(), &name, &mut text);
        files.insert(Path::new("completions").join(file), text);
    }
}

/// One page for the program, and one for each of its commands.
fn add_man_pages(mut command: Command, section: &str, files: &mut Files) {
    command.build();
    let mut commands = vec![command.clone()];
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        let name = lasting(&format!("{}-{}", command.get_name(), inner.get_name()));
        // Global options are on the program's own page.
        commands.push(inner.clone().name(name).display_name(name));
    }
    for command in commands {
        let path = format!("man/{}.{section}", command.get_name());
        let mut page = Vec::new();
        clap_mangen::Man::new(command).section(section).manual("pipkin").render(&mut page).unwrap();
        files.insert(path.into(), page);
    }
}

/// clap keeps names for the life of the program.
fn lasting(text: &str) -> &'static str {
    text.to_owned().leak()
}

fn init_help() -> String {
    let programs = Lab::programs();
    Program::new(programs.join("pipkin-init")).arg("--help").run().ok().stdout()
}

/// pipkin-init has no clap; its options are those of its help text: two columns, the second from character 25 on.
fn init_command(help: &str) -> Command {
    const COLUMN: usize = 25;
    let lines: Vec<&str> = help.lines().collect();
    let notes: Vec<&str> = lines.iter().copied().skip_while(|line| !line.starts_with("TIME:")).collect();
    let about = lines[1].to_owned();
    let mut command = Command::new("pipkin-init")
        .version(env!("CARGO_PKG_VERSION"))
        .about(about)
        .after_help(notes.join("\n"))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(Arg::new("COMMAND").required(true).value_name("COMMAND"))
        .arg(Arg::new("ARGUMENT").num_args(0..).value_name("ARGUMENT").trailing_var_arg(true));
    let mut heading = String::new();
    let mut options: Vec<(String, String, String)> = Vec::new();
    for line in &lines[2..lines.len() - notes.len()] {
        match line {
            line if line.starts_with("  ") => {
                let (option, text) = line.split_at(COLUMN);
                options.push((heading.clone(), option.trim().to_owned(), text.trim().to_owned()));
            }
            line => heading = line.trim().to_owned(),
        }
    }
    for (heading, option, text) in options {
        command = command.arg(option_of(&option, text, heading));
    }
    command
}

/// `-w, --word VALUE`, `--word[=VALUE]` or `--word`.
fn option_of(option: &str, text: String, heading: String) -> Arg {
    let (short, long) = option.split_once("--").expect("a long name");
    let end = long.find(['[', ' ', '=']).unwrap_or(long.len());
    let (name, value) = long.split_at(end);
    let name = lasting(name);
    let mut arg = Arg::new(name).long(name).help(text).help_heading(lasting(&heading));
    if let Some(short) = short.chars().nth(1) {
        arg = arg.short(short);
    }
    let word = lasting(value.trim_matches(|c: char| !c.is_ascii_alphabetic()));
    match value.chars().next() {
        None => arg.action(ArgAction::SetTrue),
        Some('[') => arg.value_name(word).num_args(0..=1).require_equals(true),
        Some(_) => arg.value_name(word),
    }
}
