//! As much of JSON Schema (draft 4) as the runtime spec's schema uses.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

/// The schema's files, by name.
pub struct Schema {
    directory: PathBuf,
    files: BTreeMap<String, Value>,
}

/// Keywords that say nothing about a value here.
const SILENT: [&str; 5] = ["description", "$schema", "id", "definitions", "format"];

impl Schema {
    /// Of the OCI runtime spec 1.3.0.
    pub fn runtime_spec() -> Self {
        let directory = pipkin_harness::data_file("runtime-spec-1.3.0/schema");
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(&directory).expect("the schema").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".json") {
                let text = std::fs::read_to_string(entry.path()).expect("a schema file");
                files.insert(name, serde_json::from_str(&text).expect("JSON"));
            }
        }
        Self { directory, files }
    }

    /// A vector of the schema's own tests.
    pub fn vectors(&self, below: &str) -> Vec<(String, String)> {
        let directory = self.directory.join("test").join(below);
        let mut vectors: Vec<_> = std::fs::read_dir(&directory)
            .expect("the vectors")
            .flatten()
            .map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                (name, std::fs::read_to_string(entry.path()).expect("a vector"))
            })
            .collect();
        vectors.sort();
        vectors
    }

    /// Everything that is wrong with a document.
    pub fn complaints(&self, file: &str, document: &Value) -> Vec<String> {
        let mut complaints = Vec::new();
        self.check(file, &self.files[file], document, "", &mut complaints);
        complaints
    }

    fn check(&self, file: &str, schema: &Value, value: &Value, place: &str, complaints: &mut Vec<String>) {
        let object = schema.as_object().unwrap_or_else(|| panic!("{file}: {schema} is no schema"));
        for (keyword, rule) in object {
            match keyword.as_str() {
                "$ref" => {
                    let reference = rule.as_str().expect("text");
                    let (other, pointer) = reference.split_once('#').expect("a reference");
                    let other = if other.is_empty() { file } else { other };
                    let schema = self.files.get(other).and_then(|schema| schema.pointer(pointer));
                    let schema = schema.unwrap_or_else(|| panic!("{file}: {reference} leads nowhere"));
                    self.check(other, schema, value, place, complaints);
                }
                "properties" => {
                    for (name, schema) in rule.as_object().expect("properties") {
                        if let Some(value) = value.get(name) {
                            self.check(file, schema, value, &format!("{place}.{name}"), complaints);
                        }
                    }
                }
                "additionalProperties" | "patternProperties" => {
                    for (name, value) in value.as_object().into_iter().flatten() {
                        let schema = match keyword.as_str() {
                            // The schema has one pattern, which is for any name.
                            "patternProperties" => {
                                rule.as_object().and_then(|all| all.values().next()).expect("a pattern")
                            }
                            _ if object.get("properties").is_some_and(|known| known.get(name).is_some()) => continue,
                            _ => rule,
                        };
                        if schema.is_object() {
                            self.check(file, schema, value, &format!("{place}.{name}"), complaints);
                        }
                    }
                }
                "items" => {
                    for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(file, rule, value, &format!("{place}[{index}]"), complaints);
                    }
                }
                "required" => {
                    for name in rule.as_array().expect("names").iter().map(|name| name.as_str().expect("text")) {
                        if value.is_object() && value.get(name).is_none() {
                            complaints.push(format!("{place}.{name} is missing"));
                        }
                    }
                }
                "allOf" => {
                    for schema in rule.as_array().expect("schemas") {
                        self.check(file, schema, value, place, complaints);
                    }
                }
                "anyOf" => {
                    let fits = |schema: &Value| {
                        let mut complaints = Vec::new();
                        self.check(file, schema, value, place, &mut complaints);
                        complaints.is_empty()
                    };
                    if !rule.as_array().expect("schemas").iter().any(fits) {
                        complaints.push(format!("{place} is none of what it may be: {value}"));
                    }
                }
                keyword if SILENT.contains(&keyword) => {}
                keyword => {
                    if !holds(keyword, rule, value) {
                        complaints.push(format!("{place} is {value}, against {keyword} {rule}"));
                    }
                }
            }
        }
    }
}

fn holds(keyword: &str, rule: &Value, value: &Value) -> bool {
    match keyword {
        "type" => match rule {
            Value::Array(types) => types.iter().any(|kind| is_of_type(kind, value)),
            kind => is_of_type(kind, value),
        },
        "enum" => rule.as_array().expect("values").contains(value),
        "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().expect("a number")),
        "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().expect("a number")),
        "minItems" => value.as_array().is_none_or(|list| list.len() as u64 >= rule.as_u64().expect("a number")),
        "pattern" => value.as_str().is_none_or(|text| matches_pattern(rule.as_str().expect("text"), text)),
        other => panic!("the schema has a keyword that is not known here: {other}"),
    }
}

fn is_of_type(kind: &Value, value: &Value) -> bool {
    match kind.as_str().expect("a type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("{other} is no type"),
    }
}

/// The schema's few patterns, one by one.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    let only = |text: &str, allowed: &dyn Fn(char) -> bool| text.chars().all(allowed);
    match pattern {
        "^CAP_[A-Z_]+$" => text
            .strip_prefix("CAP_")
            .is_some_and(|rest| !rest.is_empty() && only(rest, &|c| c.is_ascii_uppercase() || c == '_')),
        "^RLIMIT_[A-Z]+$" => {
            text.strip_prefix("RLIMIT_").is_some_and(|rest| !rest.is_empty() && only(rest, &|c| c.is_ascii_uppercase()))
        }
        "^[0-9, -]*$" => only(text, &|c| c.is_ascii_digit() || ", -".contains(c)),
        "^[cbup]$" => ["c", "b", "u", "p"].contains(&text),
        "^[1-9][0-9]*[KMG]B$" => {
            let number = ["KB", "MB", "GB"].iter().find_map(|unit| text.strip_suffix(unit));
            number.is_some_and(|number| {
                !number.starts_with('0') && !number.is_empty() && only(number, &|c| c.is_ascii_digit())
            })
        }
        other => panic!("the schema has a pattern that is not known here: {other}"),
    }
}
