//! Lists of small numbers as `0-3,7` (cpuset(7), "List format"): CPUs and memory nodes.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

/// Neither the kernel's CPUs nor its memory nodes go further in one mask that system calls take here (`CPU_SETSIZE`,
/// `MAX_NUMNODES`).
const LIMIT: u32 = 1024;

/// A set of numbers; bit n of the words is number n.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct NumberList(Vec<u64>);

impl NumberList {
    /// Reads the list format; blanks between its parts are allowed.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut list = Self::default();
        if text.trim().is_empty() {
            return Ok(list);
        }
        let wrong = |part: &str| format!("{part:?} in {text:?} is not a number or range such as 0-3");
        for part in text.split(',') {
            let number = |digits: &str| digits.trim().parse::<u32>().map_err(|_| wrong(part));
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(part)?, number(part)?),
            };
            if first > last {
                return Err(format!("{part:?} in {text:?} ends before it begins"));
            }
            if last >= LIMIT {
                return Err(format!("{last} in {text:?} is above the highest possible, {}", LIMIT - 1));
            }
            for number in first..=last {
                list.add(number);
            }
        }
        Ok(list)
    }

    fn add(&mut self, number: u32) {
        let word = (number / u64::BITS) as usize;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % u64::BITS);
    }

    /// Whether there is no number in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The mask, lowest numbers first.
    pub fn words(&self) -> &[u64] {
        &self.0
    }

    /// All numbers, rising.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        (0..self.0.len() as u32 * u64::BITS).filter(|number| self.has(*number))
    }

    fn has(&self, number: u32) -> bool {
        let word = self.0.get((number / u64::BITS) as usize);
        word.is_some_and(|word| word >> (number % u64::BITS) & 1 == 1)
    }
}

impl Display for NumberList {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for first in self.numbers().filter(|number| *number == 0 || !self.has(number - 1)) {
            let last = (first..).take_while(|number| self.has(*number)).last().unwrap_or(first);
            if first == last {
                write!(f, "{separator}{first}")?;
            } else {
                write!(f, "{separator}{first}-{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::NumberList;

    #[test]
    fn lists() {
        for (text, again) in [("", ""), (" ", ""), ("0", "0"), ("0-3, 7", "0-3,7"), ("64,1,0", "0-1,64"), ("5-5", "5")]
        {
            assert_eq!(NumberList::parse(text).unwrap().to_string(), again, "{text:?}");
        }
        assert_eq!(NumberList::parse("0,65").unwrap().words(), [1, 2]);
    }

    #[test]
    fn what_is_none() {
        for text in ["a", "1,", "-1", "3-1", "1-2-3", "1024", "4294967296", "+1x"] {
            assert!(NumberList::parse(text).is_err(), "{text:?}");
        }
    }
}
