//! Options by environment: `PIPKIN_INIT_GRACE=8s` for `--grace 8s`, under every name, so that an image can be tuned
//! without a change of its entry point; and the variables of each persona's original.

use super::grammar::apply;
use super::persona::Persona;
use super::table::{Meaning, PIPKIN, Takes, VARIABLES};
use super::{Cause, Refusal, Settings};
use crate::signal::decimal;
use crate::words::{position, split_at};

const PREFIX: &[u8] = b"PIPKIN_INIT_";

/// Reads the variables that concern an init into `settings`. Those of the persona's original come later than its
/// options there, so that they are read by [`read_originals`].
pub fn read(entries: impl Iterator<Item = &'static [u8]>, settings: &mut Settings) -> Result<(), Refusal> {
    for entry in entries {
        let (variable, value) = split_at(entry, b'=');
        let Some(name) = variable.strip_prefix(PREFIX) else { continue };
        let value = value.unwrap_or_default();
        let refusal = |cause| Refusal { cause, subject: variable, value };
        let option = PIPKIN.iter().find(|option| {
            let action = matches!(option.meaning, Meaning::Help | Meaning::Version | Meaning::License);
            !action && is_variable(name, option.name.as_bytes())
        });
        let option = option.ok_or(refusal(Cause::UnknownVariable))?;
        if value.is_empty() {
            continue; // as good as not set: `ENV PIPKIN_INIT_GRACE=` takes back what a base image says
        }
        let times = match (option.takes, value) {
            (Takes::Value | Takes::MaybeValue, _) => 1,
            (Takes::Nothing, _) if option.meaning == Meaning::Verbose => {
                decimal(value, 9).ok_or(refusal(Cause::NotASwitch))? as usize
            }
            (Takes::Nothing, _) => match position("0 1 false true no yes off on", value) {
                Some(place) => place & 1,
                None => return Err(refusal(Cause::NotASwitch)),
            },
        };
        for _ in 0..times {
            apply(option.meaning, Some(value), settings).map_err(refusal)?;
        }
    }
    Ok(())
}

/// Whether `name` is `option` in capitals, with `_` for `-`.
fn is_variable(name: &[u8], option: &[u8]) -> bool {
    name.len() == option.len()
        && name.iter().zip(option).all(|(byte, expected)| match expected {
            b'-' => *byte == b'_',
            letter => *byte == letter.to_ascii_uppercase(),
        })
}

/// Reads the variables of this persona's original, after its options.
pub fn read_originals(
    persona: &Persona,
    entries: impl Iterator<Item = &'static [u8]>,
    settings: &mut Settings,
) -> Result<(), Refusal> {
    for entry in entries {
        let (name, value) = split_at(entry, b'=');
        let value = value.unwrap_or_default();
        for variable in &VARIABLES {
            let counts = variable.value.is_empty() || variable.value.as_bytes() == value;
            if counts && variable.name.as_bytes() == name && variable.name.starts_with(persona.variables) {
                apply(variable.meaning, Some(value), settings).map_err(|cause| Refusal::new(cause, name))?;
            }
        }
    }
    Ok(())
}
