//! Reads a bundle's config.json (OCI runtime spec, config.md) into the types of `oci-spec`.

mod position;
mod profile;
mod running;

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use oci_spec::runtime::{Capability, LinuxResources, Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::{Map, Value};

pub use self::running::{Linux, Running, profile_of_text};
use crate::error::{Context, Error, Kind, Result};
use crate::seccomp::{Cache, Compiled, NewProfile};

/// No honest configuration is larger; the largest seen in the field is below 1 MiB.
const LARGEST: u64 = 16 * 1024 * 1024;

/// What [`load`] found: the configuration, and what a person should hear about it.
pub struct Config {
    /// The configuration as written.
    pub spec: Box<Spec>,
    /// Things that were left out as the spec asks, such as capabilities nobody knows.
    pub warnings: Vec<String>,
    /// Its text, which a container keeps for later `exec`s.
    pub text: Vec<u8>,
    /// Its seccomp filter, where a cache was asked.
    pub filter: Filter,
}

impl Config {
    /// The seccomp profile that the cache can keep a filter of.
    pub fn new_profile(&self, cache: &Cache) -> Option<NewProfile> {
        match &self.filter {
            Filter::New(place) => Some(NewProfile::new(cache.clone(), &self.text[place.clone()])),
            Filter::InSpec | Filter::Cached(_) => None,
        }
    }
}

/// What is known of `linux.seccomp` when the configuration has been read.
#[derive(Debug, Eq, PartialEq)]
pub enum Filter {
    /// The profile is in [`Config::spec`], if there is one.
    InSpec,
    /// It is, and a cache that has no filter of it yet can keep one; its place in the text.
    New(Range<usize>),
    /// A cache had the filter. In [`Config::spec`] is a stand-in, which lets nothing through.
    Cached(Compiled),
}

impl Filter {
    /// The filter, when a cache had it.
    pub fn cached(&self) -> Option<&Compiled> {
        match self {
            Self::Cached(compiled) => Some(compiled),
            Self::InSpec | Self::New(_) => None,
        }
    }
}

/// Reads `config.json` of the bundle.
pub fn load(bundle: &Path) -> Result<Config> {
    let path = bundle.join("config.json");
    of_text(&path, text_of_bundle(&path)?)
}

/// As [`load`], for a container that is to run: what the cache has a filter of is neither parsed nor compiled.
pub fn load_to_run(bundle: &Path, cache: &Cache) -> Result<Config> {
    let path = bundle.join("config.json");
    of_text_to_run(&path, text_of_bundle(&path)?, cache)
}

fn text_of_bundle(path: &Path) -> Result<Vec<u8>> {
    read_bounded(path).map_err(|error| match error.errno() {
        Some(libc::ENOENT) => error.remedy("a bundle is a directory with config.json in it; name it with --bundle"),
        _ => error,
    })
}

/// Reads a configuration from its text; errors name the path.
pub fn of_text(path: &Path, text: Vec<u8>) -> Result<Config> {
    let (mut spec, warnings) = parse(path, &text)?;
    respell_figures(&mut spec, &text);
    Ok(Config { spec, warnings, text, filter: Filter::InSpec })
}

/// As [`of_text`], for a container that is to run.
pub fn of_text_to_run(path: &Path, text: Vec<u8>, cache: &Cache) -> Result<Config> {
    let Some(profile) = profile::find(&text) else { return of_text(path, text) };
    if let Some(compiled) = cache.find(&text[profile.clone()])
        // Whatever is wrong with the rest is told of the text as it is.
        && let Ok((mut spec, warnings)) = parse(path, &profile::replace(&text, &profile))
    {
        respell_figures(&mut spec, &text);
        return Ok(Config { spec, warnings, text, filter: Filter::Cached(compiled) });
    }
    Ok(Config { filter: Filter::New(profile), ..of_text(path, text)? })
}

/// Reads what one more program in a container needs of its configuration, with the warnings of [`Config`]; errors name the path.
pub fn running_of_text(path: &Path, text: &[u8]) -> Result<(Box<Running>, Vec<String>)> {
    parse(path, text)
}

/// `enableCMT` and `enableMBM`, which `oci-spec` looks for as `enableCmt` and `enableMbm`.
fn respell_figures(spec: &mut Spec, text: &[u8]) {
    let Some(asked) = spec.linux_mut().as_mut().and_then(|linux| linux.intel_rdt_mut().as_mut()) else { return };
    let Ok(value) = from_json::<Value>(text) else { return };
    let given = |name| value.pointer("/linux/intelRdt").and_then(|asked| asked.get(name)).and_then(Value::as_bool);
    asked.set_enable_cmt(given("enableCMT")).set_enable_mbm(given("enableMBM"));
}

/// Reads a process document, as `exec --process` takes it (the spec's `process` object).
pub fn load_process(path: &Path) -> Result<(Box<Process>, Vec<String>)> {
    parse(path, &read_bounded(path)?)
}

/// Reads a document of limits, as `update --resources` takes it (the spec's `linux.resources` object). The origin is
/// what an error calls the text.
pub fn resources_of_text(origin: &Path, text: &[u8]) -> Result<LinuxResources> {
    Ok(*parse(origin, text)?.0)
}

/// All of a file that somebody else has written.
///
/// # Errors
/// When it can not be read, or is larger than 16 MiB.
pub(crate) fn read_bounded(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).on("open", path)?;
    let length = file.metadata().on("stat", path)?.len();
    let mut text = Vec::with_capacity(length.min(LARGEST) as usize + 1);
    file.take(LARGEST + 1).read_to_end(&mut text).on("read", path)?;
    if text.len() as u64 > LARGEST {
        return Err(Error::new(Kind::Invalid, format!("{}: larger than {LARGEST} bytes", path.display())));
    }
    Ok(text)
}

/// Parses strictly; only when that fails, capabilities that nobody knows are left out (config.md: they MUST be
/// warned about), what `oci-spec` spells in another way than the spec is put into its spelling, and it is tried again.
fn parse<T: DeserializeOwned>(path: &Path, text: &[u8]) -> Result<(Box<T>, Vec<String>)> {
    // serde would read a list as an object whose fields have no names.
    if text.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(Error::new(Kind::Invalid, format!("{}: is not a JSON object", path.display())));
    }
    match read(text) {
        Ok(document) => Ok((document, Vec::new())),
        Err(cause) => parse_again(path, text, &cause),
    }
}

/// On the heap, and out of line: a whole configuration has 3000 bytes, which otherwise every function up to its user would have
/// in its frame several times.
#[inline(never)]
fn read<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<Box<T>> {
    from_json(text)
}

/// JSON, which is UTF-8 (RFC 8259): looked at once as a whole, because string by string takes several times as long.
pub(crate) fn from_json<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    serde_json::from_str(std::str::from_utf8(text).map_err(serde::de::Error::custom)?)
}

#[cold]
#[inline(never)]
fn parse_again<T: DeserializeOwned>(
    path: &Path,
    text: &[u8],
    cause: &serde_json::Error,
) -> Result<(Box<T>, Vec<String>)> {
    if let Ok(mut value) = from_json::<Value>(text) {
        let warnings = drop_unknown_capabilities(&mut value);
        let respelled = respell(process_of(&mut value));
        if respelled || !warnings.is_empty() {
            let (document, _) = parse(path, value.to_string().as_bytes())?;
            return Ok((document, warnings));
        }
    }
    let field = match cause.classify() {
        Category::Data if cause.line() > 0 => position::field_at(text, cause.line(), cause.column()),
        _ => String::new(),
    };
    let field = if field.is_empty() { field } else { format!("{field}: ") };
    Err(Error::new(Kind::Invalid, format!("{}: {field}{cause}", path.display())))
}

/// The process of a configuration, or the document itself.
fn process_of(document: &mut Value) -> &mut Value {
    if document.get("process").is_some() { &mut document["process"] } else { document }
}

/// Whether something was written as the spec's schema has it, and `oci-spec` does not take it: two scheduler flags, lists of
/// CPUs that are empty or have blanks, and a process without a user, which is root's as with other runtimes.
fn respell(process: &mut Value) -> bool {
    let mut changed = false;
    if let Some(fields) = process.as_object_mut().filter(|fields| fields.contains_key("cwd")) {
        let user = fields.entry("user").or_insert_with(|| Value::Object(Map::new()));
        for id in ["uid", "gid"] {
            if let Some(ids) = user.as_object_mut().filter(|ids| !ids.contains_key(id)) {
                ids.insert(id.to_owned(), 0.into());
                changed = true;
            }
        }
    }
    for flag in process.pointer_mut("/scheduler/flags").and_then(Value::as_array_mut).into_iter().flatten() {
        let other = match flag.as_str() {
            Some("SCHED_FLAG_RESET_ON_FORK") => "SCHED_RESET_ON_FORK",
            Some("SCHED_FLAG_DL_OVERRUN") => "SCHED_FLAG_D_L_OVERRUN",
            _ => continue,
        };
        *flag = other.into();
        changed = true;
    }
    for list in ["/execCPUAffinity/initial", "/execCPUAffinity/final"] {
        let Some(list) = process.pointer_mut(list) else { continue };
        let Some(text) = list.as_str().filter(|text| text.is_empty() || text.contains(' ')) else { continue };
        let text = text.replace(' ', "");
        *list = if text.is_empty() { Value::Null } else { text.into() };
        changed = true;
    }
    changed
}

fn drop_unknown_capabilities(document: &mut Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let Some(sets) = process_of(document).get_mut("capabilities").and_then(Value::as_object_mut) else {
        return warnings;
    };
    for (set, names) in sets {
        let Some(names) = names.as_array_mut() else { continue };
        names.retain(|name| {
            let known = serde_json::from_value::<Capability>(name.clone()).is_ok();
            if !known && name.is_string() {
                warnings.push(format!("process.capabilities.{set}: unknown capability {name} is left out"));
            }
            known || !name.is_string()
        });
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_spec(text: &str) -> Result<(Box<Spec>, Vec<String>)> {
        parse(Path::new("config.json"), text.as_bytes())
    }

    #[test]
    fn errors_name_the_field() {
        let error = parse_spec(r#"{"ociVersion":"1.0.0","process":{"cwd":"/","user":{"uid":4294967296,"gid":0}}}"#);
        let text = error.map(drop).unwrap_err().to_string();
        assert!(text.contains("process.user.uid"), "{text}");
        assert!(text.contains("4294967296"), "{text}");
    }

    #[test]
    fn unknown_capabilities_are_left_out_with_a_warning() {
        let (spec, warnings) = parse_spec(
            r#"{"ociVersion":"1.0.0","process":{"cwd":"/","user":{"uid":0,"gid":0},
                "capabilities":{"bounding":["CAP_KILL","CAP_FUTURE"]}}}"#,
        )
        .unwrap();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("CAP_FUTURE"));
        let process = spec.process().as_ref().unwrap();
        let bounding = process.capabilities().as_ref().unwrap().bounding().as_ref().unwrap();
        assert_eq!(bounding.len(), 1);
    }

    #[test]
    fn not_utf_8() {
        let error = parse::<Spec>(Path::new("config.json"), b"{\"ociVersion\":\"1.0.0\xff\"}");
        let text = error.map(drop).unwrap_err().to_string();
        assert_eq!(text, "config.json: invalid utf-8 sequence of 1 bytes from index 20");
    }

    #[test]
    fn not_json_at_all() {
        let text = parse_spec("{").map(drop).unwrap_err().to_string();
        assert!(text.contains("EOF while parsing"), "{text}");
    }
}
