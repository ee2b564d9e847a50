//! Who works at the terminal: cashiers with numbers, and supervisors who agree to what gives money back.
//!
//! Passwords are digits, keyed at the counter. They are kept as salted digests, stretched; five wrong ones lock the number
//! until a supervisor opens it again. The list is sealed in the device.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Rounds of the digest: a tenth of a second on a terminal's processor, and a guess costs as much.
const ROUNDS: u32 = 50_000;
/// Wrong passwords in a row until the number is locked.
pub const TRIES: u8 = 5;
/// Most operators.
pub const OPERATORS_MAX: usize = 100;

/// An operator who is known by now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// Two digits.
    pub number: String,
    /// May agree to what gives money back.
    pub supervisor: bool,
}

/// One of the list.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    number: String,
    supervisor: bool,
    salt: String,
    digest: String,
    wrong: u8,
}

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such number, or another password. Which of them is not said.
    #[error("操作员或密码错 / no such operator, or the wrong password")]
    Unknown,
    /// Too many wrong passwords.
    #[error("操作员已锁定,请主管解锁 / this operator is locked; a supervisor unlocks it")]
    Locked,
    /// Known, but no supervisor.
    #[error("需要主管 / a supervisor is needed")]
    NoSupervisor,
    /// A number of two digits and a password of four to eight.
    #[error("操作员号 2 位数字,密码 4-8 位数字 / a number has two digits, a password four to eight")]
    Form,
    /// Everybody else would be locked out.
    #[error("至少保留一名主管 / the last supervisor stays")]
    LastSupervisor,
    /// No more places.
    #[error("操作员已满 / there is no place for another operator")]
    Full,
}

/// The operators of a terminal.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operators {
    entries: Vec<Entry>,
}

impl std::fmt::Debug for Operators {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|entry| &entry.number)).finish()
    }
}

impl Operators {
    /// As a terminal comes from its maker: cashiers 01 to 05 with `0000`, supervisor 99 with `12345678`.
    ///
    /// `salt` gives fresh random bytes.
    pub fn factory(mut salt: impl FnMut() -> [u8; 16]) -> Self {
        let mut operators = Self { entries: Vec::new() };
        for number in ["01", "02", "03", "04", "05"] {
            operators.entries.push(entry(number, "0000", false, salt()));
        }
        operators.entries.push(entry("99", "12345678", true, salt()));
        operators
    }

    /// Numbers and whether they are supervisors', in order.
    pub fn list(&self) -> Vec<Operator> {
        let mut list: Vec<_> = self.entries.iter().map(known).collect();
        list.sort_by(|a, b| a.number.cmp(&b.number));
        list
    }

    /// Looks at a number and its password, and counts wrong ones: the caller keeps the list afterwards either way.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn check(&mut self, number: &str, password: &str, supervisor: bool) -> Result<Operator, Refusal> {
        let entry = self.entries.iter_mut().find(|entry| entry.number == number).ok_or(Refusal::Unknown)?;
        if entry.wrong >= TRIES {
            return Err(Refusal::Locked);
        }
        if digest(password, &entry.salt) != entry.digest {
            entry.wrong += 1;
            return Err(if entry.wrong >= TRIES { Refusal::Locked } else { Refusal::Unknown });
        }
        entry.wrong = 0;
        if supervisor && !entry.supervisor {
            return Err(Refusal::NoSupervisor);
        }
        Ok(known(entry))
    }

    /// Adds an operator, or gives one a new password; unlocks it.
    ///
    /// # Errors
    /// [`Refusal::Form`], [`Refusal::Full`].
    pub fn set(
        &mut self,
        number: &str,
        password: &str,
        supervisor: bool,
        salt: [u8; 16],
    ) -> Result<(), Refusal> {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if number.len() != 2 || !digits(number) || !(4..=8).contains(&password.len()) || !digits(password) {
            return Err(Refusal::Form);
        }
        let fresh = entry(number, password, supervisor, salt);
        let full = self.entries.len() >= OPERATORS_MAX;
        match self.entries.iter_mut().find(|entry| entry.number == number) {
            Some(entry) => *entry = fresh,
            None if full => return Err(Refusal::Full),
            None => self.entries.push(fresh),
        }
        Ok(())
    }

    /// Takes an operator away.
    ///
    /// # Errors
    /// [`Refusal::Unknown`], [`Refusal::LastSupervisor`].
    pub fn remove(&mut self, number: &str) -> Result<(), Refusal> {
        let at = self.entries.iter().position(|entry| entry.number == number).ok_or(Refusal::Unknown)?;
        let supervisors = self.entries.iter().filter(|entry| entry.supervisor).count();
        if supervisors == 1 && self.entries.get(at).is_some_and(|entry| entry.supervisor) {
            return Err(Refusal::LastSupervisor);
        }
        self.entries.remove(at);
        Ok(())
    }
}

fn known(entry: &Entry) -> Operator {
    Operator { number: entry.number.clone(), supervisor: entry.supervisor }
}

fn entry(number: &str, password: &str, supervisor: bool, salt: [u8; 16]) -> Entry {
    let salt = hex::encode(salt);
    let digest = digest(password, &salt);
    Entry { number: number.to_owned(), supervisor, salt, digest, wrong: 0 }
}

fn digest(password: &str, salt: &str) -> String {
    let mut value = Sha256::digest([salt.as_bytes(), password.as_bytes()].concat());
    for _ in 1..ROUNDS {
        value = Sha256::digest([&value[..], salt.as_bytes()].concat());
    }
    hex::encode(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operators() -> Operators {
        let mut next = 0_u8;
        Operators::factory(|| {
            next += 1;
            [next; 16]
        })
    }

    #[test]
    fn a_number_is_locked_after_five_wrong_passwords_and_opened_by_a_new_one() {
        let mut operators = operators();
        assert!(!operators.check("01", "0000", false).unwrap().supervisor);
        assert_eq!(operators.check("01", "0000", true), Err(Refusal::NoSupervisor));
        assert_eq!(operators.check("77", "0000", false), Err(Refusal::Unknown));
        for _ in 1..TRIES {
            assert_eq!(operators.check("01", "1111", false), Err(Refusal::Unknown));
        }
        assert_eq!(operators.check("01", "1111", false), Err(Refusal::Locked));
        assert_eq!(operators.check("01", "0000", false), Err(Refusal::Locked));
        operators.set("01", "2468", false, [9; 16]).unwrap();
        operators.check("01", "2468", false).unwrap();
    }

    #[test]
    fn the_last_supervisor_stays_and_passwords_have_their_form() {
        let mut operators = operators();
        assert_eq!(operators.remove("99"), Err(Refusal::LastSupervisor));
        assert_eq!(operators.set("9", "12345678", true, [1; 16]), Err(Refusal::Form));
        assert_eq!(operators.set("98", "abcd", true, [1; 16]), Err(Refusal::Form));
        operators.set("98", "4321", true, [1; 16]).unwrap();
        operators.remove("99").unwrap();
        assert_eq!(operators.list().len(), 6);
        let kept = serde_json::to_string(&operators).unwrap();
        assert!(!kept.contains("4321"));
        assert!(!format!("{operators:?}").contains("digest"));
    }
}
